/**
 * One simulated file: what reads see, what is durable, and the changes in between, which a power cut may keep or lose.
 *
 * ```
 *          begin()             complete()            noteReported()          flush()
 *   (new) ────────► in flight ────────────► visible ────────────────► coverable ────────► durable
 *                       │                      │                          │
 *                       └──────────────────────┴──────── image() ─────────┘   kept, lost or torn
 * ```
 *
 * MEDIUM-1. A flush covers the changes whose completion had been reported before it was submitted (ENGINE-4).
 *     Completions are reported in the order in which they happened, so these are a prefix.
 * MEDIUM-2. The unit of persistence is a sector of 512 bytes: a write reaches it whole, or not at all.
 * MEDIUM-3. Of two changes to one sector, of which one was reported before the other was submitted, the
 *     later one wins on the medium. Changes in flight together reach it in either order.
 * MEDIUM-4. A growth is a change like any other. (Bytes that are kept behind a size that is not are bytes that
 *     are lost, so the two need no telling apart.)
 * MEDIUM-5. What a truncation cuts off is gone at once, also after a power cut: the worst that can happen to it.
 * MEDIUM-6. A change that is settled is on the medium, with the size that it needs, and no other change is. Changes before it do not
 *     come back over it (MEDIUM-3).
 *
 * It schedules nothing and injects no faults. Chance comes from a `Random` that is handed in.
 */
import type { Random } from '@aiokv/core';
import { Pages } from './simulated-pages.ts';

export const SECTOR_BYTES = 512;

/** What a power cut leaves of the changes that were not flushed. */
export type PowerCutMode = 'none' | 'all' | 'subset' | 'torn';

/** Bytes, and possibly a growth, on their way to the medium. */
export interface Change {
  readonly offset: number;
  /** The bytes that the device took, or will take if it does so now. Empty for a mere growth. */
  bytes(): Uint8Array;
  /** The file is at least this long with the change. */
  readonly endBytes: number;
  readonly submittedTick: number;
  /** Infinity until its completion was reported. */
  reportedTick: number;
  /** Place in the order of completions; Infinity while in flight. */
  completedOrder: number;
}

/** How the changes of one image are chosen. */
export interface CutPlan {
  readonly mode: PowerCutMode;
  readonly random: Random;
  /** Probability that a change is kept whole. */
  readonly keepChance: number;
  /** The change that is torn, if one is. */
  readonly torn: Change | null;
}

export class Medium {
  readonly #visible: Pages;
  readonly #durable: Pages;
  #unflushed: Change[] = [];
  #completions = 0;
  #reportedThrough = 0;

  /** @param pages what is on the medium */
  constructor(pages = new Pages()) {
    this.#durable = pages;
    this.#visible = pages.clone(true);
  }

  get sizeBytes(): number {
    return this.#visible.sizeBytes;
  }

  /** What a flush that is submitted now will cover. */
  get reportedThrough(): number {
    return this.#reportedThrough;
  }

  get unflushed(): readonly Change[] {
    return this.#unflushed;
  }

  /** Whether both have the same bytes on the medium, and no cut can bring about others. */
  holdsSame(other: Medium): boolean {
    const isSettled = this.#unflushed.length === 0 && other.#unflushed.length === 0;
    return isSettled && this.#durable.equals(other.#durable);
  }

  read(offset: number, target: Uint8Array): number {
    return this.#visible.read(offset, target);
  }

  /** As `read`, of each page as it was before it was written to for the last time. */
  readStale(offset: number, target: Uint8Array): number {
    return this.#visible.readReplaced(offset, target);
  }

  /** A change was sent to the device. */
  begin(change: Change): void {
    this.#unflushed.push(change);
  }

  /** The device took a change: reads see it from now on. */
  complete(change: Change): void {
    change.completedOrder = ++this.#completions;
    this.#visible.write(change.offset, change.bytes());
    this.#visible.grow(change.endBytes);
  }

