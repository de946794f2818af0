/**
 * Writes the log. Appends records to the open frame, writes frames to the device, flushes them, and tells each waiter
 * when its record is as safe as it asked for.
 *
 * ```
 *            append            seal                 write completes          fdatasync completes
 *   (room) ─────────► open ──────────► in flight ──────────────────► written ───────────────────► flushed
 *                       ▲                  │                            │                            ▲
 *                       │                  └────── a write with RWF_DSYNC completes (LOG-8) ─────────┤
 *                       └──── its buffer is free again ◄────────────────┴────────────────────────────┘
 * ```
 *
 * Group commit needs no timer. A frame is sealed when it is full, or when someone waits for it and nothing is on its
 * way to the device. While one frame is written and flushed, the next one fills.
 *
 * LOG-1. Frames are chained in the order of their sequences. Each starts where the one before ended (chain.ts).
 * LOG-2. `writtenThrough` passes a frame only when that frame and all before it are written.
 * LOG-3. A flush covers and acknowledges only writes that had completed when it began.
 * LOG-4. After a failed write or flush nothing is written or acknowledged any more: a failed flush has marked pages
 *     clean (Rebello et al., ATC '20), and a frame written again elsewhere would fork the chain.
 * LOG-5. `append` is synchronous and cannot fail half-way: the caller has called `hasRoom` in the same turn.
 * LOG-6. A long batch is appended in slices between `hold` and `release`. Slots for all of it are reserved first, so
 *     that it cannot run out of space. If it is not completed, the log fails: records behind an unfinished batch would
 *     become part of it.
 * LOG-7. A small frame that someone waits for, and whose blocks were never written to, is written with zeros behind it, in
 *     the same request. So the flushes of the next frames need not save that these blocks are in use
 *     (file/written-blocks.ts). No other frame is submitted until the request is complete: the zeros would overwrite it.
 *     They are no more than small frames had bytes before: a store with few puts does not write much for them.
 * LOG-8. A write with RWF_DSYNC may cover itself alone (FUA). So only a frame is written so before which everything is flushed, and
 *     on a direct file. Nor one that begins a segment: the file may have grown for it, and all of the growth has to be
 *     flushed, or an opening would find a part of a slot and no segment in it. Which way is faster is measured
 *     (flush-choice.ts).
 *
 * Who wakes whom:
 * ```
 *   waits for          woken by                     when the log fails   when the store closes
 *   a free frame       a frame that was written     fail                 the write queue has run empty before
 *   written, flushed   that frame, that flush       fail                 close has waited for a flush before
 *   slots              the end of a growth          the same             the same
 *   close              the last write and flush     the same             -
 * ```
 *
 * The log does not know what its records mean. docs/durability.md says what each state survives.
 */
import { Fifo, KIB, Waiters, alignUp, assert, nextTick, queueMicrotask } from '@aiokv/core';
import type { Clock, Sequence, Waiter } from '@aiokv/core';
import { RequestFlag } from '@aiokv/aio';
import type { CompletionHandler, DirectFile, Queue } from '@aiokv/aio';
import { maxRecordBytes } from '../format/extent.ts';
import { FRAME_HEADER_BYTES } from '../format/frame.ts';
import { encodeRecord, paddedRecordBytes } from '../format/record.ts';
import type { RecordKind } from '../format/record.ts';
import type { Geometry, LogEnd, LogStart } from '../format/superblock.ts';
import type { Block } from '../format/words.ts';
import { requireFull } from '../failure/errors.ts';
import type { FailureGate } from '../failure/failure-gate.ts';
import type { Planted } from '../failure/planted.ts';
import type { FlushClient, Flusher } from '../file/flusher.ts';
import { Chain } from './chain.ts';
import type { LogPosition } from './chain.ts';
import type { Frame } from './frame-buffer.ts';
import { FlushChoice } from './flush-choice.ts';
import { Frames } from './frames.ts';
import { SpaceEstimate } from './space-estimate.ts';
import type { Slots, SlotUse } from '../file/slots.ts';
import type { SegmentTable } from '../file/segment-table.ts';

/** How safe a write must be before it settles: see `WriteOptions`. */
export type Durability = 'flushed' | 'written' | 'buffered';

