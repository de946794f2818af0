/**
 * A store on a file system of its own that is too small for it: a loop device with ext4, which takes root. Stops at the
 * first thing that is wrong. Exit code 0: all as it should be, or no loop device can be made here, which it says.
 *
 * ```
 *   overwrites ─► overwrites, while another file takes what is free, and gives it back, again and again
 *     no put fails      a put fails with the code or not at all; when there is room again, none does
 *   ─► new keys, until a put is refused ─► reads, deletion of half ─► puts go on ─► close ─► open
 *        with the code                      none fails                 none fails     everything is there
 * ```
 *
 * Each value begins with the number of its key and its version, so that a read can tell an old one.
 */
import { mkdtemp, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MIB, Random } from '@aiokv/core';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import { mountSmall, run, whyNoMount } from '../helpers/mount.ts';
import { numbersOf } from './settings.ts';

const USAGE = `npm run -s soak:full -- [options]
  --minutes N      of overwrites; half as many beside the other file (10)
  --size-mib N     of the file system (512)
  --set-mib N      keys and values that are overwritten (200)
  --value-bytes N  of each (1000)
  --memory-mib N   that the store is given (64)
  --seed N         of the requests (1)
`;
const WRITERS = 64;
const READERS = 8;
const KEY_BYTES = 12;
const HEAD_BYTES = 16;
const TELL_MS = 5000;
/** How long the other file is there, and how long it is not. */
const FOREIGN_MS = 6000;
const NO_SPACE = 'ERR_AIOKV_NO_SPACE';

type Settings = Record<'minutes' | 'setMiB' | 'sizeMiB' | 'valueBytes' | 'memoryMiB' | 'seed', number>;

function settings(): Settings | null {
  const given = numbersOf({
    minutes: 10,
    'size-mib': 512,
    'set-mib': 200,
    'value-bytes': 1000,
    'memory-mib': 64,
    seed: 1,
  });
  if (given === null) return null;
  return {
    minutes: given.minutes,
    sizeMiB: given['size-mib'],
    setMiB: given['set-mib'],
    valueBytes: Math.max(HEAD_BYTES, given['value-bytes']),
    memoryMiB: given['memory-mib'],
    seed: given.seed,
  };
}

function fail(what: string): never {
  throw new Error(`FAILED: ${what}`);
}

function keyOf(n: number): string {
  return `k${String(n).padStart(KEY_BYTES - 1, '0')}`;
}

class Soak {
  readonly #settings: Settings;
  readonly #directory: string;
  readonly #random: Random;
  #store!: Store;
  /** By key: the version that was acknowledged last, and the one that was put last. 0: the key is not there. */
  #versions: number[] = [];
  #called: number[] = [];
  /** Keys with a write under way. */
  readonly #busy = new Set<number>();
  #puts = 0;
  #refused = 0;
  #longestMs = 0;

  constructor(chosen: Settings, directory: string) {
    this.#settings = chosen;
    this.#directory = directory;
    this.#random = new Random(chosen.seed);
  }

  async run(): Promise<void> {
    try {
      await this.#runAll();
    } catch (error) {
      this.#say('and then it failed');
      throw error;
    }
  }

  async #runAll(): Promise<void> {
    const { minutes, setMiB, valueBytes } = this.#settings;
    const keys = Math.floor((setMiB * MIB) / (valueBytes + KEY_BYTES));
    await this.#open();
    await this.#grow(keys);
    this.#say(`${keys} keys are there`);
    await this.#overwrite(minutes * 60_000, false);
    this.#say('overwritten, and no put was refused');
    const foreign = this.#keepTaking((minutes * 60_000) / 2);
    await this.#overwrite((minutes * 60_000) / 2, true);
    await foreign;
    this.#say(`another file took what was free, again and again: ${this.#refused} puts were refused`);
    await this.#overwrite(10_000, false);
    await this.#fill();
    this.#say(`full: ${this.#versions.length} keys`);
    await this.#readSome(20_000);
    await this.#deleteHalf();
    this.#say('half is deleted');
    const left = Math.floor(this.#versions.length / 2);
    await this.#grow(Math.floor(this.#versions.length + left / 2));
    this.#say('half of what was deleted is there again, without a new opening');
    await this.#overwrite(10_000, false);
    await this.#checkAll();
    await this.#store.close();
    await this.#open();
    await this.#checkAll();
    await this.#overwrite(5000, false);
    await this.#store.close();
    this.#say('all as it should be');
  }

