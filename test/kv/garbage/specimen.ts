/**
 * Small stores to be damaged, and the judgement over what a damaged one answers: the right answer, or an error with
 * a code, soon, without much memory.
 *
 * ```
 *   segments: log, two checkpoints, records that a cleaning has moved, log before and behind the second checkpoint, free
 * ```
 */
import { getHeapStatistics } from 'node:v8';
import { Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import { openPlanted } from '../../../packages/kv/src/open.ts';
import { GEOMETRY } from '../crash/history.ts';

export const PATH = '/store/data.aiokv';
/** Where the first slot begins. */
export const SLOTS_AT = 262_144;

export type Contents = ReadonlyMap<string, string>;

export interface Specimen {
  readonly bytes: Uint8Array;
  readonly contents: Contents;
  /**
   * Where the last frame lies, whose flush nothing on the disk proves, and what the store held before each of the frames
   * of its segment, the last one last; null after a clean close.
   */
  readonly last: { readonly from: number; readonly to: number; readonly before: readonly Contents[] } | null;
  /** The file as it was after each change of the superblock, oldest first. */
  readonly superblocks: readonly Uint8Array[];
}

/** A store with two checkpoints, an index of several pages, batches, a value in fragments, deletions, and a log behind it. */
export async function makeSpecimen({ isClosed, seed = 3 }: { isClosed: boolean; seed?: number }): Promise<Specimen> {
  const disk = new SimulatedDisk({ seed });
  const store = await openPlanted('/store', { ...GEOMETRY, platform: disk }, { eagerCleaning: true });
  const contents = new Map<string, string>();
  const superblocks = [disk.bytesOf(PATH).slice(0, SLOTS_AT)];
  const before: Contents[] = [];
  const put = async (key: string, value: string): Promise<void> => {
    before.push(new Map(contents));
    contents.set(key, value);
    await store.put(key, value);
  };
  const checkpoint = async (): Promise<void> => {
    await store.checkpoint();
    superblocks.push(disk.bytesOf(PATH).slice(0, SLOTS_AT));
  };
  // Of two values one is in a leaf, and one is too long for it.
  const batch = Array.from({ length: 10 }, (_, n) => {
    return [`${n}${'k'.repeat(600)}`, `${seed} ${n}`.padEnd(n % 2 === 0 ? 0 : 100, '.')] as const;
  });
  await store.batch(batch.map(([key, value]) => ({ type: 'put', key, value })));
  for (const [key, value] of batch) contents.set(key, value);
  await put('long', 'x'.repeat(70_000));
  await checkpoint();
  await put('between', `the checkpoints ${seed}`);
  await store.del(batch[3]?.[0] ?? '');
  contents.delete(batch[3]?.[0] ?? '');
  await put('fills', 'x'.repeat(40_000));
  await checkpoint();
  await put('behind', `the checkpoint ${seed}`);
  before.push(new Map(contents));
  await store.del('between');
  contents.delete('between');
  before.push(new Map(contents));
  await store.deleteRange({ gte: '5', lt: '7' });
  contents.delete(batch[5]?.[0] ?? '');
  contents.delete(batch[6]?.[0] ?? '');
  await put('wide', 'x'.repeat(30_000));
  before.push(new Map(contents));
  await store.batch([
    { type: 'put', key: 'two', value: '1' },
    { type: 'put', key: 'of one batch', value: `${seed}` },
  ]);
  contents.set('two', '1').set('of one batch', `${seed}`);
  const old = disk.bytesOf(PATH);
  await put('last', `${seed}`);
  if (isClosed) {
    await store.close();
    return { bytes: disk.bytesOf(PATH), contents, last: null, superblocks };
  }
  disk.stop();
  const bytes = disk.powerCut('none', new Random(1)).bytesOf(PATH);
  const from = bytes.findIndex((byte, at) => byte !== old[at]);
  return { bytes, contents, last: { from, to: from + 4096, before }, superblocks };
}

/** A case takes a few milliseconds. */
const MAX_CASE_MS = 2000;
/** A case may have buffers of so many bytes in all. Lengths that were believed would be gigabytes. */
const MAX_BUFFER_BYTES = 1024 * 1024 * 1024;

/** What was judged, for a test to see that it has done something. */
export interface Tally {
  cases: number;
  refused: number;
  right: number;
}

/**
 * Opens the file with these bytes and reads all of it in every way, and writes to it if asked to.
 *
 * @returns what is wrong, or null
 */
export async function judge(
  bytes: Uint8Array,
  allowed: readonly Contents[],
  tally: Tally,
  options: { readonly writes?: boolean } = {},
): Promise<string | null> {
  const disk = new SimulatedDisk({ seed: 1 });
  disk.placeRaw(PATH, bytes);
  return judgeDisk(disk, allowed, tally, options);
}

/** As `judge`, of a disk that is there. */
export async function judgeDisk(
  disk: SimulatedDisk,
  allowed: readonly Contents[],
  tally: Tally,
  { writes = false }: { readonly writes?: boolean } = {},
): Promise<string | null> {
  const case1 = new Case(disk, allowed);
  // Of this process: what else the machine does is no fault of the store.
  const before = process.cpuUsage();
  tally.cases++;
  const fault = await case1.run(writes);
  const { user, system } = process.cpuUsage(before);
  const tookMs = (user + system) / 1000;
  if (case1.isRefused) tally.refused++;
  else tally.right++;
  if (fault !== null) return fault;
  return tookMs > MAX_CASE_MS ? `took ${Math.round(tookMs)} ms of CPU` : null;
}

class Case {
  isRefused = false;
  readonly #disk: SimulatedDisk;
  #refusal = '';
  #allowed: readonly Contents[];
  #fault: string | null = null;

  constructor(disk: SimulatedDisk, allowed: readonly Contents[]) {
    this.#disk = disk;
    this.#allowed = allowed;
  }

  async run(writes: boolean): Promise<string | null> {
    const store = await this.#open();
    if (store === undefined) return this.#fault;
    await this.#read(store);
    // What was right stays right, whatever is written.
    if (writes && this.#fault === null && !this.isRefused) await this.#write(store);
    await store.close().catch(this.#note);
    return this.#fault;
  }

  async #open(): Promise<Store | undefined> {
    const options = { ...GEOMETRY, platform: this.#disk, createIfMissing: false };
    const store = await open('/store', options).catch(this.#note);
    // Buffers are a part of it. To ask for them alone takes 0.1 ms.
    const { external_memory: externalBytes } = getHeapStatistics();
    if (externalBytes > MAX_BUFFER_BYTES) this.#fault = `takes ${externalBytes} bytes`;
    return store;
  }

  async #read(store: Store): Promise<void> {
    const keys = new Set(this.#allowed.flatMap((contents) => [...contents.keys()]));
    for (const key of keys) {
      try {
        this.#narrow(key, (await store.get(key))?.toString());
        this.#narrow(key, store.getSync(key)?.toString());
      } catch (error) {
        this.#note(error);
      }
    }
    for (const reverse of [false, true]) {
      try {
        const found = new Map<string, string>();
        for await (const [key, value] of store.iterator({ reverse })) found.set(key.toString(), value.toString());
        const isSame = (contents: Contents): boolean =>
          contents.size === found.size && [...contents].every(([key, value]) => found.get(key) === value);
        if (!this.#allowed.some(isSame)) this.#fault ??= `the iterator gives ${[...found.keys()].map(shorten).join()}`;
      } catch (error) {
        this.#note(error);
      }
    }
  }

  async #write(store: Store): Promise<void> {
    const value = 'w'.repeat(30_000);
    try {
      for (let n = 0; n < 12; n++) await store.put(`written${n}`, value, { durability: 'written' });
      await store.checkpoint();
      this.#allowed = this.#allowed.map((contents) => {
        const after = new Map(contents);
        for (let n = 0; n < 12; n++) after.set(`written${n}`, value);
        return after;
      });
      await this.#read(store);
      await store.close();
      const again = await this.#open();
      if (again === undefined) return;
      await this.#read(again);
      await again.close();
    } catch (error) {
      this.#note(error);
    } finally {
      if (this.isRefused) this.#fault ??= `was right, and after writing: ${this.#refusal}`;
    }
  }

  /** Only contents in which the key has this value can be what the store holds. */
  #narrow(key: string, value: string | undefined): void {
    this.#allowed = this.#allowed.filter((contents) => contents.get(key) === value);
    if (this.#allowed.length === 0) this.#fault ??= `${shorten(key)} reads as ${value && shorten(value)}`;
  }

  readonly #note = (error: unknown): undefined => {
    this.isRefused = true;
    this.#refusal = String(error);
    const { code } = error as { code?: unknown };
    const isKnown = typeof code === 'string' && code.startsWith('ERR_AIOKV_') && code !== 'ERR_AIOKV_INTERNAL';
    if (!isKnown) this.#fault ??= `no code: ${(error as Error).stack ?? String(error)}`;
  };
}

function shorten(text: string): string {
  return text.length > 20 ? `${text.slice(0, 20)}…` : text;
}
