/**
 * One read of the sectors that cover some bytes of the file. Records and index pages are read in this way.
 *
 * ```
 *   start                fileOffset
 *   │ sector     │ sector    │   │ sector     │
 *   ├────────────┴───────────┼───┴────────────┤
 *   │◄──────── at ──────────►│◄─ lengthBytes ─►│ …      spanBytes: all of it
 * ```
 *
 * SECTOR-1. A read that failed is tried again once. One that came short goes on where it stopped; any other begins anew.
 *
 * It does not know what the bytes mean, and makes no text of an error before the second attempt has failed.
 */
import { AiokvError, SystemCallError, alignDown, alignUp, assert } from '@aiokv/core';
import type { AlignedBuffer, CompletionHandler, DirectFile, Queue } from '@aiokv/aio';
import { corrupt } from '../failure/errors.ts';

export class SectorRead {
  /** Where the bytes come to. */
  current: AlignedBuffer;
  fileOffset = 0;
  lengthBytes = 0;
  #start = 0;
  #spanBytes = 0;
  /** Whole sectors that the first attempt has brought. */
  #doneBytes = 0;
  #isSecond = false;

  constructor(buffer: AlignedBuffer) {
    this.current = buffer;
  }

  /** Where in the buffer the bytes begin. */
  get at(): number {
    return this.fileOffset - this.#start;
  }

  /** Says what is read next; `current` is set afterwards, for it must have room for `spanBytes`. */
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

  /** The completion is told to `handler`. */
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

  /** Bytes read, or a negative error number, as a completion has it. */
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

  /** Whether all that was asked for is there after a transfer with this result. */
  isThere(transferred: number): boolean {
    return transferred >= 0 && this.#doneBytes + transferred >= this.at + this.lengthBytes;
  }

  /** Whether to submit it again after a transfer with this result, because something is wrong (SECTOR-1). */
  mayRetry(file: DirectFile, transferred: number): boolean {
    if (this.#isSecond) return false;
    this.#isSecond = true;
    const isShort = transferred > 0 && !this.isThere(transferred);
    this.#doneBytes = isShort ? alignDown(transferred, file.alignment.offset) : 0;
    return true;
  }
}

/** The error of a second attempt that has not brought all bytes. */
export function transferError(where: string, transferred: number): Error {
  if (transferred === 0) return corrupt(`${where} lies behind the end of the file`);
  const cause = transferred < 0 ? new SystemCallError('read', transferred, where) : undefined;
  const why = cause === undefined ? 'the device gives fewer bytes than asked for' : cause.message;
  return new AiokvError('ERR_AIOKV_IO', `${where} cannot be read: ${why}`, { cause });
}