export interface LogWriterOptions {
  readonly queue: Queue;
  readonly file: DirectFile;
  readonly flusher: Flusher;
  readonly gate: FailureGate;
  readonly slots: Slots;
  readonly segments: SegmentTable;
  readonly geometry: Geometry;
  readonly uuid: Uint8Array;
  readonly epoch: number;
  readonly position: LogPosition;
  /** Memory for frames that are not written yet, in bytes. */
  readonly writeBufferBytes: number;
  /** Longest time that a record stays in memory only, in milliseconds. */
  readonly flushIntervalMs: number;
  readonly clock: Clock;
  readonly planted: Planted;
}

/** LOG-7. Frames of up to so many bytes are small: what a few writers make who wait for a flush. */
const SMALL_FRAME_BYTES = 16 * KIB;

/** Waiters for a flush of everything through a sequence. */
interface FlushWaiters {
  readonly through: Sequence;
  readonly waiters: Waiters;
}

export class LogWriter implements CompletionHandler, FlushClient {
  readonly #options: LogWriterOptions;
  readonly #gate: FailureGate;
  readonly #frames: Frames;
  /** Frame writes in flight. */
  #writesInFlight = 0;
  /** LOG-7. Bytes of small frames since the opening. */
  #smallBytes = 0;
  /** LOG-7. A write in flight has zeros behind its frame. */
  #writesZeros = false;
  /** Sealed frames that wait for that write. */
  readonly #behindZeros = new Fifo<number>();
  readonly #flushChoice: FlushChoice;
  /** When the frame that `#flushChoice` is to hear of was submitted; -1: there is none. */
  #aloneSinceMs = -1;
  readonly #chain: Chain;
  #appendedThrough: Sequence;
  #writtenThrough: Sequence;
  #flushedThrough: Sequence;
  #writeTarget = 0;
  #flushTarget = 0;
  /** A flush was requested and has not ended. */
  #isFlushing = false;
  #flushCovers = 0 as Sequence;
  /** In the order of their sequences. */
  readonly #awaitingFlush = new Fifo<FlushWaiters>();
  readonly #frameWaiters = new Waiters();
  readonly #quietWaiters = new Waiters();
  #pumpScheduled = false;
  #cancelInterval: (() => void) | null = null;
  #appendedBytes = 0;
  /** A long batch is being appended: a frame is sealed only when it is full. */
  #isHeld = false;
  #bytesBeforeBatch: number | null = null;

  constructor(options: LogWriterOptions) {
    this.#options = options;
    this.#gate = options.gate;
    const { position, writeBufferBytes } = options;
    this.#frames = new Frames(writeBufferBytes, options.geometry.writeAlignment);
    const { queue, file, planted } = options;
    const canWriteThrough = file.isDirect && queue.supports(RequestFlag.dsync);
    this.#flushChoice = new FlushChoice(canWriteThrough && planted.earlyAcknowledgement !== true);
    this.#chain = new Chain(options);
    this.#appendedThrough = position.lastSequence;
    this.#writtenThrough = position.lastSequence;
    this.#flushedThrough = position.lastSequence;
  }

  /** Most bytes of records, padded, that can be appended in one step. */
  static maxStepBytes(geometry: Geometry, writeBufferBytes: number): number {
    // Frames may end up half full, and one more may be open when the batch begins.
    return (Math.floor(Frames.limitOf(writeBufferBytes) / 2) - 1) * maxRecordBytes(geometry);
  }

  /** Most requests that a log has in the queue at once. */
  static mostRequests(writeBufferBytes: number): number {
    return Frames.limitOf(writeBufferBytes);
  }

  get appendedThrough(): Sequence {
    return this.#appendedThrough;
  }

  get flushedThrough(): Sequence {
    return this.#flushedThrough;
  }

  /** Bytes of records appended since the opening. A long batch counts when it is complete. */
  get bufferBytes(): number {
    return this.#frames.bytes;
  }

  get appendedBytes(): number {
    return this.#bytesBeforeBatch ?? this.#appendedBytes;
  }

