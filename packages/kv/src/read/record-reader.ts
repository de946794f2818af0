/**
 * Reads records: the sectors that cover a record go through the queue into the buffer of a slot, then record-check.ts
 * checks the record.
 *
 * ```
 *   readDevice ─► slot ─► queue.submitRead ─► complete ─► wrongRecord? ─► result
 *        │          ▲                            │            └─ its value is in fragments ─► fragments, one slot each
 *        └► waits ──┘                            └─ short or wrong: once more
 *          (all slots are taken)
 *
 *   fragments ─► the next one ─┬─► log.unwritten   (not on the device yet: from memory)  ─► value whole? ─► result
 *                              └─► slot, as above
 * ```
 *
 * READ-1. A failed read is tried once more, then fails its own key only.
 * READ-2. Few fragments are in flight at once, all values counted together: enough bytes to keep the device busy.
 * READ-3. Every read ends with one call of its result, in the completion of its last transfer or in `answer`. The queue
 *     completes every transfer that it accepts, and every completion passes its slot to the next waiting read.
 * READ-4. Every read that leaves its first step is in an epoch until it has ended (EPOCH-1): while it waits for a slot,
 *     while it is tried again, and while fragments are read by the table that it has found. Fragments of a value that
 *     has failed count as long as they are in flight.
 *
 * A successful read allocates no object and builds no text. The index knows where the record of a key is.
 */
import { Fifo, Waiters, queueMicrotask, setImmediate } from '@aiokv/core';
import type { Clock, Sequence } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, CompletionHandler, DirectFile, Queue } from '@aiokv/aio';
import type { Fragment } from '../format/extent.ts';
import { expiryOf, fileOffsetOf, inlineValueOf, isInline, lengthOf, sequenceOfWords } from '../format/index-entry.ts';
import type { LeafEntry } from '../format/index-entry.ts';
import { copyValue, expiresAtOf, isExtent, sequenceOf } from '../format/record.ts';
import type { Block } from '../format/words.ts';
import type { FailureGate } from '../failure/failure-gate.ts';
import { corrupt } from '../failure/errors.ts';
import type { ReadEpochs } from '../file/read-epochs.ts';
import type { ReadPace } from '../file/read-pace.ts';
import { SectorRead, transferError } from '../file/sector-read.ts';
import { wrongRecord } from './record-check.ts';
import type { WantedRecord } from './record-check.ts';
import type { ReadResult } from './results.ts';
import { Assembly } from './value-assembly.ts';
import { WaitingReads } from './waiting-reads.ts';
import type { ReadTaker } from './waiting-reads.ts';

/** What a read asks of the log. */
export interface UnwrittenRecords {
  readonly flushedThrough: number;
  /** The memory of the record at `fileOffset` if it may not be on the device yet, else null. */
  unwritten(fileOffset: number): { readonly block: Block; readonly offset: number } | null;
}

/** A value that is being assembled, and who waits for it. */
interface LongRead {
  readonly assembly: Assembly;
  readonly result: ReadResult;
  readonly token: number;
  /** READ-4. */
  readonly epoch: number;
  /** Fragments in flight. */
  inFlight: number;
  isOver: boolean;
}

/** Takes values that were read, for the next read of their keys. */
export interface ValueTaker {
  /** @param seenAt see `ReadResult` */
  cacheValue(block: Block, at: number, seenAt: Sequence): void;
}

export interface RecordReaderParts {
  readonly index: ValueTaker;
  readonly queue: Queue;
  readonly file: DirectFile;
  readonly log: UnwrittenRecords;
  readonly gate: FailureGate;
  readonly epochs: ReadEpochs;
  readonly pace: ReadPace;
  readonly clock: Clock;
  /** Longest record. */
  readonly longestBytes: number;
}

/** Size of a slot's own buffer. A longer record borrows one of the long buffers. */
const SLOT_BYTES = 8192;
/** Room for the rest of a record's first and last sector. */
const SECTORS_BYTES = 8192;
/** Most long buffers kept for reuse. */
const LONG_BUFFERS = 8;
/** READ-2. */
const FRAGMENTS_IN_FLIGHT = 4;
/** Fragments copied from memory in one turn. */
const FRAGMENTS_FROM_MEMORY = 8;
/** Size of a slot's own key buffer. A longer key is allocated. */
const SLOT_KEY_BYTES = 256;

