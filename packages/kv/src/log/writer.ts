/**
 * The writing end of the log: records are appended to the open frame, frames go to the device, flushes
 * make them durable, and everyone hears when what they wrote is as safe as they asked for.
 *
 * ```
 *            append            seal                 write completes          fdatasync completes
 *   (room) ─────────► open ──────────► in flight ──────────────────► written ───────────────────► flushed
 *                       ▲                                               │
 *                       └──── its buffer is free again ◄────────────────┘
 * ```
 *
 * Group commit needs no timer: a frame is sealed when it is full, or when someone waits for it and
 * nothing is on its way to the device; while one frame is being written and flushed the next one fills.
 *
 * C1. Frames are chained in the order of their sequences, and each starts where the one before ended (chain.ts).
 * C2. `writtenThrough` passes a frame only when it and all before it are written.
 * C3. A flush is submitted only after the completion of every write that it is to cover, and
 *     acknowledges no more than that.
 * C4. After a failed write or flush nothing is written or acknowledged any more: a failed flush has
 *     marked pages clean (Rebello et al., ATC'20), and a frame written again elsewhere would fork the chain.
 * C5. `append` is synchronous and cannot fail half-way: whoever appends has asked `hasRoom` in the same turn.
 * C6. A long group is appended bit by bit between `hold` and `release`; slots for all of it were reserved before, so
 *     that it cannot run out of space. If it does not come to its end the store latches: other records behind an
 *     unfinished batch would become part of it.
 * C7. One flush of the file is under way at a time, whoever asked for it. The failure of one marks clean what another would
 *     cover, and the kernel tells only one of two that wait: the other would acknowledge what is lost.
 *
 * It does not know what the records mean. docs/durability.md says what each state survives.
 */
import { alignUp, assert } from '@aiokv/core';
import type { AiokvError, Clock, Sequence } from '@aiokv/core';
import type { CompletionHandler, DirectFile, Queue } from '@aiokv/aio';
import { maxRecordBytes } from '../format/extent.ts';
import { FRAME_HEADER_BYTES, MAX_FRAME_BYTES } from '../format/frame.ts';
import { encodeRecord, paddedRecordBytes } from '../format/record.ts';
import type { RecordKind } from '../format/record.ts';
import type { Geometry, LogEnd, LogStart } from '../format/superblock.ts';
import type { Block } from '../format/words.ts';
import { latchedBy, requireFull } from '../failure/errors.ts';
import { Chain } from './chain.ts';
import type { LogPosition } from './chain.ts';
import { Frame, holds } from './frame-buffer.ts';
import type { Waiter } from './frame-buffer.ts';
import { SpaceEstimate } from './space-estimate.ts';
import type { Slots, SlotUse } from '../file/slots.ts';

/** How safe a write is to be before it is acknowledged. */
export type Durability = 'flushed' | 'written' | 'buffered';

export interface LogWriterOptions {
  readonly queue: Queue;
  readonly file: DirectFile;
  readonly slots: Slots;
  readonly geometry: Geometry;
  readonly uuid: Uint8Array;
  readonly epoch: number;
  readonly position: LogPosition;
  /** Memory for frames that are not written yet. */
  readonly writeBufferBytes: number;
  /** Longest time that a record stays in memory only. */
  readonly flushIntervalMs: number;
  readonly clock: Clock;
  /** For tests only: acknowledges before the flush, which the crash tests must find. */
  readonly plantedEarlyAcknowledgement: boolean;
}

/** Completions of frame writes carry the frame's index; a flush carries this. */
const FLUSH_TOKEN = -1;

