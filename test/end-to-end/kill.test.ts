/**
 * kill -9 at random moments of a process that writes on the real disk. Whatever it said was acknowledged
 * must be there, every batch whole, and every range gone that it said was deleted. Most are killed while they begin; some
 * live for seconds, so that cleanings and compactions end in them. AIOKV_KILLS says how often (default 15 for each
 * durability), AIOKV_KILL_SEED chooses the moments.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { Random } from '@aiokv/core';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import { seedOf } from '../helpers/seed.ts';
import {
  OVERWRITTEN,
  OVERWRITTEN_PREFIX,
  RANGE_PREFIX,
  overwritingValueOf,
  rangeSizeOf,
  rangeValueOf,
  sizeOf,
  valueOf,
} from './batches.ts';

const KILLS = Number(process.env['AIOKV_KILLS'] ?? 15);
const SEED = seedOf('AIOKV_KILL_SEED');
const writer = fileURLToPath(new URL('./writer.ts', import.meta.url));

/** One writer in so many lives long, and how long they live at most. */
const LONG_LIVES = 4;
const LONG_LIFE_MS = 3000;
const SHORT_LIFE_MS = 250;
/** Those that live long do so until then, however slow the device is: the others may hear of none. */
const LONG_LIFE_BATCHES = 50;
/** So many kills see each kind of background work come to an end. */
const ENOUGH_KILLS = 40;
/** With more batches the store is cleared: to read it takes longer than to write it. */
const MOST_BATCHES = 4000;

/** What a writer has said: lines such as "17" for a batch, "deleted 3" for a range, "moved" for a cleaning. */
class Said {
  readonly #lines: readonly string[];

  constructor(lines: readonly string[]) {
    this.#lines = lines;
  }

  /** The batches that were acknowledged. */
  get acknowledged(): number[] {
    return this.#lines.filter((line) => /^\d+$/.test(line)).map(Number);
  }

  /** The ranges of which this was said. */
  ranges(what: 'putting' | 'put' | 'deleting' | 'deleted'): number[] {
    return this.#lines.filter((line) => line.startsWith(`${what} `)).map((line) => Number(line.split(' ')[1]));
  }

  count(what: 'moved' | 'compacted'): number {
    return this.#lines.filter((line) => line === what).length;
  }
}

