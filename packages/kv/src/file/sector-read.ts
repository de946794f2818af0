/**
 * Reads the sectors that cover a range of bytes of the file. Records and index pages are read this way.
 *
 * ```
 *   start                fileOffset
 *   │ sector     │ sector    │   │ sector     │
 *   ├────────────┴───────────┼───┴────────────┤
 *   │◄──────── at ──────────►│◄─ lengthBytes ─►│ …      spanBytes: all of it
 * ```
 *
 * SECTOR-1. A failed read is tried a second time. After a short read the second attempt continues where the first
 *     stopped; otherwise it starts from the beginning.
 *
 * This file does not interpret the bytes. It builds no error message before the second attempt has failed.
 */
import { AiokvError, SystemCallError, alignDown, alignUp, assert } from '@aiokv/core';
import type { AlignedBuffer, CompletionHandler, DirectFile, Queue } from '@aiokv/aio';
import { corrupt } from '../failure/errors.ts';

export class SectorRead {
  /** The buffer to read into. */
  current: AlignedBuffer;
  fileOffset = 0;
  lengthBytes = 0;
  #start = 0;
  #spanBytes = 0;
  /** Bytes of whole sectors that the first attempt has read. */
  #doneBytes = 0;
  #isSecond = false;

  constructor(buffer: AlignedBuffer) {
    this.current = buffer;
  }

  /** Offset of the bytes in the buffer. */
  get at(): number {
    return this.fileOffset - this.#start;
  }

  /** Sets the bytes to read. After it the caller sets `current`, which needs room for `spanBytes`. */
  aim(file: DirectFile, fileOffset: number, lengthBytes: number): void {
    const unit = file.alignment.offset;
    this.fileOffset = fileOffset;
    this.lengthBytes = lengthBytes;
    this.#start = alignDown(fileOffset, unit);
    this.#spanBytes = alignUp(fileOffset + lengthBytes, unit) - this.#start;
    this.#doneBytes = 0;
    this.#isSecond = false;
  }

  get spanBytes(): number {
    return this.#spanBytes;
  }

  /** Submits the read; `handler` gets the completion. */
  submit(queue: Queue, file: DirectFile, handler: CompletionHandler, token: number): void {
    const done = this.#doneBytes;
    const accepted = queue.submitRead(
      file,
      this.current,
      done,
      this.#spanBytes - done,
      this.#start + done,
      handler,
      token,
    );
    assert(accepted, 'the queue has room for as many reads as the store has slots for them');
  }

  /** Reads synchronously. Returns the number of bytes or a negative error number, as a completion does. */
  transferSync(queue: Queue, file: DirectFile): number {
    const done = this.#doneBytes;
    try {
      return queue.readSync(file, this.current, {
        offset: this.#start + done,
        bufferOffset: done,
        length: this.#spanBytes - done,
      });
    } catch (error) {
      if (error instanceof SystemCallError) return error.errno;
      throw error;
    }
  }

  /** Whether all bytes are there after a transfer with this result. */
  isThere(transferred: number): boolean {
    return transferred >= 0 && this.#doneBytes + transferred >= this.at + this.lengthBytes;
  }

  /** Whether to submit the read again after a transfer with this result failed or was short (SECTOR-1). */
  mayRetry(file: DirectFile, transferred: number): boolean {
    if (this.#isSecond) return false;
    this.#isSecond = true;
    const isShort = transferred > 0 && !this.isThere(transferred);
    this.#doneBytes = isShort ? alignDown(transferred, file.alignment.offset) : 0;
    return true;
  }
}

/** The error after the second attempt, which failed or was short. */
export function transferError(where: string, transferred: number): Error {
  if (transferred === 0) return corrupt(`${where} is beyond the end of the file`);
  const cause = transferred < 0 ? new SystemCallError('read', transferred, where) : undefined;
  const why = cause === undefined ? 'the device returns fewer bytes than asked for' : cause.message;
  return new AiokvError('ERR_AIOKV_IO', `${where} cannot be read: ${why}`, { cause });
}