export class LogWriter implements CompletionHandler {
  readonly #options: LogWriterOptions;
  readonly #frames: Frame[] = [];
  readonly #frameLimit: number;
  readonly #free: number[] = [];
  /** Frames in flight or written out of order, oldest first. */
  readonly #sealed: number[] = [];
  #open: Frame | null = null;
  #openIndex = -1;
  readonly #chain: Chain;
  #appendedThrough: Sequence;
  #writtenThrough: Sequence;
  #flushedThrough: Sequence;
  #writeTarget = 0;
  #flushTarget = 0;
  #flushing = false;
  #flushCovers = 0 as Sequence;
  #awaitingFlush: { through: Sequence; waiters: Waiter[] }[] = [];
  readonly #roomWaiters: Waiter[] = [];
  #pumpScheduled = false;
  #cancelInterval: (() => void) | null = null;
  #latched: AiokvError | null = null;
  #quiet: (() => void) | null = null;
  /** Who waits for a flush of the whole file: of the next one, and of the one under way. */
  #fileWaiters: Waiter[] = [];
  #servedWaiters: Waiter[] = [];
  #appendedBytes = 0;
  /** A long group is appended: frames are sealed when they are full. */
  #isHeld = false;
  #bytesBeforeGroup: number | null = null;

  constructor(options: LogWriterOptions) {
    this.#options = options;
    const { position, writeBufferBytes } = options;
    this.#frameLimit = frameCount(writeBufferBytes);
    this.#chain = new Chain(options);
    this.#appendedThrough = position.lastSequence;
    this.#writtenThrough = position.lastSequence;
    this.#flushedThrough = position.lastSequence;
  }

  /** The most bytes that the records of a group may take that is appended in one step; see `paddedRecordBytes`. */
  static maxGroupBytes(geometry: Geometry, writeBufferBytes: number): number {
    // Frames may end up half full, and one more may be open when the group comes.
    return (Math.floor(frameCount(writeBufferBytes) / 2) - 1) * maxRecordBytes(geometry);
  }

  get appendedThrough(): Sequence {
    return this.#appendedThrough;
  }

  get flushedThrough(): Sequence {
    return this.#flushedThrough;
  }

  /** Bytes of records appended since the log was opened; a long group counts when it is whole. */
  get appendedBytes(): number {
    return this.#bytesBeforeGroup ?? this.#appendedBytes;
  }

  /**
   * Where a replay has to start to meet every record behind `sequence`, which must be flushed. Earlier starts are not
   * asked for again.
   */
  startAfter(sequence: Sequence): LogStart {
    assert(sequence <= this.#flushedThrough, 'a checkpoint covers what is flushed');
    return this.#chain.startAfter(sequence, this.#flushedThrough);
  }

  /** Why nothing can be written any more, or null. */
  get latched(): AiokvError | null {
    return this.#latched;
  }

  /** Where the log stands; of use once everything is flushed. */
  get end(): LogEnd {
    return { link: this.#chain.link, lastSequence: this.#appendedThrough };
  }

  /** Whether a record of this padded size can be appended now; what every single write asks. */
  hasRoomFor(paddedBytes: number, use: SlotUse): boolean {
    const open = this.#open;
    const isKept = use === 'put' && this.#options.slots.isReserveInUse && this.#chain.reservedSlots === 0;
    if (open !== null && open.usedBytes + paddedBytes <= open.capacityBytes && !isKept) return true;
    return this.hasRoom([paddedBytes], use);
  }

  /** Whether records of these padded sizes, in this order, can be appended now without waiting. */
  hasRoom(paddedSizes: readonly number[], use: SlotUse): boolean {
    const { frames, slots: wanted } = this.#needs(paddedSizes);
    if (frames > this.#freeFrames) return false;
    const { slots } = this.#options;
    const { reservedSlots } = this.#chain;
    // A long group has its slots.
    if (reservedSlots > 0) return wanted - reservedSlots <= Math.max(0, slots.availableFor(use));
    // A deletion goes into what is begun, whatever is left; a put does not.
    return (wanted === 0 && use === 'delete') || wanted <= slots.availableFor(use);
  }

  /** How often the file was tried to be made larger. */
  get growths(): number {
    return this.#options.slots.growths;
  }

  get #freeFrames(): number {
    return this.#free.length + this.#frameLimit - this.#frames.length;
  }

  #estimate(): SpaceEstimate {
    const open = this.#open;
    return new SpaceEstimate(
      this.#options.geometry,
      this.#chain.nextOffset,
      open?.usedBytes ?? 0,
      open?.capacityBytes ?? 0,
    );
  }

  /** What appending these records would take. */
  #needs(paddedSizes: readonly number[]): SpaceEstimate {
    const estimate = this.#estimate();
    for (const bytes of paddedSizes) estimate.add(bytes);
    return estimate;
  }

