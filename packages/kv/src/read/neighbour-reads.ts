/**
 * The records of one `getMany`. Those that lie close together are read at once; what lies alone is read as a `get` reads it.
 *
 * ```
 *   add, for each key ─► read ─► spans of several ─► checked in the long read ─► result
 *                          │                            └─ not what it should be, or unreadable ─┐
 *                          └─► spans of one ─────────────────────────────────────────────────────┴─► RecordReader ─► result
 * ```
 *
 * NEAR-1. All are in one epoch, from the step of their lookups until the last of them has ended (EPOCH-1). That of a read which
 *     begins later, alone, may be a later one.
 * NEAR-2. A value is taken from a long read only if it passes what a read of its own asks of it (WHOLE-1). What does not is
 *     read alone: so it is tried again, and its error is its own.
 */
import type { AlignedBuffer } from '@aiokv/aio';
import type { Sequence } from '@aiokv/core';
import type { ReadEpochs } from '../file/read-epochs.ts';
import type { RangeVisitor, Ranges, SpanReader } from '../file/span-reader.ts';
import type { Fragment } from '../format/extent.ts';
import { copyValue, expiresAtOf, isExtent, sequenceOf } from '../format/record.ts';
import { KeyList } from './key-list.ts';
import { wrongRecord } from './record-check.ts';
import type { WantedRecord } from './record-check.ts';
import type { RecordReader, ValueTaker } from './record-reader.ts';
import type { ReadResult } from './results.ts';

export interface NeighbourReadsParts {
  readonly reader: RecordReader;
  readonly spans: SpanReader;
  readonly epochs: ReadEpochs;
  readonly index: ValueTaker;
}

export class NeighbourReads implements Ranges, RangeVisitor, WantedRecord, ReadResult {
  count = 0;
  readonly offsets: Float64Array;
  readonly lengths: Uint32Array;
  readonly #parts: NeighbourReadsParts;
  readonly #result: ReadResult;
  readonly seenAt: Sequence;
  readonly #tokens: Uint32Array;
  readonly #keys: KeyList;
  /** NEAR-1. */
  #epoch = 0;
  /** Reads of records alone that have not ended, and one for all others. */
  #left = 1;
  lengthBytes = 0;
  keyAt = 0;
  keyBytes = 0;
  readonly fragment: Fragment | null = null;
  readonly sequence = 0;

  /**
   * @param most records
   * @param seenAt see `ReadResult`
   */
  constructor(parts: NeighbourReadsParts, most: number, result: ReadResult, seenAt: Sequence) {
    this.#parts = parts;
    this.#result = result;
    this.seenAt = seenAt;
    this.offsets = new Float64Array(most);
    this.lengths = new Uint32Array(most);
    this.#tokens = new Uint32Array(most);
    this.#keys = new KeyList(most);
  }

  get key(): Uint8Array {
    return this.#keys.bytes;
  }

  /** Adds a record that is on the device. Copies the key. */
  add(fileOffset: number, lengthBytes: number, key: Uint8Array, keyBytes: number, token: number): void {
    const at = this.count++;
    this.offsets[at] = fileOffset;
    this.lengths[at] = lengthBytes;
    this.#tokens[at] = token;
    this.#keys.add(key, keyBytes);
  }

  /** Reads all, and tells the result of each. Call it in the step of the lookups. Never rejects. */
  async start(): Promise<void> {
    if (this.count === 0) return;
    const { epochs, spans } = this.#parts;
    this.#epoch = epochs.enter();
    if (this.count === 1) this.alone(0);
    else await spans.read(this, this, neverStopped);
    this.#ended();
  }

  /** @internal A record of a long read. */
  read(index: number, block: AlignedBuffer, at: number): void {
    this.#aim(index);
    if (wrongRecord(block, at, this) !== null || isExtent(block.view, at)) {
      this.alone(index);
      return;
    }
    const version = sequenceOf(block.view, at);
    const refusal = this.#parts.reader.refusalOf(version);
    const token = this.#tokens[index] as number;
    if (refusal !== null) {
      this.#result.failed(token, refusal);
      return;
    }
    this.#parts.index.cacheValue(block, at, this.seenAt);
    this.#result.found(token, copyValue(block, at), version, expiresAtOf(block.view, at));
  }

  /** @internal */
  unreadable(index: number): void {
    this.alone(index);
  }

  /** @internal A record without neighbours. */
  alone(index: number): void {
    this.#aim(index);
    const { lengthBytes, keyAt, keyBytes } = this;
    const key = this.key.subarray(keyAt, keyAt + keyBytes);
    this.#left++;
    this.#parts.reader.read(this.offsets[index] as number, lengthBytes, key, keyBytes, this, index);
  }

  /** @internal A record that was read alone. */
  found(index: number, value: Buffer, version: number, expiresAtMs: number): void {
    this.#ended();
    this.#result.found(this.#tokens[index] as number, value, version, expiresAtMs);
  }

  /** @internal */
  failed(index: number, error: Error): void {
    this.#ended();
    this.#result.failed(this.#tokens[index] as number, error);
  }

  #ended(): void {
    if (--this.#left === 0) this.#parts.epochs.leave(this.#epoch);
  }

  #aim(index: number): void {
    this.lengthBytes = this.lengths[index] as number;
    this.keyAt = this.#keys.startOf(index);
    this.keyBytes = this.#keys.keyBytesOf(index);
  }
}

function neverStopped(): boolean {
  return false;
}