  /** MEDIUM-6. A change that was completed is durable. */
  settle(settled: Change): void {
    this.#durable.write(settled.offset, settled.bytes());
    this.#durable.grow(settled.endBytes);
    this.#unflushed = this.#unflushed
      .filter((change) => change !== settled)
      .map((change) => (change.reportedTick <= settled.submittedTick ? covered(change, settled) : change));
  }

  /** MEDIUM-5. */
  truncate(sizeBytes: number): void {
    this.#unflushed = this.#unflushed.filter((change) => change.endBytes <= sizeBytes);
    this.#visible.truncate(sizeBytes);
    this.#durable.truncate(sizeBytes);
  }

  /** A change came to nothing. */
  abandon(change: Change): void {
    this.#unflushed = this.#unflushed.filter((other) => other !== change);
  }

  /** The completion of a change was reported to whoever had sent it. */
  noteReported(change: Change, tick: number): void {
    change.reportedTick = tick;
    if (change.completedOrder !== Infinity) {
      this.#reportedThrough = Math.max(this.#reportedThrough, change.completedOrder);
    }
  }

  /** A flush that was submitted when `reportedThrough` stood at `covers` has done its work. */
  flush(covers: number): void {
    for (const change of this.#takeCovered(covers)) {
      this.#durable.write(change.offset, change.bytes());
      this.#durable.grow(change.endBytes);
    }
  }

  /**
   * A flush has failed. What it was to cover is marked clean all the same: some of it is on the medium,
   * some is read back until the power goes, some is gone at once; no later flush will save any of it. Only the
   * size of the file is saved by the next flush that succeeds: an inode is written as a whole.
   */
  failFlush(covers: number, random: Random): void {
    for (const change of this.#takeCovered(covers)) this.#failToSave(change, random);
  }

  /** A change that was completed, and should have been durable with it, has met the same. */
  failSettling(change: Change, random: Random): void {
    if (random.chance(0.3)) {
      this.settle(change);
      return;
    }
    this.abandon(change);
    this.#failToSave(change, random);
  }

  #failToSave(change: Change, random: Random): void {
    const bytes = change.bytes();
    const fate = random.below(3);
    if (fate === 0) this.#durable.write(change.offset, bytes);
    if (fate === 1)
      for (const [at, run] of someSectors(bytes, 0.5, random)) this.#durable.write(change.offset + at, run);
    if (fate === 2 && random.chance(0.5)) this.#revert(change.offset, bytes.length);
    this.#unflushed.push({
      ...positionOf(change),
      endBytes: change.endBytes,
      offset: change.endBytes,
      bytes: nothing,
    });
  }

  /** Overwrites content behind the back of everyone, for good. */
  overwrite(offset: number, bytes: Uint8Array): void {
    this.#visible.write(offset, bytes);
    this.#durable.write(offset, bytes);
  }

  /** The content that a machine finds after a power cut. */
  image(plan: CutPlan): Medium {
    const pages = this.#durable.clone();
    if (plan.mode === 'none' || this.#unflushed.length === 0) return new Medium(pages);
    if (plan.mode === 'all') {
      for (const change of this.#inCompletionOrder()) {
        pages.write(change.offset, change.bytes());
        pages.grow(change.endBytes);
      }
      return new Medium(pages);
    }
    for (const change of inPossibleOrder(this.#unflushed, plan.random)) {
      const bytes = change.bytes();
      for (const [at, run] of survivors(change, bytes, plan)) pages.write(change.offset + at, run);
      if (plan.random.chance(plan.keepChance)) pages.grow(change.endBytes);
    }
    return new Medium(pages);
  }

  #takeCovered(covers: number): Change[] {
    const covered = this.#inCompletionOrder().filter((change) => change.completedOrder <= covers);
    this.#unflushed = this.#unflushed.filter((change) => change.completedOrder > covers);
    return covered;
  }

  /** Those in flight come last, in the order of their submission. */
  #inCompletionOrder(): Change[] {
    return [...this.#unflushed].sort((a, b) => {
      if (a.completedOrder === b.completedOrder) return a.submittedTick - b.submittedTick;
      return a.completedOrder - b.completedOrder;
    });
  }

  /** Makes reads see what is durable, and the changes that are left on top of it. */
  #revert(offset: number, lengthBytes: number): void {
    const old = new Uint8Array(lengthBytes);
    this.#durable.read(offset, old);
    this.#visible.write(offset, old);
    for (const change of this.#inCompletionOrder()) {
      if (change.completedOrder !== Infinity) this.#visible.write(change.offset, change.bytes());
    }
  }
}