  /**
   * Until `release` nothing but one long group is appended, and a frame is sealed only when it is full: what the group
   * takes can be reckoned with the estimate, which stands where the log stands. Whoever waits for what was appended
   * before is served at once, for that frame is sealed here.
   */
  hold(): SpaceEstimate {
    assert(!this.#isHeld, 'one long group at a time');
    if (this.#open !== null) this.#seal();
    this.#isHeld = true;
    this.#bytesBeforeGroup = this.#appendedBytes;
    return this.#estimate();
  }

  /** @param isOver nothing more of the group will be appended */
  release(isOver: boolean): void {
    this.#isHeld = false;
    if (isOver) this.#bytesBeforeGroup = null;
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
   * Waits until there may be room for records of these padded sizes; ask `hasRoom` again.
   *
   * @param since `growths` when the write was called
   * @throws AiokvError ERR_AIOKV_NO_SPACE, ERR_AIOKV_LATCHED
   */
  async whenRoom(paddedSizes: readonly number[], use: SlotUse, since: number): Promise<void> {
    if (this.#latched !== null) throw this.#latched;
    const { frames, slots } = this.#needs(paddedSizes);
    assert(frames <= this.#frameLimit, 'a group fits into the write buffer: see maxGroupBytes');
    const wanted = slots - this.#chain.reservedSlots;
    const isServed = this.#chain.reservedSlots > 0 ? wanted <= 0 : slots === 0 && use === 'delete';
    if (!isServed) await this.#options.slots.prepare(wanted, use, since);
    if (frames <= this.#freeFrames) return;
    // The open frame may be what is in the way, with nobody waiting for it.
    this.#writeTarget = this.#appendedThrough;
    this.#schedulePump();
    await new Promise<void>((resolve, reject) => this.#roomWaiters.push({ resolve, reject }));
  }

  /**
   * Appends a record under the next sequence and returns its offset in the file. Requires room.
   * `key` and `value` are copied.
   */
  append(kind: RecordKind, flags: number, key: Uint8Array, keyBytes: number, value: Uint8Array): number {
    assert(this.#latched === null, 'nothing is appended to a latched log');
    const bytes = paddedRecordBytes(keyBytes, value.length);
    let frame = this.#open;
    if (frame === null || frame.usedBytes + bytes > frame.capacityBytes) {
      if (frame !== null) this.#seal();
      frame = this.#openFrame(bytes);
    }
    const at = frame.usedBytes;
    const sequence = (this.#appendedThrough + 1) as Sequence;
    encodeRecord(frame.block, at, kind, flags, sequence, key, keyBytes, value);
    if (frame.recordCount++ === 0) frame.firstSequence = sequence;
    frame.usedBytes += bytes;
    this.#appendedBytes += bytes;
    this.#appendedThrough = sequence;
    this.#cancelInterval ??= this.#options.clock.after(this.#options.flushIntervalMs, () => this.#onInterval());
    return frame.fileOffset + at;
  }

  /** Settles when everything appended so far is as safe as said. */
  durable(level: Durability): Promise<void> {
    if (this.#latched !== null) return Promise.reject(this.#latched);
    const through = this.#appendedThrough;
    const safeThrough = level === 'flushed' ? this.#flushedThrough : this.#writtenThrough;
    if (level === 'buffered' || safeThrough >= through) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const waiter = { resolve, reject };
      if (level === 'flushed') this.#waitFlushed(waiter, through);
      else this.#waitWritten(waiter);
      this.#writeTarget = through;
      if (level === 'flushed') this.#flushTarget = through;
      this.#schedulePump();
    });
  }

  /** The frame that holds the byte at `fileOffset`, if it may not be on the device yet. */
  unwritten(fileOffset: number): { readonly block: Block; readonly offset: number } | null {
    const open = this.#open;
    if (open !== null && holds(open, fileOffset)) return { block: open.block, offset: fileOffset - open.fileOffset };
    for (const index of this.#sealed) {
      const frame = this.#frames[index] as Frame;
      if (holds(frame, fileOffset)) return { block: frame.block, offset: fileOffset - frame.fileOffset };
    }
    return null;
  }

  /** Waits for what is in flight; nothing may be appended any more. Never rejects. */
  async close(): Promise<void> {
    this.#cancelInterval?.();
    this.#cancelInterval = null;
    if (this.#sealed.some((index) => !(this.#frames[index] as Frame).written) || this.#flushing) {
      await new Promise<void>((resolve) => {
        this.#quiet = resolve;
      });
    }
    await this.#options.slots.settle();
  }

  /**
   * C7. Flushes the file for another part of the store. Settles when a flush that began after the call is done.
   *
   * @throws AiokvError ERR_AIOKV_LATCHED, also when it fails
   */
  flushFile(): Promise<void> {
    if (this.#latched !== null) return Promise.reject(this.#latched);
    return new Promise((resolve, reject) => {
      this.#fileWaiters.push({ resolve, reject });
      this.#schedulePump();
    });
  }

  /** C4, for a write of another part of the store. */
  latch(cause: unknown): void {
    this.#latch(cause);
  }

  /** @internal A frame write or a flush has completed. */
  complete(token: number, result: number): void {
    if (token === FLUSH_TOKEN) this.#onFlushed(result);
    else this.#onWritten(this.#frames[token] as Frame, result);
    this.#schedulePump();
    this.#reportQuiet();
  }

  #onWritten(frame: Frame, result: number): void {
    frame.written = true;
    try {
      requireFull('write', result, this.#transferBytes(frame), this.#options.file.path);
    } catch (cause) {
      this.#latch(cause);
    }
    if (this.#latched !== null) return;
    while (this.#sealed.length > 0) {
      const index = this.#sealed[0] as number;
      const head = this.#frames[index] as Frame;
      if (!head.written) break;
      this.#sealed.shift();
      this.#writtenThrough = head.lastSequence;
      for (const waiter of head.writtenWaiters) waiter.resolve();
      head.writtenWaiters = [];
      if (this.#options.plantedEarlyAcknowledgement) {
        for (const waiter of head.flushedWaiters) waiter.resolve();
      }
      if (head.flushedWaiters.length > 0) {
        this.#awaitingFlush.push({ through: head.lastSequence, waiters: head.flushedWaiters });
        head.flushedWaiters = [];
      }
      this.#free.push(index);
    }
    this.#wakeRoomWaiters();
  }

  #onFlushed(result: number): void {
    this.#flushing = false;
    if (this.#latched !== null) return;
    if (result < 0) {
      try {
        requireFull('fdatasync', result, 0, this.#options.file.path);
      } catch (cause) {
        this.#latch(cause);
      }
      return;
    }
    assert(this.#flushCovers >= this.#flushedThrough, 'flushes do not go back');
    this.#flushedThrough = this.#flushCovers;
    const groups = this.#awaitingFlush;
    this.#awaitingFlush = groups.filter((group) => group.through > this.#flushedThrough);
    for (const group of groups) {
      if (group.through > this.#flushedThrough) break;
      for (const waiter of group.waiters) waiter.resolve();
    }
    for (const waiter of this.#servedWaiters.splice(0)) waiter.resolve();
  }

  readonly #runPump = (): void => this.#pump();

  /** Does what is due: seals the open frame if it is waited for, flushes what is written. */
  #pump(): void {
    this.#pumpScheduled = false;
    if (this.#latched !== null) return;
    const open = this.#open;
    const isWanted = open !== null && this.#writeTarget >= open.firstSequence && !this.#isHeld;
    if (isWanted && this.#sealed.length === 0 && !this.#flushing) {
      this.#seal();
    }
    const wanted = this.#awaitingFlush.length > 0 || this.#writtenThrough >= this.#flushTarget;
    const isDue = wanted && this.#flushTarget > this.#flushedThrough && this.#writtenThrough > this.#flushedThrough;
    // C7.
    if (!this.#flushing && (isDue || this.#fileWaiters.length > 0)) {
      this.#flushing = true;
      this.#servedWaiters = this.#fileWaiters;
      this.#fileWaiters = [];
      this.#flushCovers = this.#writtenThrough;
      const accepted = this.#options.queue.submitFdatasync(this.#options.file, this, FLUSH_TOKEN);
      assert(accepted, 'the queue has room for a flush');
    }
  }

  #schedulePump(): void {
    if (this.#pumpScheduled) return;
    this.#pumpScheduled = true;
    // After the microtasks: whoever was acknowledged just now may write again, and joins the next frame.
    queueMicrotask(this.#afterMicrotasks);
  }

  readonly #afterMicrotasks = (): void => process.nextTick(this.#runPump);

  #onInterval(): void {
    this.#cancelInterval = null;
    this.#writeTarget = this.#appendedThrough;
    this.#flushTarget = this.#appendedThrough;
    this.#schedulePump();
  }

  #openFrame(firstRecordBytes: number): Frame {
    assert(this.#freeFrames > 0, 'a frame buffer is free: hasRoom was asked');
    const { writeAlignment } = this.#options.geometry;
    const index = this.#free.pop() ?? this.#frames.push(new Frame(writeAlignment)) - 1;
    const frame = this.#frames[index] as Frame;
    this.#chain.place(frame, firstRecordBytes, this.#appendedThrough);
    frame.usedBytes = FRAME_HEADER_BYTES;
    frame.recordCount = 0;
    frame.written = false;
    this.#open = frame;
    this.#openIndex = index;
    return frame;
  }

  /** Closes the open frame and sends it to the device. */
  #seal(): void {
    const frame = this.#open;
    assert(frame !== null && frame.recordCount > 0, 'only a frame with records is sealed');
    const { geometry, file, queue } = this.#options;
    const frameBytes = this.#chain.seal(frame, this.#flushedThrough);
    this.#sealed.push(this.#openIndex);
    const headerBytes = frame.startsSegment ? geometry.writeAlignment : 0;
    const accepted = queue.submitWrite(
      file,
      frame.buffer,
      geometry.writeAlignment - headerBytes,
      headerBytes + frameBytes,
      frame.fileOffset - headerBytes,
      this,
      this.#openIndex,
    );
    assert(accepted, 'the queue has room for a frame');
    this.#open = null;
    this.#openIndex = -1;
  }

  #transferBytes(frame: Frame): number {
    const { writeAlignment } = this.#options.geometry;
    return (frame.startsSegment ? writeAlignment : 0) + alignUp(frame.usedBytes, writeAlignment);
  }

  #waitWritten(waiter: Waiter): void {
    const frame = this.#newestFrame();
    assert(frame !== null, 'what is not written is in a frame');
    frame.writtenWaiters.push(waiter);
  }

  #waitFlushed(waiter: Waiter, through: Sequence): void {
    const frame = this.#newestFrame();
    if (frame !== null) frame.flushedWaiters.push(waiter);
    else this.#awaitingFlush.push({ through, waiters: [waiter] });
  }

  /** The frame with the latest record that is not written. */
  #newestFrame(): Frame | null {
    if (this.#open !== null) return this.#open;
    const index = this.#sealed.at(-1);
    return index === undefined ? null : (this.#frames[index] as Frame);
  }

  #wakeRoomWaiters(): void {
    if (this.#free.length === 0) return;
    for (const waiter of this.#roomWaiters.splice(0)) waiter.resolve();
  }

  /** C4. Everyone who waits is told; what is in flight still completes and is ignored. */
  #latch(cause: unknown): void {
    if (this.#latched !== null) return;
    const error = latchedBy(cause);
    this.#latched = error;
    this.#cancelInterval?.();
    this.#cancelInterval = null;
    const waiters = [...this.#roomWaiters.splice(0), ...this.#fileWaiters.splice(0), ...this.#servedWaiters.splice(0)];
    for (const frame of this.#frames) {
      waiters.push(...frame.writtenWaiters, ...frame.flushedWaiters);
      frame.writtenWaiters = [];
      frame.flushedWaiters = [];
    }
    for (const group of this.#awaitingFlush) waiters.push(...group.waiters);
    this.#awaitingFlush = [];
    for (const waiter of waiters) waiter.reject(error);
  }

  #reportQuiet(): void {
    if (this.#quiet === null || this.#flushing) return;
    if (this.#sealed.some((index) => !(this.#frames[index] as Frame).written)) return;
    this.#quiet();
  }
}

function frameCount(writeBufferBytes: number): number {
  return Math.max(4, Math.floor(writeBufferBytes / MAX_FRAME_BYTES));
}
