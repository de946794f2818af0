/**
 * Notes at the end of a store which keys were hot, so that the next opening can read their values back (warm-up.ts).
 *
 * ```
 *   table of cached values ─► addresses, by heat ─► keys, the hottest first ─► data.aiokv.hot
 *                    └─ a bounded number, in the order of hashes: of a larger cache it is a sample
 * ```
 *
 * NOTE-1. It is bounded: by the bytes of the file, by the values that are looked at, and by time. Nothing is written when little was
 *     hot: then the note of before is the better one, and stays.
 * NOTE-2. It runs when nothing reads or writes any more. Its failure is nobody's (HOT-1).
 */
import { MIB, nextTurn } from '@aiokv/core';
import type { Clock, TurnBudget } from '@aiokv/core';
import type { ValueCache } from '../cache/value-cache.ts';
import { HotFileWriter } from '../file/hot-file.ts';
import type { HotFilePlace } from '../file/hot-file.ts';
import type { HotKey } from '../format/hot-keys.ts';

export interface HotNoteParts {
  readonly place: HotFilePlace;
  readonly values: ValueCache;
  readonly clock: Clock;
  readonly budget: TurnBudget;
  /** See `mostHotBytes`. */
  readonly mostBytes: number;
  /** Fewer hot keys are not worth a file. */
  readonly leastKeys: number;
}

/** Of `memoryBytes`, the file takes one part in so many at most, ... */
const PART_OF_FILE = 64;
/** ... and never more than this. */
const FILE_BYTES_MOST = 8 * MIB;
/** Values that are looked at. */
const VALUES_MOST = 524_288;
/** After so long no more are looked at, and no more are written. */
const LISTING_MS = 60;
const WRITING_MS = 90;
const HOTTEST = 7;
/** Of the table, a bucket has some hundred values: the clock is read behind each. */
const OPERATIONS_PER_BUCKET = 16;

/** The longest file of hot keys, in bytes. */
export function mostHotBytes(memoryBytes: number): number {
  return Math.min(FILE_BYTES_MOST, memoryBytes / PART_OF_FILE);
}

/** NOTE-2. Never rejects. */
export async function noteHotKeys(parts: HotNoteParts): Promise<void> {
  const { place, leastKeys, mostBytes } = parts;
  const byHeat = await list(parts);
  if (countOf(byHeat) < leastKeys) return;
  try {
    const writer = await HotFileWriter.begin(place, mostBytes);
    try {
      await write(writer, byHeat, parts);
    } finally {
      await writer.finish();
    }
  } catch {
    // HOT-1.
  }
}

/** NOTE-1. Addresses of values, by their heat. */
async function list({ values, clock, budget }: HotNoteParts): Promise<readonly number[][]> {
  const byHeat = Array.from({ length: HOTTEST + 1 }, (): number[] => []);
  const untilMs = clock.nowMs() + LISTING_MS;
  for (let from = 0; from >= 0 && countOf(byHeat) < VALUES_MOST && clock.nowMs() < untilMs;) {
    from = values.listHot(from, byHeat);
    if (budget.isSpent(OPERATIONS_PER_BUCKET)) await nextTurn();
  }
  return byHeat;
}

function countOf(byHeat: readonly number[][]): number {
  return byHeat.reduce((sum, addresses) => sum + addresses.length, 0);
}

/** The hottest first, as many as there is room and time for. */
async function write(writer: HotFileWriter, byHeat: readonly number[][], parts: HotNoteParts): Promise<void> {
  const { values, clock, budget } = parts;
  const key: HotKey = { words: new Uint32Array(0), base: 0, keyBytes: 0, valueBytes: 0 };
  const untilMs = clock.nowMs() + WRITING_MS;
  for (let heat = HOTTEST; heat > 0; heat--) {
    for (const address of byHeat[heat] as number[]) {
      values.loadListed(address, key);
      if (!writer.add(key)) {
        if (!(await writer.write()) || clock.nowMs() > untilMs) return;
        writer.add(key);
      }
      if (budget.isSpent()) await nextTurn();
    }
  }
}