/** One read in flight. Created on demand, reused. */
class ReadSlot extends SectorRead implements WantedRecord {
  readonly own: AlignedBuffer;
  readonly shortKey = new Uint8Array(SLOT_KEY_BYTES);
  key: Uint8Array = this.shortKey;
  readonly keyAt = 0;
  keyBytes = 0;
  result: ReadResult | null = null;
  token = 0;
  /** READ-4. Of a fragment: that of its value counts. */
  epoch = 0;
  /** For a fragment: the value it is part of, and where in that value it belongs. Else null. */
  long: LongRead | null = null;
  fragment: Fragment | null = null;
  sequence = 0;
  placeInValue = 0;
  /** When it was submitted; -1: it is not timed. */
  startMs = -1;

  constructor() {
    const own = allocateAligned(SLOT_BYTES);
    super(own);
    this.own = own;
  }

  get bufferBytes(): number {
    return SLOT_BYTES + (this.current === this.own ? 0 : this.current.byteLength);
  }

  takeKey(source: Uint8Array, at: number, keyBytes: number): void {
    const key = keyBytes <= SLOT_KEY_BYTES ? this.shortKey : new Uint8Array(keyBytes);
    for (let i = 0; i < keyBytes; i++) key[i] = source[at + i] as number;
    this.key = key;
    this.keyBytes = keyBytes;
  }
}

export class RecordReader implements CompletionHandler, ReadTaker {
  readonly #queue: Queue;
  readonly #file: DirectFile;
  readonly #log: UnwrittenRecords;
  readonly #index: ValueTaker;
  readonly #gate: FailureGate;
  readonly #epochs: ReadEpochs;
  readonly #pace: ReadPace;
  readonly #clock: Clock;
  readonly #slots: ReadSlot[] = [];
  readonly #free: number[] = [];
  readonly #waiting = new WaitingReads();
  readonly #longBuffers: AlignedBuffer[] = [];
  /** Values with fragments still to be requested, oldest first. */
  readonly #longReads = new Fifo<LongRead>();
  /** Values not complete yet. */
  #longReadsLeft = 0;
  /** Size of a long buffer. */
  readonly #longBytes: number;
  readonly #mostFragments: number;
  #fragmentsInFlight = 0;
  /** Woken when the last read ends: by the completion of a transfer, or by the last fragment of a value. */
  readonly #quietWaiters = new Waiters();
  /** One is enough for `readSync`, which has finished when it returns. */
  #syncSlot: ReadSlot | null = null;

  constructor({ index, queue, file, log, gate, epochs, pace, clock, longestBytes }: RecordReaderParts) {
    this.#index = index;
    this.#pace = pace;
    this.#clock = clock;
    this.#gate = gate;
    this.#epochs = epochs;
    this.#longBytes = longBufferBytes(longestBytes);
    this.#queue = queue;
    this.#file = file;
    this.#log = log;
    this.#mostFragments = Math.min(FRAGMENTS_IN_FLIGHT, Math.ceil(queue.depth / 2));
  }

  /**
   * Most memory that the buffers take, in bytes, but for long records in flight beyond those whose buffers are kept.
   *
   * @param longestBytes longest record
   */
  static mostBufferBytes(queueDepth: number, longestBytes: number): number {
    return (queueDepth + 1) * SLOT_BYTES + LONG_BUFFERS * longBufferBytes(longestBytes);
  }

