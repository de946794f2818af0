/**
 * Point reads of records: the sectors that cover a record, through the queue, into leased memory, and
 * then the checks that stand between the device and the caller: the record's checksum and its key.
 *
 * ```
 *   read(offset, length, key) ─► slot ─► queue.submitRead ─► complete ─► recordFault, keyEquals ─► result
 *                                   └── all slots busy: waits in order ──┘      └─ one retry   └─ in pieces: assembly
 *
 *   assembly ─► next piece ─┬─► log.unwritten      (not on the device yet: from memory)     ─► whole? ─► result
 *                           └─► slot ─► as above
 * ```
 *
 * L1. A value is handed out only if the record is whole and its key is the one asked for; so are its pieces.
 * L2. A failed read fails its own key alone, after one retry.
 * L3. A few pieces are in flight at once, of all values together: as many bytes as keep the device busy.
 *
 * It does not know where a key's record is; the index does.
 */
import { AiokvError, SystemCallError, alignDown, alignUp, assert } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, CompletionHandler, DirectFile, Queue } from '@aiokv/aio';
import type { Piece } from '../format/extent.ts';
import {
  MAX_KEY_BYTES,
  RecordKind,
  copyValue,
  isExtent,
  keyEquals,
  kindOf,
  recordFault,
  sequenceOf,
} from '../format/record.ts';
import type { Block } from '../format/words.ts';
import { corrupt } from '../failure/errors.ts';
import { Assembly, pieceFault } from './value-assembly.ts';

/** Where the answers of reads go. One object may take those of many. */
export interface ReadResult {
  /** False: the version is enough, the value may be another then. Default true. */
  readonly needsValue?: boolean;
  /**
   * @param value a copy that belongs to the receiver
   * @param version the sequence number of its record
   */
  found(token: number, value: Buffer, version: number): void;
  failed(token: number, error: Error): void;
}

/** What is asked of the log. */
export interface UnwrittenRecords {
  readonly latched: Error | null;
  readonly flushedThrough: number;
  /** The frame that holds the byte at `fileOffset`, if it may not be on the device yet. */
  unwritten(fileOffset: number): { readonly block: Block; readonly offset: number } | null;
}

interface WaitingRead {
  readonly fileOffset: number;
  readonly lengthBytes: number;
  readonly key: Uint8Array;
  readonly result: ReadResult;
  readonly token: number;
}

/** A value that is being put together, and for whom. */
interface LongRead {
  readonly assembly: Assembly;
  readonly result: ReadResult;
  readonly token: number;
  isOver: boolean;
}

/** Slots own a buffer of this size; a longer record gets one of those for long records for its read. */
const SLOT_BYTES = 8192;
/** Beside a record, for the sectors that it begins and ends in. */
const SECTORS_BYTES = 8192;
/** Buffers for long records that are kept. */
const LONG_BUFFERS = 8;
/** L3. */
const PIECES_IN_FLIGHT = 4;
/** Pieces that are copied from memory before others have their turn. */
const PIECES_FROM_MEMORY = 8;
/** Keys up to this long are kept in the slot. */
const SLOT_KEY_BYTES = 256;

/** One read in flight. Made when first needed, used again. */
class ReadSlot {
  readonly buffer = allocateAligned(SLOT_BYTES);
  readonly shortKey = new Uint8Array(SLOT_KEY_BYTES);
  /** The buffer in use: the slot's own, or a longer one. */
  current: AlignedBuffer = this.buffer;
  key: Uint8Array = this.shortKey;
  keyBytes = 0;
  fileOffset = 0;
  lengthBytes = 0;
  retried = false;
  result: ReadResult | null = null;
  token = 0;
  /** What the record is a piece of, or null; and which. */
  long: LongRead | null = null;
  piece: Piece | null = null;
  sequence = 0;
  placeInValue = 0;
}