  /**
   * Where a replay must start to see every record after `sequence`, which must be flushed. Do not ask for a lower
   * sequence later.
   */
  startAfter(sequence: Sequence): LogStart {
    assert(sequence <= this.#flushedThrough, 'a checkpoint covers what is flushed');
    return this.#chain.startAfter(sequence, this.#flushedThrough);
  }

  /** The end of the log. Meaningful once everything is flushed. */
  get end(): LogEnd {
    return { link: this.#chain.link, lastSequence: this.#appendedThrough };
  }

  /** As `hasRoom`, for one record; faster. */
  hasRoomFor(paddedBytes: number, use: SlotUse): boolean {
    const { open } = this.#frames;
    const isKept = use === 'put' && this.#options.slots.isReserveInUse && this.#chain.reservedSlots === 0;
    if (open !== null && open.usedBytes + paddedBytes <= open.capacityBytes && !isKept) return true;
    return this.hasRoom([paddedBytes], use);
  }

  /** Whether records of these padded sizes, in this order, can be appended now without waiting. */
  hasRoom(paddedSizes: readonly number[], use: SlotUse): boolean {
    const { frames, slots } = this.#needs(paddedSizes);
    return frames <= this.#frames.free && this.#hasSlotsFor(slots, use);
  }

  #hasSlotsFor(count: number, use: SlotUse): boolean {
    const { slots } = this.#options;
    const { reservedSlots } = this.#chain;
    // A long batch uses the slots that it reserved.
    if (reservedSlots > 0) return count - reservedSlots <= Math.max(0, slots.availableFor(use));
    // SLOTS-1: a deletion may use the rest of a segment even while only the reserve is left; a put may not.
    return (count === 0 && use === 'delete') || count <= slots.availableFor(use);
  }

  /** See `Chain.leaveSegmentFrom`. Does nothing while something is appended. */
  leaveSegmentFrom(slot: number): void {
    if (this.#frames.open === null && !this.#isHeld && this.#chain.reservedSlots === 0)
      this.#chain.leaveSegmentFrom(slot);
  }

  /** How often a growth of the file was attempted. */
  get growths(): number {
    return this.#options.slots.growths;
  }

  #estimate(): SpaceEstimate {
    const { open } = this.#frames;
    return new SpaceEstimate(
      this.#options.geometry,
      this.#chain.nextOffset,
      open?.usedBytes ?? 0,
      open?.capacityBytes ?? 0,
    );
  }

  #needs(paddedSizes: readonly number[]): SpaceEstimate {
    const estimate = this.#estimate();
    for (const bytes of paddedSizes) estimate.add(bytes);
    return estimate;
  }

