/**
 * Some keys that were hot, looked up in one step and read together. Their values go to the cache, and to nobody else.
 *
 * ```
 *   add, for each key ─► index ─┬─► place ──────────────────────────┬─► long reads ─► checked ─► cache
 *                               └─► its leaf is read, then: place ──┘
 * ```
 *
 * HOTREADS-1. All are in one epoch, from the step of their lookups to the end of the last read (EPOCH-1).
 * HOTREADS-2. A value that cannot be had in the plain way, by one read of its record, is left out: whoever asks for it reads it.
 */
import type { AlignedBuffer } from '@aiokv/aio';
import type { Sequence } from '@aiokv/core';
import type { FailureGate } from '../failure/failure-gate.ts';
import type { ReadEpochs } from '../file/read-epochs.ts';
import type { RangeVisitor, Ranges, SpanReader } from '../file/span-reader.ts';
import type { Fragment } from '../format/extent.ts';
import { fileOffsetOf, isInFragments, isInline, lengthOf } from '../format/index-entry.ts';
import { isExtent, sequenceOf } from '../format/record.ts';
import type { KeyIndex } from '../index/key-index.ts';
import type { LateAnswer } from '../index/leaf-lookup.ts';
import { KeyList } from '../read/key-list.ts';
import { wrongRecord } from '../read/record-check.ts';
import type { WantedRecord } from '../read/record-check.ts';
import type { RecordReader, UnwrittenRecords } from '../read/record-reader.ts';
import { Entry, FOUND, MISSING } from '../tree/index.ts';

export interface HotReadsParts {
  readonly index: KeyIndex;
  readonly log: UnwrittenRecords;
  readonly gate: FailureGate;
  readonly reader: RecordReader;
  readonly spans: SpanReader;
  readonly epochs: ReadEpochs;
}

/** Scratch. Valid within one step. */
const entry = new Entry();

/** A lookup that waits for its leaf. */
class LateKey implements LateAnswer {
  readonly key: Uint8Array;
  readonly #reads: HotReads;

  constructor(reads: HotReads, key: Uint8Array) {
    this.#reads = reads;
    this.key = key;
  }

  foundLate(found: Entry): void {
    this.#reads.meet(found, this.key, this.key.length);
    this.#reads.lateEnded();
  }

  missingLate(): void {
    this.#reads.lateEnded();
  }

  failedLate(): void {
    this.#reads.lateEnded();
  }
}

export class HotReads implements Ranges, RangeVisitor, WantedRecord {
  count = 0;
  readonly offsets: Float64Array;
  readonly lengths: Uint32Array;
  /** Values that went to the cache. */
  filled = 0;
  /** The cache has no room for more. */
  isWithoutRoom = false;
  readonly #parts: HotReadsParts;
  readonly #most: number;
  readonly #keys: KeyList;
  readonly #seenAt: Sequence;
  /** HOTREADS-1. */
  readonly #epoch: number;
  #looked = 0;
  /** Lookups that wait for their leaves. */
  #late = 0;
  #wake: (() => void) | null = null;
  lengthBytes = 0;
  keyAt = 0;
  keyBytes = 0;
  readonly fragment: Fragment | null = null;
  readonly sequence = 0;

  /** Add all keys, and call `finish`, in this step. @param most keys */
  constructor(parts: HotReadsParts, most: number) {
    this.#parts = parts;
    this.#most = most;
    this.offsets = new Float64Array(most);
    this.lengths = new Uint32Array(most);
    this.#keys = new KeyList(most);
    this.#seenAt = parts.index.admittedThrough;
    this.#epoch = parts.epochs.enter();
  }

  get isFull(): boolean {
    return this.#looked === this.#most;
  }

  get key(): Uint8Array {
    return this.#keys.bytes;
  }

  /** Looks a key up. */
  add(key: Uint8Array, keyBytes: number): void {
    const { index } = this.#parts;
    this.#looked++;
    if (index.values.has(key, keyBytes)) return;
    const outcome = index.find(key, keyBytes, entry);
    if (outcome === FOUND) this.meet(entry, key, keyBytes);
    else if (outcome !== MISSING) {
      this.#late++;
      index.findLater(outcome, new LateKey(this, key.slice(0, keyBytes)), index.expiry.momentMs);
    }
  }

  /** @internal A key was found. */
  meet(found: Entry, key: Uint8Array, keyBytes: number): void {
    if (isInline(found) || isInFragments(found)) return;
    const fileOffset = fileOffsetOf(found);
    if (this.#parts.log.unwritten(fileOffset) !== null) return;
    this.offsets[this.count] = fileOffset;
    this.lengths[this.count] = lengthOf(found);
    this.#keys.add(key, keyBytes);
    this.count++;
  }

  /** @internal A lookup that has waited for its leaf has ended. */
  lateEnded(): void {
    this.#late--;
    if (this.#late > 0) return;
    this.#wake?.();
    this.#wake = null;
  }

  /** Reads what was found. Settles when nothing is in flight. Never rejects. */
  async finish(isStopped: () => boolean): Promise<void> {
    const { epochs, spans } = this.#parts;
    if (this.#late > 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.count > 0 && !isStopped()) await spans.read(this, this, isStopped);
    epochs.leave(this.#epoch);
  }

  /** @internal A record of a long read. HOTREADS-2. */
  read(index: number, block: AlignedBuffer, at: number): void {
    this.lengthBytes = this.lengths[index] as number;
    this.keyAt = this.#keys.startOf(index);
    this.keyBytes = this.#keys.keyBytesOf(index);
    if (this.isWithoutRoom || wrongRecord(block, at, this) !== null || isExtent(block.view, at)) return;
    const { reader, index: keys } = this.#parts;
    if (reader.refusalOf(sequenceOf(block.view, at)) !== null) return;
    if (keys.values.fillHot(block, at, this.#seenAt)) this.filled++;
    else this.isWithoutRoom = true;
  }

  /** @internal HOTREADS-2. */
  unreadable(): void {}
}