/** Runs the writer until it is killed; returns what it has said. */
/** Kills the writer when it has lived so long and said that so many batches were acknowledged. */
async function writeUntilKilled(args: readonly string[], lifeMs: number, leastBatches: number): Promise<Said> {
  const child = spawn(process.execPath, [...process.execArgv, writer, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  let isOld = false;
  // The last line may be cut off: it was not said.
  const heard = (): Said => new Said(said.slice(0, said.lastIndexOf('\n') + 1).split('\n'));
  const killIfDue = (): void => {
    if (isOld && heard().acknowledged.length >= leastBatches) child.kill('SIGKILL');
  };
  const grow = (): void => {
    isOld = true;
    killIfDue();
  };
  child.stdout.on('data', (chunk: Buffer) => {
    if (said === '') setTimeout(grow, lifeMs);
    said += chunk.toString();
    killIfDue();
  });
  const signal = await new Promise((done) => child.once('close', (_code, by) => done(by)));
  if (signal !== 'SIGKILL') throw new Error('the writer has ended by itself');
  return heard();
}

function expectedValue(prefix: string, n: number): string {
  if (prefix === RANGE_PREFIX) return rangeValueOf(n);
  return prefix === OVERWRITTEN_PREFIX ? overwritingValueOf(n) : valueOf(n);
}

/** What must be in the store. */
class Expected {
  firstBatch = 0;
  firstRange = 0;
  readonly acknowledged = new Set<number>();
  /** By key that is overwritten: the last batch that was acknowledged. */
  readonly #overwritten = new Map<number, number>();
  /** Ranges that are there, and those that are gone; one that is being put or deleted may be either. */
  readonly #rangesPut = new Set<number>();
  readonly rangesDeleted = new Set<number>();

  hear(said: Said): void {
    for (const n of said.acknowledged) {
      this.acknowledged.add(n);
      this.#overwritten.set(n % OVERWRITTEN, Math.max(n, this.#overwritten.get(n % OVERWRITTEN) ?? 0));
    }
    for (const n of said.ranges('putting')) this.firstRange = n + 1;
    for (const n of said.ranges('put')) this.#rangesPut.add(n);
    for (const n of said.ranges('deleting')) this.#rangesPut.delete(n);
    for (const n of said.ranges('deleted')) this.rangesDeleted.add(n);
  }

  /** What is wrong with the store. */
  async *faultsOf(store: Store): AsyncGenerator<string> {
    const found = new Map<number, number>();
    const ranges = new Map<number, number>();
    const last = new Map<number, number>();
    for await (const [bytes, value] of store.iterator()) {
      const key = bytes.toString();
      const [prefix, number] = key.split(':');
      const isOverwritten = prefix === OVERWRITTEN_PREFIX;
      const n = isOverwritten ? parseInt(value.toString(), 10) : Number(prefix === RANGE_PREFIX ? number : prefix);
      if (value.toString() !== expectedValue(prefix as string, n)) yield `${key} has other bytes`;
      if (isOverwritten) last.set(Number(number), n);
      else {
        const counts = prefix === RANGE_PREFIX ? ranges : found;
        counts.set(n, (counts.get(n) ?? 0) + 1);
      }
    }
    for (const n of found.keys()) this.firstBatch = Math.max(this.firstBatch, n + 1);
    for (const [n, count] of found) if (count !== sizeOf(n)) yield `batch ${n} is torn`;
    for (const n of this.acknowledged) if (!found.has(n)) yield `batch ${n} is lost`;
    for (const [key, n] of this.#overwritten) {
      if ((last.get(key) ?? -1) < n) yield `${n} is replaced by ${last.get(key)}`;
    }
    for (const n of last.values()) if (!found.has(n)) yield `batch ${n} is torn`;
    for (const [n, count] of ranges) if (count !== rangeSizeOf(n)) yield `range ${n} is torn`;
    for (const n of ranges.keys()) if (this.rangesDeleted.has(n)) yield `range ${n} is there again`;
    for (const n of this.#rangesPut) if (!ranges.has(n)) yield `range ${n} is lost`;
    if (found.size < MOST_BATCHES) return;
    await store.clear();
    for (const n of this.#rangesPut) this.rangesDeleted.add(n);
    for (const set of [this.acknowledged, this.#overwritten, this.#rangesPut]) set.clear();
  }
}

for (const durability of ['flushed', 'written'] as const) {
  test.serial(`kill -9 during ${durability} writes loses nothing acknowledged and tears no batch`, async (t) => {
    t.timeout(540_000 + 6000 * KILLS);
    const random = new Random(SEED);
    const directory = await mkdtemp(resolve('.tmp-kill-'));
    const expected = new Expected();
    let [acknowledged, cleaned, compacted] = [0, 0, 0];
    try {
      for (let kill = 0; kill < KILLS; kill++) {
        const isLong = kill % LONG_LIVES === 1;
        const lifeMs = random.below(isLong ? LONG_LIFE_MS : SHORT_LIFE_MS);
        const numbers = [expected.firstBatch, expected.firstRange].map(String);
        const said = await writeUntilKilled(
          [directory, durability, ...numbers],
          lifeMs,
          isLong ? LONG_LIFE_BATCHES : 0,
        );
        expected.hear(said);
        acknowledged += said.acknowledged.length;
        cleaned += said.count('moved');
        compacted += said.count('compacted');
        const store = await open(directory);
        for await (const fault of expected.faultsOf(store)) t.fail(`AIOKV_KILL_SEED=${SEED}, kill ${kill}: ${fault}`);
        await store.close();
      }
      const deleted = expected.rangesDeleted.size;
      t.log(
        `${KILLS} kills, ${acknowledged} batches acknowledged, ${deleted} ranges deleted, ${cleaned} checkpoints with a cleaning, ` +
          `${compacted} compactions, AIOKV_KILL_SEED=${SEED}`,
      );
      t.true(acknowledged > KILLS * 10, `only ${acknowledged} batches were acknowledged`);
      if (KILLS >= ENOUGH_KILLS) t.true(deleted > 0 && cleaned > 0 && compacted > 0);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });
}
