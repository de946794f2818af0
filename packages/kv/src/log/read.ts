/**
 * Point reads of records: the sectors that cover a record, through the queue, into leased memory, and
 * then the checks that stand between the device and the caller: the record's checksum and its key.
 *
 * ```
 *   read(offset, length, key) ─► slot ─► queue.submitRead ─► complete ─► recordFault, keyEquals ─► sink
 *                                   └── all slots busy: waits in order ──┘      └─ one retry
 * ```
 *
 * L1. A value is handed out only if the record is whole and its key is the one asked for.
 * L2. A failed read fails its own key alone, after one retry.
 *
 * It does not know where a key's record is; the index does.
 */
import { AiokvError, SystemCallError, alignDown, alignUp, assert } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, CompletionHandler, DirectFile, Queue } from '@aiokv/aio';
import { MAX_KEY_BYTES, copyValue, keyEquals, recordFault, sequenceOf } from '../format/record.ts';
import { corrupt } from '../failures.ts';

/** Where the answers of reads go. One object may take those of many. */
export interface ReadSink {
  /**
   * @param value a copy that belongs to the receiver
   * @param version the sequence number of its record
   */
  found(token: number, value: Buffer, version: number): void;
  failed(token: number, error: Error): void;
}

interface WaitingRead {
  readonly fileOffset: number;
  readonly lengthBytes: number;
  readonly key: Uint8Array;
  readonly sink: ReadSink;
  readonly token: number;
}

/** Slots own a buffer of this size; a longer record gets memory of its own for its read. */
const SLOT_BYTES = 8192;
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
  sink: ReadSink | null = null;
  token = 0;
}

export class RecordReader implements CompletionHandler {
  readonly #queue: Queue;
  readonly #file: DirectFile;
  /** Asked with the sequence of every record read: why it must not be returned, or null. */
  readonly #refuse: (sequence: number) => Error | null;
  readonly #slots: ReadSlot[] = [];
  readonly #free: number[] = [];
  readonly #waiting: WaitingRead[] = [];
  #waitingHead = 0;
  readonly #quietWaiters: (() => void)[] = [];
  #syncBuffer: AlignedBuffer | null = null;

  constructor(queue: Queue, file: DirectFile, refuse: (sequence: number) => Error | null) {
    this.#queue = queue;
    this.#file = file;
    this.#refuse = refuse;
  }

  /** Reads a record and hands its value to the sink, in a later turn. The key is copied. */
  read(
    fileOffset: number,
    lengthBytes: number,
    key: Uint8Array,
    keyBytes: number,
    sink: ReadSink,
    token: number,
  ): void {
    if (this.#free.length === 0 && this.#slots.length < this.#queue.depth) {
      this.#free.push(this.#slots.push(new ReadSlot()) - 1);
    }
    const index = this.#free.pop();
    if (index === undefined) {
      this.#waiting.push({ fileOffset, lengthBytes, key: key.slice(0, keyBytes), sink, token });
      return;
    }
    const slot = this.#slots[index] as ReadSlot;
    slot.key = keyBytes <= SLOT_KEY_BYTES ? slot.shortKey : new Uint8Array(MAX_KEY_BYTES);
    for (let i = 0; i < keyBytes; i++) slot.key[i] = key[i] as number;
    slot.keyBytes = keyBytes;
    slot.fileOffset = fileOffset;
    slot.lengthBytes = lengthBytes;
    slot.retried = false;
    slot.sink = sink;
    slot.token = token;
    const spanBytes = this.#spanBytes(fileOffset, lengthBytes);
    slot.current = spanBytes <= SLOT_BYTES ? slot.buffer : allocateAligned(spanBytes);
    this.#submit(index, slot);
  }

  /** Reads a record while the thread waits. */
  readSync(fileOffset: number, lengthBytes: number, key: Uint8Array, keyBytes: number): Buffer {
    const spanBytes = this.#spanBytes(fileOffset, lengthBytes);
    if (this.#syncBuffer === null || this.#syncBuffer.byteLength < spanBytes) {
      this.#syncBuffer = allocateAligned(Math.max(spanBytes, SLOT_BYTES));
    }
    const buffer = this.#syncBuffer;
    const start = alignDown(fileOffset, this.#file.alignment.offset);
    for (let attempt = 0; ; attempt++) {
      const result = this.#transferSync(buffer, start, spanBytes);
      const value = this.#check(buffer, fileOffset, lengthBytes, key, keyBytes, result);
      if (!(value instanceof Error)) return value;
      if (attempt === 1) throw value;
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
  complete(index: number, result: number): void {
    const slot = this.#slots[index] as ReadSlot;
    const value = this.#check(slot.current, slot.fileOffset, slot.lengthBytes, slot.key, slot.keyBytes, result);
    if (value instanceof Error && !slot.retried) {
      slot.retried = true;
      this.#submit(index, slot);
      return;
    }
    const { sink, token } = slot;
    const version = value instanceof Error ? 0 : this.#versionIn(slot);
    assert(sink !== null, 'a read in flight has a sink');
    slot.sink = null;
    slot.current = slot.buffer;
    slot.key = slot.shortKey;
    this.#free.push(index);
    if (value instanceof Error) sink.failed(token, value);
    else sink.found(token, value, version);
    this.#startWaiting();
    if (this.#free.length === this.#slots.length) {
      for (const resolve of this.#quietWaiters.splice(0)) resolve();
    }
  }

  #versionIn(slot: ReadSlot): number {
    const at = slot.fileOffset - alignDown(slot.fileOffset, this.#file.alignment.offset);
    return sequenceOf(slot.current.view, at);
  }

  /** Settles when no read is in flight or waiting; the queue may be closed then. */
  async quiet(): Promise<void> {
    if (this.#free.length === this.#slots.length) return;
    await new Promise<void>((resolve) => this.#quietWaiters.push(resolve));
  }

  #startWaiting(): void {
    const next = this.#waiting[this.#waitingHead];
    if (next === undefined) return;
    this.#waitingHead++;
    if (this.#waitingHead === this.#waiting.length) {
      this.#waiting.length = 0;
      this.#waitingHead = 0;
    }
    this.read(next.fileOffset, next.lengthBytes, next.key, next.key.length, next.sink, next.token);
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

  /** The value, or the error that its reader gets. */
  #check(
    buffer: AlignedBuffer,
    fileOffset: number,
    lengthBytes: number,
    key: Uint8Array,
    keyBytes: number,
    result: number,
  ): Buffer | Error {
    const where = `the record at byte ${fileOffset} of ${this.#file.path}`;
    if (result < 0) {
      const cause = new SystemCallError('read', result, where);
      return new AiokvError('ERR_AIOKV_IO', `${where} cannot be read: ${cause.message}`, { cause });
    }
    const at = fileOffset - alignDown(fileOffset, this.#file.alignment.offset);
    if (result < at + lengthBytes) return corrupt(`${where} lies behind the end of the file`);
    const fault = recordFault(buffer, at, lengthBytes);
    if (fault !== null) return corrupt(`${where} is damaged (${fault})`);
    if (!keyEquals(buffer, at, key, keyBytes)) return corrupt(`${where} is of another key`);
    return this.#refuse(sequenceOf(buffer.view, at)) ?? copyValue(buffer, at);
  }
}