  async #open(): Promise<void> {
    this.#store = await open(join(this.#directory, 'store'), { memoryBytes: this.#settings.memoryMiB * MIB });
  }

  async #put(n: number): Promise<void> {
    const version = (this.#called[n] ?? 0) + 1;
    this.#called[n] = version;
    const value = Buffer.alloc(this.#settings.valueBytes, n & 0xff);
    value.writeDoubleLE(n, 0);
    value.writeDoubleLE(version, 8);
    const startMs = performance.now();
    this.#busy.add(n);
    try {
      await this.#store.put(keyOf(n), value, { durability: version % 8 === 0 ? 'flushed' : 'written' });
      this.#versions[n] = version;
    } finally {
      this.#busy.delete(n);
      this.#longestMs = Math.max(this.#longestMs, performance.now() - startMs);
    }
    this.#puts++;
  }

  /** Puts new keys until there are so many. */
  async #grow(keys: number): Promise<void> {
    let next = this.#versions.length;
    const writer = async (): Promise<void> => {
      while (next < keys) await this.#put(next++);
    };
    await Promise.all(Array.from({ length: WRITERS }, writer));
  }

  /** Puts and gets keys at random. */
  async #overwrite(forMs: number, mayRefuse: boolean): Promise<void> {
    const untilMs = performance.now() + forMs;
    const keys = this.#versions.length;
    this.#longestMs = 0;
    const writer = async (): Promise<void> => {
      while (performance.now() < untilMs) {
        const n = this.#random.below(keys);
        if (this.#busy.has(n) || this.#versions[n] === 0) continue;
        try {
          await this.#put(n);
        } catch (error) {
          if (!mayRefuse || (error as { code?: string }).code !== NO_SPACE) throw error;
          this.#refused++;
          await sleep(5);
        }
      }
    };
    const reader = async (): Promise<void> => {
      while (performance.now() < untilMs) await this.#readOne(this.#random.below(keys));
    };
    const timer = setInterval(() => this.#say(), TELL_MS);
    try {
      await Promise.all([...Array.from({ length: WRITERS }, writer), ...Array.from({ length: READERS }, reader)]);
    } finally {
      clearInterval(timer);
    }
  }

  async #readOne(n: number): Promise<void> {
    const from = this.#versions[n] as number;
    const value = await this.#store.get(keyOf(n));
    const to = this.#called[n] as number;
    if (from === 0) {
      if (value !== undefined) fail(`${keyOf(n)} is there, and was deleted`);
      return;
    }
    if (value === undefined) fail(`${keyOf(n)} is not there`);
    const version = value.readDoubleLE(8);
    if (value.readDoubleLE(0) !== n) fail(`${keyOf(n)} has the value of ${value.readDoubleLE(0)}`);
    if (version < from || version > to) fail(`${keyOf(n)} has version ${version}, not ${from} to ${to}`);
  }

  /** Odd ones, which are not deleted meanwhile. */
  async #readSome(count: number): Promise<void> {
    const pairs = Math.floor(this.#versions.length / 2);
    const reader = async (): Promise<void> => {
      for (let n = 0; n < count / READERS; n++) await this.#readOne(2 * this.#random.below(pairs) + 1);
    };
    await Promise.all(Array.from({ length: READERS }, reader));
  }

  /** Puts new keys until each writer was refused. */
  async #fill(): Promise<void> {
    let next = this.#versions.length;
    const refused: number[] = [];
    const writer = async (): Promise<void> => {
      for (;;) {
        const n = next++;
        try {
          await this.#put(n);
        } catch (error) {
          if ((error as { code?: string }).code !== NO_SPACE) throw error;
          refused.push(n);
          return;
        }
      }
    };
    await Promise.all(Array.from({ length: WRITERS }, writer));
    for (const n of refused) this.#versions[n] = 0;
  }

  /** Each deletion must succeed. */
  async #deleteHalf(): Promise<void> {
    let next = 0;
    const writer = async (): Promise<void> => {
      while (next < this.#versions.length) {
        const n = next;
        next += 2;
        await this.#store.del(keyOf(n), { durability: n % 64 === 0 ? 'flushed' : 'written' });
        this.#versions[n] = 0;
      }
    };
    const timer = setInterval(() => this.#say(), TELL_MS);
    try {
      await Promise.all([...Array.from({ length: WRITERS }, writer), this.#readSome(5000)]);
    } finally {
      clearInterval(timer);
    }
  }

  async #checkAll(): Promise<void> {
    let next = 0;
    const reader = async (): Promise<void> => {
      while (next < this.#versions.length) await this.#readOne(next++);
    };
    await Promise.all(Array.from({ length: WRITERS }, reader));
    let count = 0;
    for await (const [key] of this.#store.iterator()) if (key.length > 0) count++;
    const expected = this.#versions.filter((version) => version !== 0).length;
    if (count !== expected) fail(`a walk finds ${count} keys, not ${expected}`);
  }

  /** Another program takes what is free, and gives it back. */
  async #keepTaking(forMs: number): Promise<void> {
    const file = join(this.#directory, 'foreign');
    const untilMs = performance.now() + forMs - 2 * FOREIGN_MS;
    while (performance.now() < untilMs) {
      await sleep(FOREIGN_MS);
      await writeFile(file, '');
      for (let bytes = await this.#freeBytes(); bytes >= 4096; bytes = Math.floor(bytes / 2)) {
        spawnSync('fallocate', ['--offset', String((await stat(file)).size), '--length', String(bytes), file]);
      }
      await sleep(FOREIGN_MS);
      await rm(file);
    }
  }

  async #freeBytes(): Promise<number> {
    const { bfree, bsize } = await statfs(this.#directory);
    return bfree * bsize;
  }

  #say(what = ''): void {
    const { space } = this.#store.statistics();
    const mib = (bytes: number): string => `${Math.round(bytes / MIB)}`;
    void this.#freeBytes().then((free) =>
      console.log(
        `${this.#puts} puts, ${this.#refused} refused, longest ${Math.round(this.#longestMs)} ms; file ${mib(space.fileBytes)} MiB,` +
          ` live ${mib(space.liveBytes)}, free ${mib(space.freeBytes)}, reserved ${mib(space.reservedBytes)};` +
          ` free on the device ${mib(free)} ${what}`,
      ),
    );
    this.#longestMs = 0;
  }
}

async function main(): Promise<void> {
  const chosen = settings();
  if (chosen === null) {
    console.log(USAGE);
    return;
  }
  const why = whyNoMount();
  if (why !== null) {
    console.log(`skipped: no small file system can be mounted here (${why})`);
    return;
  }
  const place = await mkdtemp(resolve('.tmp-full-device-'));
  const directory = join(place, 'mounted');
  try {
    const failure = mountSmall(join(place, 'image'), directory, chosen.sizeMiB * MIB);
    if (failure !== null) throw new Error(failure);
    await new Soak(chosen, directory).run();
  } finally {
    // A store that has failed may still be open.
    if (run('umount', directory) !== null) run('umount', '--lazy', directory);
    await rm(place, { recursive: true, force: true });
  }
}

await main();