export class RecordReader implements CompletionHandler {
  readonly #queue: Queue;
  readonly #file: DirectFile;
  readonly #log: UnwrittenRecords;
  readonly #slots: ReadSlot[] = [];
  readonly #free: number[] = [];
  readonly #waiting: WaitingRead[] = [];
  #waitingHead = 0;
  readonly #longBuffers: AlignedBuffer[] = [];
  /** Values of which pieces are still to be asked for, the oldest first. */
  readonly #longReads: LongRead[] = [];
  /** Values that are not whole yet. */
  #longReadsLeft = 0;
  /** Of the buffers for long records. */
  readonly #longBytes: number;
  readonly #mostPieces: number;
  #piecesInFlight = 0;
  readonly #quietWaiters: (() => void)[] = [];
  #syncBuffer: AlignedBuffer | null = null;

  /** @param longestBytes of a record */
  constructor(queue: Queue, file: DirectFile, log: UnwrittenRecords, longestBytes: number) {
    this.#longBytes = longestBytes + SECTORS_BYTES;
    this.#queue = queue;
    this.#file = file;
    this.#log = log;
    this.#mostPieces = Math.min(PIECES_IN_FLIGHT, Math.ceil(queue.depth / 2));
  }

  /** Hands the value of a record to the result: at once if it is not on the device yet, else in a later turn. */
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

  /** Reads a record that is on the device, as the log has just said. The key is copied. */
  readDevice(
    fileOffset: number,
    lengthBytes: number,
    key: Uint8Array,
    keyBytes: number,
    result: ReadResult,
    token: number,
  ): void {
    const index = this.#takeSlot();
    if (index === undefined) {
      this.#waiting.push({ fileOffset, lengthBytes, key: key.slice(0, keyBytes), result, token });
      return;
    }
    const slot = this.#slots[index] as ReadSlot;
    slot.result = result;
    slot.token = token;
    this.#start(index, slot, fileOffset, lengthBytes, key, keyBytes);
  }

  #takeSlot(): number | undefined {
    if (this.#free.length === 0 && this.#slots.length < this.#queue.depth) return this.#slots.push(new ReadSlot()) - 1;
    return this.#free.pop();
  }