  /**
   * Begins a long batch. Until `release` nothing else is appended, and a frame is sealed only when it is full, so the
   * returned estimate predicts exactly what the batch takes. The open frame is sealed now, so that its waiters need not
   * wait for the batch.
   */
  hold(): SpaceEstimate {
    assert(!this.#isHeld, 'one long batch at a time');
    if (this.#frames.open !== null) this.#seal();
    this.#isHeld = true;
    this.#bytesBeforeBatch = this.#appendedBytes;
    return this.#estimate();
  }

  /** @param isOver true: nothing more of the batch follows; false: its last record is next */
  release(isOver: boolean): void {
    this.#isHeld = false;
    if (isOver) this.#bytesBeforeBatch = null;
    this.#schedulePump();
  }

  /** See `Chain.hasSlots`. */
  hasSlots(count: number, use: SlotUse): boolean {
    return this.#chain.hasSlots(count, use);
  }

  /** See `Chain.reserveSlots`. */
  reserveSlots(count: number): void {
    this.#chain.reserveSlots(count);
  }

  /** See `Chain.prepareSlots`. */
  prepareSlots(count: number, use: SlotUse, since: number): Promise<void> {
    return this.#chain.prepareSlots(count, use, since);
  }

  /** See `Chain.returnSlots`. */
  returnSlots(): void {
    this.#chain.returnSlots();
  }

  /**
   * Waits for one of the things that `hasRoom` lacks. Call `hasRoom` again: everything may have changed.
   *
   * @param since `growths` at the time of the write's call
   * @throws AiokvError ERR_AIOKV_NO_SPACE, ERR_AIOKV_LATCHED; SystemCallError
   */
  whenRoom(paddedSizes: readonly number[], use: SlotUse, since: number): Promise<void> {
    if (this.#gate.log !== null) return Promise.reject(this.#gate.log);
    const { frames, slots } = this.#needs(paddedSizes);
    assert(frames <= this.#frames.limit, 'a batch that is appended in one step fits into the write buffer');
    if (!this.#hasSlotsFor(slots, use))
      return this.#options.slots.prepare(slots - this.#chain.reservedSlots, use, since);
    if (frames <= this.#frames.free) return Promise.resolve();
    // The open frame may hold the buffer that is missing, and nobody may have asked to write it.
    this.#writeTarget = this.#appendedThrough;
    this.#schedulePump();
    return this.#frameWaiters.wait();
  }

  /** As `append`, for a single record. Returns -1 if there is no room now. */
  tryAppend(
    kind: RecordKind,
    key: Uint8Array,
    keyBytes: number,
    value: Uint8Array,
    use: SlotUse,
    expiresAtMs = 0,
  ): number {
    if (!this.hasRoomFor(paddedRecordBytes(keyBytes, value.length, expiresAtMs), use)) return -1;
    return this.append(kind, 0, key, keyBytes, value, expiresAtMs);
  }

  /**
   * Appends a record with the next sequence and returns its offset in the file. Requires room. Copies key and value.
   *
   * @param expiresAtMs 0: never
   */
  append(
    kind: RecordKind,
    flags: number,
    key: Uint8Array,
    keyBytes: number,
    value: Uint8Array,
    expiresAtMs = 0,
  ): number {
    assert(this.#gate.log === null, 'LOG-4: nothing is appended after a failure');
    const bytes = paddedRecordBytes(keyBytes, value.length, expiresAtMs);
    let frame = this.#frames.open;
    if (frame === null || frame.usedBytes + bytes > frame.capacityBytes) {
      if (frame !== null) this.#seal();
      frame = this.#openFrame(bytes);
    }
    const at = frame.usedBytes;
    const sequence = (this.#appendedThrough + 1) as Sequence;
    encodeRecord(frame.block, at, kind, flags, sequence, key, keyBytes, value, expiresAtMs);
    if (frame.recordCount++ === 0) frame.firstSequence = sequence;
    frame.usedBytes += bytes;
    this.#appendedBytes += bytes;
    this.#appendedThrough = sequence;
    // This timer keeps the process alive until buffered records are flushed.
    this.#cancelInterval ??= this.#options.clock.after(this.#options.flushIntervalMs, () => this.#onInterval());
    return frame.fileOffset + at;
  }

  /** Settles when everything appended so far has reached the level. Rejects with ERR_AIOKV_LATCHED. */
  durable(level: Durability): Promise<void> {
    if (this.#gate.log === null && this.#isDurable(level)) return Promise.resolve();
    return new Promise((resolve, reject) => this.whenDurable(level, { resolve, reject }));
  }

  /** As `durable`, for an existing waiter. */
  whenDurable(level: Durability, waiter: Waiter): void {
    if (this.#gate.log !== null) {
      waiter.reject(this.#gate.log);
      return;
    }
    if (this.#isDurable(level)) {
      waiter.resolve();
      return;
    }
    const through = this.#appendedThrough;
    const frame = this.#frames.newest;
    this.#writeTarget = through;
    if (level === 'flushed') {
      this.#flushTarget = through;
      if (frame !== null) frame.flushedWaiters.add(waiter);
      else this.#awaitFlush(through).add(waiter);
    } else {
      assert(frame !== null, 'a record that is not written is in a frame');
      frame.writtenWaiters.add(waiter);
    }
    this.#schedulePump();
  }

  #isDurable(level: Durability): boolean {
    if (level === 'buffered') return true;
    return (level === 'flushed' ? this.#flushedThrough : this.#writtenThrough) >= this.#appendedThrough;
  }

  /** The list for waiters for a flush through a written sequence. It must not be below those in the list. */
  #awaitFlush(through: Sequence): Waiters {
    const waiters = new Waiters();
    this.#awaitingFlush.push({ through, waiters });
    return waiters;
  }

  /** The memory of the record at `fileOffset` if it may not be on the device yet, else null. */
  unwritten(fileOffset: number): { readonly block: Block; readonly offset: number } | null {
    const frame = this.#frames.holding(fileOffset);
    return frame === null ? null : { block: frame.block, offset: fileOffset - frame.fileOffset };
  }

  /** Settles when nothing is in flight. Nothing may be called after it. Never rejects. */
  async close(): Promise<void> {
    this.#stopInterval();
    while (this.#writesInFlight > 0 || this.#isFlushing) await this.#quietWaiters.wait();
    await this.#options.slots.settle();
  }

  /** LOG-4, also for failures of other parts of the store. Returns the error that every write gets from now on. */
  fail(cause: unknown): Error {
    const { error, isFirst } = this.#gate.failLog(cause);
    if (isFirst) this.#rejectWaiters(error);
    return error;
  }

  /** @internal A frame write has completed. */
  complete(frameIndex: number, result: number): void {
    this.#writesInFlight--;
    const frame = this.#frames.at(frameIndex);
    frame.written = true;
    if (frame.zeroBytes > 0) this.#writesZeros = false;
    try {
      requireFull('write', result, this.#transferBytes(frame), this.#options.file.path);
    } catch (cause) {
      this.fail(cause);
    }
    if (this.#gate.log === null) {
      while (!this.#writesZeros && !this.#behindZeros.isEmpty) this.#submit(this.#behindZeros.shift() as number);
      this.#passWritten();
    }
    this.#schedulePump();
    this.#reportQuiet();
  }

  /** LOG-2. */
  #passWritten(): void {
    for (let frame = this.#frames.takeWritten(); frame !== null; frame = this.#frames.takeWritten()) {
      this.#writtenThrough = frame.lastSequence;
      frame.writtenWaiters.wakeAll();
      if (frame.isThrough) this.#passThrough(frame);
      if (this.#options.planted.earlyAcknowledgement === true) frame.flushedWaiters.wakeAll();
      if (frame.flushedWaiters.isEmpty) continue;
      this.#awaitingFlush.push({ through: frame.lastSequence, waiters: frame.flushedWaiters });
      frame.flushedWaiters = new Waiters();
    }
    if (this.#frames.free > 0) this.#frameWaiters.wakeAll();
  }

  /** LOG-8. Nothing before the frame waits for a flush, since all of it is flushed. */
  #passThrough(frame: Frame): void {
    assert(
      this.#flushedThrough + 1 === frame.firstSequence || this.#options.planted.coveringDsync === true,
      'LOG-8: what is before a frame that covers itself alone is flushed',
    );
    this.#noteFlushed(true);
    this.#flushedThrough = frame.lastSequence;
    frame.flushedWaiters.wakeAll();
  }

  #noteFlushed(isThrough: boolean): void {
    if (this.#aloneSinceMs < 0) return;
    this.#flushChoice.note(isThrough, this.#options.clock.nowMs() - this.#aloneSinceMs);
    this.#aloneSinceMs = -1;
  }

  /** @internal LOG-3. */
  flushBegins(): void {
    this.#flushCovers = this.#writtenThrough;
  }

  /** @internal The requested flush has ended. */
  flushEnded(error: Error | null): void {
    this.#isFlushing = false;
    if (error !== null) this.fail(error);
    if (this.#gate.log === null) {
      assert(this.#flushCovers >= this.#flushedThrough, 'flushedThrough never goes back');
      this.#flushedThrough = this.#flushCovers;
      this.#noteFlushed(false);
      for (let next = this.#awaitingFlush.peek(); next !== undefined; next = this.#awaitingFlush.peek()) {
        if (next.through > this.#flushedThrough) break;
        this.#awaitingFlush.shift();
        next.waiters.wakeAll();
      }
    }
    this.#schedulePump();
    this.#reportQuiet();
  }

  readonly #runPump = (): void => this.#pump();

  /** Seals the open frame if someone waits for it, and requests a flush if one is due. */
  #pump(): void {
    this.#pumpScheduled = false;
    if (this.#gate.log !== null) return;
    const { open } = this.#frames;
    const isWanted = open !== null && this.#writeTarget >= open.firstSequence && !this.#isHeld;
    if (isWanted && this.#frames.isNoneSealed && !this.#isFlushing) {
      this.#seal(this.#isAlone(open) && this.#flushChoice.isThrough);
    }
    const isWaitedFor = !this.#awaitingFlush.isEmpty || this.#writtenThrough >= this.#flushTarget;
    const isDue = this.#flushTarget > this.#flushedThrough && this.#writtenThrough > this.#flushedThrough;
    if (isWaitedFor && isDue && !this.#isFlushing) {
      this.#isFlushing = true;
      this.#options.flusher.request(this);
    }
  }

  #schedulePump(): void {
    if (this.#pumpScheduled) return;
    this.#pumpScheduled = true;
    // After the microtasks, so that writers that were just acknowledged can add to this frame.
    queueMicrotask(this.#afterMicrotasks);
  }

  readonly #afterMicrotasks = (): void => nextTick(this.#runPump);

  #onInterval(): void {
    this.#cancelInterval = null;
    this.#writeTarget = this.#appendedThrough;
    this.#flushTarget = this.#appendedThrough;
    this.#schedulePump();
  }

  #openFrame(firstRecordBytes: number): Frame {
    const frame = this.#frames.begin((begun) => this.#chain.place(begun, firstRecordBytes, this.#appendedThrough));
    frame.usedBytes = FRAME_HEADER_BYTES;
    frame.recordCount = 0;
    frame.written = false;
    return frame;
  }

  /** LOG-8. Whether the next flush is for this frame and for nothing before it. */
  #isAlone(frame: Frame): boolean {
    const isFirst = this.#flushedThrough + 1 === frame.firstSequence || this.#options.planted.coveringDsync === true;
    return isFirst && !frame.startsSegment && this.#flushTarget >= frame.firstSequence;
  }

  /** Seals the open frame and submits its write. */
  #seal(isThrough = false): void {
    const frame = this.#frames.open;
    assert(frame !== null && frame.recordCount > 0, 'a frame has records when it is sealed');
    frame.isThrough = isThrough;
    const frameBytes = this.#chain.seal(frame, this.#flushedThrough, this.#mostZeros(frame));
    // LOG-7.
    if (frameBytes <= SMALL_FRAME_BYTES) this.#smallBytes += frameBytes;
    const index = this.#frames.seal();
    // Zeros would be measured, too.
    this.#aloneSinceMs = this.#isAlone(frame) && frame.zeroBytes === 0 ? this.#options.clock.nowMs() : -1;
    if (this.#writesZeros) this.#behindZeros.push(index);
    else this.#submit(index);
  }

  /** LOG-7. Most zeros to be written behind the frame. */
  #mostZeros(frame: Frame): number {
    const { writeAlignment } = this.#options.geometry;
    const isSmall = alignUp(frame.usedBytes, writeAlignment) <= SMALL_FRAME_BYTES;
    const isWaitedFor = this.#flushTarget >= frame.firstSequence;
    return isSmall && isWaitedFor ? this.#smallBytes : 0;
  }

  /** Submits the write of a sealed frame. */
  #submit(index: number): void {
    const { geometry, file, queue } = this.#options;
    const frame = this.#frames.at(index);
    const headerBytes = frame.startsSegment ? geometry.writeAlignment : 0;
    this.#writesInFlight++;
    this.#writesZeros = frame.zeroBytes > 0;
    const accepted = queue.submitWrite(
      file,
      frame.buffer,
      geometry.writeAlignment - headerBytes,
      this.#transferBytes(frame),
      frame.fileOffset - headerBytes,
      this,
      index,
      frame.isThrough ? RequestFlag.dsync : 0,
    );
    assert(accepted, 'the queue has room for all frames (mostRequests)');
  }

  #transferBytes(frame: Frame): number {
    const { writeAlignment } = this.#options.geometry;
    return (frame.startsSegment ? writeAlignment : 0) + alignUp(frame.usedBytes, writeAlignment) + frame.zeroBytes;
  }

  #stopInterval(): void {
    this.#cancelInterval?.();
    this.#cancelInterval = null;
  }

  /** Fails all waiters. Requests in flight still complete and are ignored. */
  #rejectWaiters(error: Error): void {
    this.#stopInterval();
    this.#frameWaiters.failAll(error);
    for (const { writtenWaiters, flushedWaiters } of this.#frames) {
      writtenWaiters.failAll(error);
      flushedWaiters.failAll(error);
    }
    for (const { waiters } of this.#awaitingFlush.drain()) waiters.failAll(error);
  }

  #reportQuiet(): void {
    if (this.#writesInFlight === 0 && !this.#isFlushing) this.#quietWaiters.wakeAll();
  }
}