  /** Memory of the buffers, in bytes. */
  get bufferBytes(): number {
    let bytes = this.#longBuffers.length * this.#longBytes;
    for (const slot of this.#slots) bytes += slot.bufferBytes;
    return bytes + (this.#syncSlot?.bufferBytes ?? 0);
  }

  /**
   * Reads a record. Call it in the step in which its place was looked up, or in an epoch from before the lookup. The
   * result is called at once if the record is in memory, else in a later turn. Copies the key.
   */
  read(
    fileOffset: number,
    lengthBytes: number,
    key: Uint8Array,
    keyBytes: number,
    result: ReadResult,
    token: number,
  ): void {
    const place = this.#log.unwritten(fileOffset);
    if (place !== null) this.answer(place.block, place.offset, result, token);
    else this.readDevice(fileOffset, lengthBytes, key, keyBytes, result, token);
  }

  /** As `read`, for an entry: an inline value answers at once. */
  readEntry(entry: LeafEntry, key: Uint8Array, keyBytes: number, result: ReadResult, token: number): void {
    if (!isInline(entry)) {
      this.read(fileOffsetOf(entry), lengthOf(entry), key, keyBytes, result, token);
      return;
    }
    const refusal = this.refusalFor(entry);
    if (refusal === null) result.found(token, inlineValueOf(entry), sequenceOfWords(entry), expiryOf(entry));
    else result.failed(token, refusal);
  }

  /**
   * A copy of the value of an inline entry.
   *
   * @throws AiokvError ERR_AIOKV_LATCHED
   */
  inlineValue(entry: LeafEntry): Buffer {
    const refusal = this.refusalFor(entry);
    if (refusal !== null) throw refusal;
    return inlineValueOf(entry);
  }

  /** Why the entry must not be shown any more: its write was not flushed when the store failed. Null if it may be. */
  refusalFor(entry: LeafEntry): Error | null {
    if (isInline(entry)) return this.refusalOf(sequenceOfWords(entry));
    const place = this.#log.unwritten(fileOffsetOf(entry));
    return place === null ? null : this.refusalOf(sequenceOf(place.block.view, place.offset));
  }

  /** Reads a record that is on the device: `unwritten` has just returned null for it. Copies the key. */
  readDevice(
    fileOffset: number,
    lengthBytes: number,
    key: Uint8Array,
    keyBytes: number,
    result: ReadResult,
    token: number,
  ): void {
    const epoch = this.#epochs.enter();
    if (this.#hasSlot) this.#start(fileOffset, lengthBytes, key, 0, keyBytes, result, token, epoch);
    else this.#waiting.push(fileOffset, lengthBytes, key, keyBytes, result, token, epoch);
  }

  /** @internal Starts a read that has waited for a slot. Its record was on the device then, and still is (READ-4). */
  takeWaiting(
    fileOffset: number,
    lengthBytes: number,
    keys: Uint8Array,
    keyAt: number,
    keyBytes: number,
    result: ReadResult,
    token: number,
    epoch: number,
  ): void {
    this.#start(fileOffset, lengthBytes, keys, keyAt, keyBytes, result, token, epoch);
  }

  /**
   * Reads a record and blocks the thread meanwhile, so that nothing is written and no epoch is needed.
   *
   * @param momentMs 0: it is known that the record is not over. Else undefined is returned if it is, at this moment
   * @throws AiokvError ERR_AIOKV_IO, ERR_AIOKV_CORRUPT, ERR_AIOKV_LATCHED
   */
  readSync(
    fileOffset: number,
    lengthBytes: number,
    key: Uint8Array,
    keyBytes: number,
    seenAt: Sequence,
    momentMs = 0,
  ): Buffer | undefined {
    const { block, at } = this.#findSync(fileOffset, lengthBytes, key, keyBytes, null, 0);
    const expiresAtMs = momentMs === 0 ? 0 : expiresAtOf(block.view, at);
    if (expiresAtMs !== 0 && expiresAtMs <= momentMs) return undefined;
    if (!isExtent(block.view, at)) {
      this.#index.cacheValue(block, at, seenAt);
      return copyValue(block, at);
    }
    const assembly = Assembly.of(block, at);
    if (assembly === null) throw this.#noTable(sequenceOf(block.view, at));
    for (let fragment = assembly.next; fragment !== null; fragment = assembly.next) {
      const { nextSequence, nextAt } = assembly;
      const found = this.#findSync(fragment.fileOffset, fragment.lengthBytes, key, keyBytes, fragment, nextSequence);
      assembly.take(found.block, found.at, nextAt);
      assembly.advance();
    }
    return assembly.value;
  }

  /** Answers with the value of a record in memory, or starts to read its fragments. Call it as `read`. */
  answer(block: Block, at: number, result: ReadResult, token: number): void {
    this.#answer(block, at, result, token, this.#epochs.enter());
  }

  /** @internal A transfer has completed. */
  complete(index: number, transferred: number): void {
    const slot = this.#slots[index] as ReadSlot;
    const { current, at, result, token, epoch, long, placeInValue } = slot;
    const isThere = slot.isThere(transferred);
    const wrong = isThere ? wrongRecord(current, at, slot) : null;
    const isGood = isThere && wrong === null;
    const isFinal = isGood || (isThere && result?.isGuess === true);
    if (!isFinal && slot.mayRetry(this.#file, transferred)) {
      slot.submit(this.#queue, this.#file, this, index);
      return;
    }
    const failure = isGood ? null : this.#failureOf(slot, transferred, wrong);
    if (slot.startMs >= 0) this.#pace.took(this.#clock.nowMs() - slot.startMs);
    // The content of the buffer stays valid until the next read starts.
    this.#release(index, slot);
    if (long !== null) {
      this.#fragmentsInFlight--;
      long.inFlight--;
      if (long.isOver) this.#leaveLong(long);
      else if (failure === null) this.#takeFragment(long, current, at, placeInValue);
      else this.#endLong(long, failure);
    } else if (failure === null) this.#answer(current, at, result as ReadResult, token, epoch);
    else {
      this.#epochs.leave(epoch);
      (result as ReadResult).failed(token, failure);
    }
    this.#startFragments();
    while (this.#waiting.length > 0 && this.#free.length > 0) this.#waiting.handOver(this);
    this.#reportQuiet();
  }

  /** Settles when no read is in flight or waiting. Then the queue may be closed. */
  async quiet(): Promise<void> {
    while (!this.#isQuiet) await this.#quietWaiters.wait();
  }

  get #hasSlot(): boolean {
    return this.#free.length > 0 || this.#slots.length < this.#queue.depth;
  }

  /** Requires `#hasSlot`. */
  #takeSlot(): number {
    return this.#free.pop() ?? this.#slots.push(new ReadSlot()) - 1;
  }

  #start(
    fileOffset: number,
    lengthBytes: number,
    keys: Uint8Array,
    keyAt: number,
    keyBytes: number,
    result: ReadResult,
    token: number,
    epoch: number,
  ): void {
    const index = this.#takeSlot();
    const slot = this.#slots[index] as ReadSlot;
    slot.result = result;
    slot.token = token;
    slot.epoch = epoch;
    slot.takeKey(keys, keyAt, keyBytes);
    this.#submit(index, slot, fileOffset, lengthBytes);
  }

  #submit(index: number, slot: ReadSlot, fileOffset: number, lengthBytes: number): void {
    slot.aim(this.#file, fileOffset, lengthBytes);
    slot.current = this.#bufferFor(slot);
    slot.startMs = this.#pace.isWatching ? this.#clock.nowMs() : -1;
    slot.submit(this.#queue, this.#file, this, index);
  }

  #bufferFor(slot: ReadSlot): AlignedBuffer {
    const { spanBytes } = slot;
    if (spanBytes <= SLOT_BYTES) return slot.own;
    if (spanBytes > this.#longBytes) return allocateAligned(spanBytes);
    return this.#longBuffers.pop() ?? allocateAligned(this.#longBytes);
  }

  #release(index: number, slot: ReadSlot): void {
    const { current } = slot;
    const isLong = current.byteLength === this.#longBytes;
    if (isLong && this.#longBuffers.length < LONG_BUFFERS) this.#longBuffers.push(current);
    slot.result = null;
    slot.long = null;
    slot.fragment = null;
    slot.current = slot.own;
    slot.key = slot.shortKey;
    this.#free.push(index);
  }

  /** Finds and checks a record. Its memory is valid until the next call. */
  #findSync(
    fileOffset: number,
    lengthBytes: number,
    key: Uint8Array,
    keyBytes: number,
    fragment: Fragment | null,
    sequence: number,
  ): { block: Block; at: number } {
    const place = this.#log.unwritten(fileOffset);
    if (place !== null) {
      this.#requireShown(place.block, place.offset);
      return { block: place.block, at: place.offset };
    }
    const slot = (this.#syncSlot ??= new ReadSlot());
    slot.aim(this.#file, fileOffset, lengthBytes);
    if (slot.current.byteLength < slot.spanBytes) slot.current = allocateAligned(slot.spanBytes);
    slot.takeKey(key, 0, keyBytes);
    slot.fragment = fragment;
    slot.sequence = sequence;
    for (;;) {
      const transferred = slot.transferSync(this.#queue, this.#file);
      const isThere = slot.isThere(transferred);
      const wrong = isThere ? wrongRecord(slot.current, slot.at, slot) : null;
      if (isThere && wrong === null) break;
      if (!slot.mayRetry(this.#file, transferred)) throw this.#failureOf(slot, transferred, wrong);
    }
    this.#requireShown(slot.current, slot.at);
    return { block: slot.current, at: slot.at };
  }

  #requireShown(block: Block, at: number): void {
    const refusal = this.refusalOf(sequenceOf(block.view, at));
    if (refusal !== null) throw refusal;
  }

  /** Answers with the value of a record that was checked, or starts to read its fragments. */
  #answer(block: Block, at: number, result: ReadResult, token: number, epoch: number): void {
    const version = sequenceOf(block.view, at);
    const refusal = this.refusalOf(version);
    const isWhole = !isExtent(block.view, at) || result.needsValue === false;
    const assembly = refusal !== null || isWhole ? null : Assembly.of(block, at);
    if (assembly !== null) {
      this.#longReads.push({ assembly, result, token, epoch, inFlight: 0, isOver: false });
      this.#longReadsLeft++;
      queueMicrotask(this.#startFragments);
      return;
    }
    this.#epochs.leave(epoch);
    if (refusal !== null) result.failed(token, refusal);
    else if (isWhole) {
      if (result.seenAt !== undefined) this.#index.cacheValue(block, at, result.seenAt);
      result.found(token, copyValue(block, at), version, expiresAtOf(block.view, at));
    } else result.failed(token, this.#noTable(version));
  }

  /** READ-2. Requests fragments, those of the oldest value first. */
  readonly #startFragments = (): void => {
    let fromMemory = 0;
    for (let long = this.#longReads.peek(); long !== undefined; long = this.#longReads.peek()) {
      const { assembly } = long;
      const fragment = assembly.next;
      if (fragment === null || long.isOver) {
        this.#longReads.shift();
        continue;
      }
      // The log is asked for each fragment: a frame may have been written while others were read.
      const place = this.#log.unwritten(fragment.fileOffset);
      if (place !== null) {
        if (fromMemory++ === FRAGMENTS_FROM_MEMORY) {
          setImmediate(this.#startFragments);
          return;
        }
        const { nextAt } = assembly;
        assembly.advance();
        this.#takeFragment(long, place.block, place.offset, nextAt);
        continue;
      }
      if (this.#fragmentsInFlight === this.#mostFragments || !this.#hasSlot) return;
      const index = this.#takeSlot();
      const slot = this.#slots[index] as ReadSlot;
      slot.long = long;
      slot.fragment = fragment;
      slot.sequence = assembly.nextSequence;
      slot.placeInValue = assembly.nextAt;
      slot.takeKey(assembly.key, 0, assembly.key.length);
      assembly.advance();
      this.#fragmentsInFlight++;
      long.inFlight++;
      this.#submit(index, slot, fragment.fileOffset, fragment.lengthBytes);
    }
  };

  #takeFragment(long: LongRead, block: Block, at: number, placeInValue: number): void {
    if (long.isOver || !long.assembly.take(block, at, placeInValue)) return;
    this.#endLong(long, this.refusalOf(long.assembly.version));
  }

  #endLong(long: LongRead, failure: Error | null): void {
    if (long.isOver) return;
    long.isOver = true;
    this.#longReadsLeft--;
    this.#leaveLong(long);
    if (failure !== null) long.result.failed(long.token, failure);
    else long.result.found(long.token, long.assembly.value, long.assembly.version, long.assembly.expiresAtMs);
    this.#reportQuiet();
  }

  /** READ-4. Call it when a value is over, and at the end of each fragment after that. */
  #leaveLong({ inFlight, epoch }: LongRead): void {
    if (inFlight === 0) this.#epochs.leave(epoch);
  }

  get #isQuiet(): boolean {
    return this.#free.length === this.#slots.length && this.#longReadsLeft === 0;
  }

  #reportQuiet(): void {
    if (!this.#quietWaiters.isEmpty && this.#isQuiet) this.#quietWaiters.wakeAll();
  }

  /** The error for a record that was not flushed when the store failed, else null: it may not survive. */
  refusalOf(sequence: number): Error | null {
    const failure = this.#gate.log;
    return failure !== null && sequence > this.#log.flushedThrough ? failure : null;
  }

  /** @param wrong from `wrongRecord`; null: the transfer failed or was short */
  #failureOf(slot: ReadSlot, transferred: number, wrong: string | null): Error {
    const where = `the record at byte ${slot.fileOffset} of ${this.#file.path}`;
    return wrong === null ? transferError(where, transferred) : corrupt(`${where} ${wrong}`);
  }

  #noTable(sequence: number): Error {
    return corrupt(`the record ${sequence} of ${this.#file.path} has a damaged table of fragments`);
  }
}

/** With room for the rest of the first and last sector. */
function longBufferBytes(longestBytes: number): number {
  return longestBytes + SECTORS_BYTES;
}