  #start(
    index: number,
    slot: ReadSlot,
    fileOffset: number,
    lengthBytes: number,
    key: Uint8Array,
    keyBytes: number,
  ): void {
    slot.key = keyBytes <= SLOT_KEY_BYTES ? slot.shortKey : new Uint8Array(MAX_KEY_BYTES);
    for (let i = 0; i < keyBytes; i++) slot.key[i] = key[i] as number;
    slot.keyBytes = keyBytes;
    slot.fileOffset = fileOffset;
    slot.lengthBytes = lengthBytes;
    slot.retried = false;
    slot.current = this.#bufferOf(slot, this.#spanBytes(fileOffset, lengthBytes));
    this.#submit(index, slot);
  }

  #bufferOf(slot: ReadSlot, spanBytes: number): AlignedBuffer {
    if (spanBytes <= SLOT_BYTES) return slot.buffer;
    if (spanBytes > this.#longBytes) return allocateAligned(spanBytes);
    return this.#longBuffers.pop() ?? allocateAligned(this.#longBytes);
  }

  #release(index: number, slot: ReadSlot): void {
    const { current } = slot;
    const isLong = current.byteLength === this.#longBytes;
    if (isLong && this.#longBuffers.length < LONG_BUFFERS) this.#longBuffers.push(current);
    slot.result = null;
    slot.long = null;
    slot.piece = null;
    slot.current = slot.buffer;
    slot.key = slot.shortKey;
    this.#free.push(index);
  }

  /** Reads a record while the thread waits. */
  readSync(fileOffset: number, lengthBytes: number, key: Uint8Array, keyBytes: number): Buffer {
    const { block, at } = this.#findSync(fileOffset, lengthBytes, key, keyBytes, null, 0);
    if (!isExtent(block.view, at)) return copyValue(block, at);
    const assembly = Assembly.of(block, at, this.#where(fileOffset));
    for (let piece = assembly.next; piece !== null; piece = assembly.next) {
      const { nextSequence, nextAt } = assembly;
      const found = this.#findSync(piece.fileOffset, piece.lengthBytes, key, keyBytes, piece, nextSequence);
      assembly.take(found.block, found.at, nextAt);
      assembly.advance();
    }
    return assembly.value;
  }

  /** A record that was checked, in memory that is used again by the next call. */
  #findSync(
    fileOffset: number,
    lengthBytes: number,
    key: Uint8Array,
    keyBytes: number,
    piece: Piece | null,
    sequence: number,
  ): { block: Block; at: number } {
    const place = this.#log.unwritten(fileOffset);
    if (place !== null) {
      const refusal = this.#refusalOf(sequenceOf(place.block.view, place.offset));
      if (refusal !== null) throw refusal;
      return { block: place.block, at: place.offset };
    }
    const spanBytes = this.#spanBytes(fileOffset, lengthBytes);
    if (this.#syncBuffer === null || this.#syncBuffer.byteLength < spanBytes) {
      this.#syncBuffer = allocateAligned(Math.max(spanBytes, SLOT_BYTES));
    }
    const block = this.#syncBuffer;
    const start = alignDown(fileOffset, this.#file.alignment.offset);
    for (let attempt = 0; ; attempt++) {
      const result = this.#transferSync(block, start, spanBytes);
      const fault = this.#check(block, fileOffset, lengthBytes, key, keyBytes, result, piece, sequence);
      if (fault === null) return { block, at: fileOffset - start };
      if (attempt === 1) throw fault;
    }
  }

  /** Bytes read, or a negative error number, as `complete` gets it. */
  #transferSync(buffer: AlignedBuffer, offset: number, length: number): number {
    try {
      return this.#queue.readSync(this.#file, buffer, { offset, length });
    } catch (error) {
      if (error instanceof SystemCallError) return error.errno;
      throw error;
    }
  }

  /** @internal A read has completed. */
  complete(index: number, transferred: number): void {
    const slot = this.#slots[index] as ReadSlot;
    const { fileOffset, lengthBytes, result, token, current, long, placeInValue } = slot;
    const fault = this.#check(
      current,
      fileOffset,
      lengthBytes,
      slot.key,
      slot.keyBytes,
      transferred,
      slot.piece,
      slot.sequence,
    );
    if (fault !== null && !slot.retried) {
      slot.retried = true;
      this.#submit(index, slot);
      return;
    }
    const at = fileOffset - alignDown(fileOffset, this.#file.alignment.offset);
    if (long !== null) {
      this.#piecesInFlight--;
      if (fault === null) this.#takePiece(long, current, at, placeInValue);
      else this.#endLong(long, fault);
      this.#release(index, slot);
    } else {
      assert(result !== null, 'a read in flight has a result');
      // The buffer is not used again before the next read is started.
      this.#release(index, slot);
      if (fault === null) this.answer(current, at, result, token);
      else result.failed(token, fault);
    }
    this.#startPieces();
    this.#startWaiting();
    this.#reportQuiet();
  }

  /** Hands out the value of a record that was checked, if it is there, or goes for its pieces. */
  answer(block: Block, at: number, result: ReadResult, token: number): void {
    const version = sequenceOf(block.view, at);
    const refusal = this.#refusalOf(version);
    if (refusal !== null) result.failed(token, refusal);
    else if (!isExtent(block.view, at) || result.needsValue === false)
      result.found(token, copyValue(block, at), version);
    else {
      try {
        const assembly = Assembly.of(block, at, `a record of ${this.#file.path}`);
        this.#longReads.push({ assembly, result, token, isOver: false });
        this.#longReadsLeft++;
        queueMicrotask(this.#startPieces);
      } catch (error) {
        result.failed(token, error as Error);
      }
    }
  }

  /** Asks for pieces, of the oldest value first, as many as may be in flight. */
  readonly #startPieces = (): void => {
    let fromMemory = 0;
    for (;;) {
      const long = this.#longReads[0];
      if (long === undefined) return;
      const { assembly } = long;
      const piece = assembly.next;
      if (piece === null || long.isOver) {
        this.#longReads.shift();
        continue;
      }
      const place = this.#log.unwritten(piece.fileOffset);
      if (place !== null) {
        if (fromMemory++ === PIECES_FROM_MEMORY) {
          setImmediate(this.#startPieces);
          return;
        }
        const { nextAt } = assembly;
        assembly.advance();
        this.#takePiece(long, place.block, place.offset, nextAt);
        continue;
      }
      if (this.#piecesInFlight === this.#mostPieces) return;
      const index = this.#takeSlot();
      if (index === undefined) return;
      const slot = this.#slots[index] as ReadSlot;
      slot.long = long;
      slot.piece = piece;
      slot.sequence = assembly.nextSequence;
      slot.placeInValue = assembly.nextAt;
      assembly.advance();
      this.#piecesInFlight++;
      this.#start(index, slot, piece.fileOffset, piece.lengthBytes, assembly.key, assembly.key.length);
    }
  };

  #takePiece(long: LongRead, block: Block, at: number, placeInValue: number): void {
    if (long.isOver || !long.assembly.take(block, at, placeInValue)) return;
    this.#endLong(long, this.#refusalOf(long.assembly.version));
  }

  #endLong(long: LongRead, failure: Error | null): void {
    if (long.isOver) return;
    long.isOver = true;
    this.#longReadsLeft--;
    if (failure !== null) long.result.failed(long.token, failure);
    else long.result.found(long.token, long.assembly.value, long.assembly.version);
    this.#reportQuiet();
  }

  get #isQuiet(): boolean {
    return this.#free.length === this.#slots.length && this.#longReadsLeft === 0;
  }

  #reportQuiet(): void {
    if (this.#quietWaiters.length === 0 || !this.#isQuiet) return;
    for (const resolve of this.#quietWaiters.splice(0)) resolve();
  }

  /** Settles when no read is in flight or waiting; the queue may be closed then. */
  async quiet(): Promise<void> {
    if (this.#isQuiet) return;
    await new Promise<void>((resolve) => this.#quietWaiters.push(resolve));
  }

  #startWaiting(): void {
    while (this.#free.length > 0) {
      const next = this.#waiting[this.#waitingHead];
      if (next === undefined) return;
      this.#waitingHead++;
      if (this.#waitingHead === this.#waiting.length) {
        this.#waiting.length = 0;
        this.#waitingHead = 0;
      }
      this.readDevice(next.fileOffset, next.lengthBytes, next.key, next.key.length, next.result, next.token);
    }
  }

  #submit(index: number, slot: ReadSlot): void {
    const start = alignDown(slot.fileOffset, this.#file.alignment.offset);
    const spanBytes = this.#spanBytes(slot.fileOffset, slot.lengthBytes);
    const accepted = this.#queue.submitRead(this.#file, slot.current, 0, spanBytes, start, this, index);
    assert(accepted, 'the queue has room for as many reads as its depth');
  }

  #spanBytes(fileOffset: number, lengthBytes: number): number {
    const { offset } = this.#file.alignment;
    return alignUp(fileOffset + lengthBytes, offset) - alignDown(fileOffset, offset);
  }

  #where(fileOffset: number): string {
    return `the record at byte ${fileOffset} of ${this.#file.path}`;
  }

  /** What was not flushed when the store latched may be gone after the next opening, and is not shown. */
  #refusalOf(sequence: number): Error | null {
    const { latched, flushedThrough } = this.#log;
    return latched !== null && sequence > flushedThrough ? latched : null;
  }

  /** The error that the reader of a record gets, or null when it is as it should be. */
  #check(
    buffer: AlignedBuffer,
    fileOffset: number,
    lengthBytes: number,
    key: Uint8Array,
    keyBytes: number,
    result: number,
    piece: Piece | null,
    sequence: number,
  ): Error | null {
    const where = this.#where(fileOffset);
    if (result < 0) {
      const cause = new SystemCallError('read', result, where);
      return new AiokvError('ERR_AIOKV_IO', `${where} cannot be read: ${cause.message}`, { cause });
    }
    const at = fileOffset - alignDown(fileOffset, this.#file.alignment.offset);
    if (result < at + lengthBytes) return corrupt(`${where} lies behind the end of the file`);
    const fault = recordFault(buffer, at, lengthBytes);
    if (fault !== null) return corrupt(`${where} is damaged (${fault})`);
    if (!keyEquals(buffer, at, key, keyBytes)) return corrupt(`${where} is of another key`);
    if (piece === null) {
      if (kindOf(buffer.view, at) !== RecordKind.put) return corrupt(`${where} is not the write of a value`);
    } else {
      const pieceIs = pieceFault(buffer, at, piece, sequence);
      if (pieceIs !== null) return corrupt(`${where} is not the piece of a value that is meant (${pieceIs})`);
    }
    return this.#refusalOf(sequenceOf(buffer.view, at));
  }
}