/** A change as it is where another one has come after it. */
function covered(change: Change, by: Change): Change {
  const from = Math.max(change.offset, by.offset);
  const bytes = change.bytes();
  const to = Math.min(change.offset + bytes.length, by.offset + by.bytes().length);
  if (from >= to) return change;
  const merged = bytes.slice();
  merged.set(by.bytes().subarray(from - by.offset, to - by.offset), from - change.offset);
  const { offset, endBytes } = change;
  return { ...positionOf(change), offset, endBytes, bytes: () => merged };
}

const NOTHING = new Uint8Array(0);

function nothing(): Uint8Array {
  return NOTHING;
}

/** When a change was made. */
function positionOf({
  submittedTick,
  reportedTick,
  completedOrder,
}: Change): Omit<Change, 'offset' | 'bytes' | 'endBytes'> {
  return { submittedTick, reportedTick, completedOrder };
}

/** MEDIUM-3: every change takes effect at some moment between its submission and the report of its completion. */
function inPossibleOrder(changes: readonly Change[], random: Random): Change[] {
  const lastTick = 1 + changes.reduce((latest, change) => Math.max(latest, change.submittedTick), 0);
  return changes
    .map((change) => {
      const untilTick = Math.min(change.reportedTick, lastTick);
      return { change, atTick: change.submittedTick + random.float() * (untilTick - change.submittedTick) };
    })
    .sort((a, b) => a.atTick - b.atTick)
    .map(({ change }) => change);
}

/** Which runs of sectors of a change a power cut leaves, as offset in the change and bytes. */
function survivors(change: Change, bytes: Uint8Array, plan: CutPlan): [number, Uint8Array][] {
  const { random, keepChance } = plan;
  if (change === plan.torn) return tear(bytes, random);
  const isInFlight = change.completedOrder === Infinity;
  if (isInFlight && random.chance(0.5)) return someSectors(bytes, keepChance, random);
  return random.chance(keepChance) ? [[0, bytes]] : [];
}

/** A write that the power cut off: its front, its back, or sectors here and there. */
function tear(bytes: Uint8Array, random: Random): [number, Uint8Array][] {
  const sectors = Math.ceil(bytes.length / SECTOR_BYTES);
  const boundary = (1 + random.below(sectors - 1)) * SECTOR_BYTES;
  const manner = random.below(3);
  if (manner === 0) return [[0, bytes.subarray(0, boundary)]];
  if (manner === 1) return [[boundary, bytes.subarray(boundary)]];
  return someSectors(bytes, random.float(), random);
}

/** Each sector with the given probability; neighbours come as one run. */
export function someSectors(bytes: Uint8Array, keepChance: number, random: Random): [number, Uint8Array][] {
  const runs: [number, Uint8Array][] = [];
  let start = -1;
  for (let at = 0; at <= bytes.length; at += SECTOR_BYTES) {
    const isKept = at < bytes.length && random.chance(keepChance);
    if (isKept && start < 0) start = at;
    if (!isKept && start >= 0) {
      runs.push([start, bytes.subarray(start, at)]);
      start = -1;
    }
  }
  if (start >= 0) runs.push([start, bytes.subarray(start)]);
  return runs;
}
