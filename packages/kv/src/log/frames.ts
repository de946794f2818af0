/**
 * The frames of the log that are in memory, and the state of each. writer.ts decides when it changes.
 *
 * ```
 *   free ── begin ──► open ── seal ──► sealed, oldest first ── takeWritten: the oldest, once it is written ──► free
 * ```
 *
 * Frames are created on demand and reused.
 */
import { Fifo, assert } from '@aiokv/core';
import { MAX_FRAME_BYTES } from '../format/frame.ts';
import { Frame, holds } from './frame-buffer.ts';

const LEAST_FRAMES = 4;

export class Frames {
  readonly limit: number;
  readonly #headerBytes: number;
  readonly #all: Frame[] = [];
  readonly #free: number[] = [];
  /** In flight, or written while an older one is not. Oldest first. */
  readonly #sealed = new Fifo<number>();
  #newestSealed: Frame | null = null;
  #open: Frame | null = null;
  #openIndex = -1;
  /** Range of the file that contains all frames in use: most reads are outside and need not check each frame. */
  #from = Infinity;
  #to = 0;

  /**
   * @param writeBufferBytes memory for frames
   * @param headerBytes room for a segment header in front of a frame
   */
  constructor(writeBufferBytes: number, headerBytes: number) {
    this.limit = Frames.limitOf(writeBufferBytes);
    this.#headerBytes = headerBytes;
  }

  static limitOf(writeBufferBytes: number): number {
    return Math.max(LEAST_FRAMES, Math.floor(writeBufferBytes / MAX_FRAME_BYTES));
  }

  /** Most memory that frames take, in bytes. */
  static mostBytes(writeBufferBytes: number, headerBytes: number): number {
    return Frames.limitOf(writeBufferBytes) * Frame.bytesWith(headerBytes);
  }

  /** Memory of all frames so far, in bytes. */
  get bytes(): number {
    return this.#all.length * Frame.bytesWith(this.#headerBytes);
  }

  /** Number of frames that can be opened now. */
  get free(): number {
    return this.#free.length + this.limit - this.#all.length;
  }

  get open(): Frame | null {
    return this.#open;
  }

  /** Whether no frame is in flight. */
  get isNoneSealed(): boolean {
    return this.#sealed.isEmpty;
  }

  /** The frame with the latest record not written yet, or null. */
  get newest(): Frame | null {
    return this.#open ?? this.#newestSealed;
  }

  at(index: number): Frame {
    return this.#all[index] as Frame;
  }

  [Symbol.iterator](): Iterator<Frame> {
    return this.#all[Symbol.iterator]();
  }

  /** @param place gives the frame its place in the file */
  begin(place: (frame: Frame) => void): Frame {
    assert(this.#open === null && this.free > 0, 'LOG-5: hasRoom has found a free frame');
    const index = this.#free.pop() ?? this.#all.push(new Frame(this.#headerBytes)) - 1;
    const frame = this.at(index);
    place(frame);
    this.#from = Math.min(this.#from, frame.fileOffset);
    this.#to = Math.max(this.#to, frame.fileOffset + frame.capacityBytes);
    this.#open = frame;
    this.#openIndex = index;
    return frame;
  }

  /** Marks the open frame as sealed. Returns its index. */
  seal(): number {
    const index = this.#openIndex;
    assert(this.#open !== null, 'there is an open frame to seal');
    this.#sealed.push(index);
    this.#newestSealed = this.#open;
    this.#open = null;
    this.#openIndex = -1;
    return index;
  }

  /** LOG-2. Frees the oldest sealed frame and returns it, if it is written; else null. */
  takeWritten(): Frame | null {
    const index = this.#sealed.peek();
    if (index === undefined) return null;
    const frame = this.at(index);
    if (!frame.written) return null;
    this.#sealed.shift();
    this.#free.push(index);
    if (frame === this.#newestSealed) this.#newestSealed = null;
    if (this.#sealed.isEmpty) {
      this.#from = this.#open?.fileOffset ?? Infinity;
      this.#to = this.#open === null ? 0 : this.#open.fileOffset + this.#open.capacityBytes;
    }
    return frame;
  }

  /** The frame in use that contains this byte of the file, or null. */
  holding(fileOffset: number): Frame | null {
    if (fileOffset < this.#from || fileOffset >= this.#to) return null;
    if (this.#open !== null && holds(this.#open, fileOffset)) return this.#open;
    for (const index of this.#sealed) {
      const frame = this.at(index);
      if (holds(frame, fileOffset)) return frame;
    }
    return null;
  }
}
