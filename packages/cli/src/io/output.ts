/**
 * A stream that is written to in small pieces: they are put together in blocks, the writer waits while the stream has
 * enough, and a reader that has gone away is an error of its own.
 *
 * ```
 *   write ─► block of 64 KiB ─ full ─► stream ─ has enough ─► the writer waits for 'drain'
 * ```
 *
 * OUTPUT-1. After an error of the stream every write throws it. EPIPE is `OutputClosed`.
 * OUTPUT-2. A write returns null when the writer may go on, so that a loop over a million entries makes no promise for each.
 */
import { OutputClosed } from '../errors.ts';
import type { Sink } from './environment.ts';

const BLOCK_BYTES = 64 << 10;
/** A character of a string takes at most so many bytes. */
const MOST_BYTES_OF_UNIT = 3;

export class Output {
  readonly #stream: Sink;
  #block: Buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  #used = 0;
  #error: Error | null = null;
  #wake: (() => void) | null = null;

  constructor(stream: Sink) {
    this.#stream = stream;
    stream.on('error', this.#fail);
    stream.on('drain', this.#goOn);
    stream.on('close', this.#closed);
  }

  /** Whether somebody looks at it, as opposed to a program that reads it. */
  get isTerminal(): boolean {
    return this.#stream.isTTY === true;
  }

  get columns(): number {
    // A terminal that does not know its size says 0.
    return this.#stream.columns || 80;
  }

  /** @returns a promise to wait for before the next write, or null (OUTPUT-2) */
  write(piece: string | Uint8Array): Promise<void> | null {
    if (this.#error !== null) throw this.#error;
    const mostBytes = typeof piece === 'string' ? piece.length * MOST_BYTES_OF_UNIT : piece.length;
    if (mostBytes > BLOCK_BYTES - this.#used) this.#sendBlock();
    if (mostBytes > BLOCK_BYTES) this.#send(typeof piece === 'string' ? Buffer.from(piece) : piece);
    else if (typeof piece === 'string') this.#used += this.#block.write(piece, this.#used);
    else {
      this.#block.set(piece, this.#used);
      this.#used += piece.length;
    }
    return this.#stream.writableNeedDrain ? this.#drained() : null;
  }

  /** For messages: they go out at once, and one that cannot is lost. */
  writeNow(text: string): void {
    if (this.#error !== null) return;
    this.#sendBlock();
    this.#stream.write(text);
  }

  /** Settles when everything has been handed to the system. */
  async flush(): Promise<void> {
    if (this.#error !== null) throw this.#error;
    this.#sendBlock();
    while (this.#stream.writableLength > 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        this.#stream.write('', (error) => (error ? this.#fail(error) : this.#goOn()));
      });
      if (this.#error !== null) throw this.#error;
    }
  }

  /** Lets go of the stream, which stays open. What it reports after that is nobody's concern. */
  release(): void {
    this.#stream.off('drain', this.#goOn);
    this.#stream.off('close', this.#closed);
    this.#stream.off('error', this.#fail);
    if (!this.#stream.listeners('error').includes(ignore)) this.#stream.on('error', ignore);
  }

  #sendBlock(): void {
    if (this.#used === 0) return;
    const block = this.#block.subarray(0, this.#used);
    // The stream may keep it until it is written.
    this.#block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
    this.#used = 0;
    this.#send(block);
  }

  #send(bytes: Uint8Array): void {
    this.#stream.write(bytes);
  }

  async #drained(): Promise<void> {
    while (this.#error === null && this.#stream.writableNeedDrain) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#error !== null) throw this.#error;
  }

  readonly #goOn = (): void => {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  };

  /** OUTPUT-1. */
  readonly #fail = (error: Error & { code?: string }): void => {
    const hasGone = error.code === 'EPIPE' || error.code === 'ERR_STREAM_DESTROYED';
    this.#error ??= hasGone ? new OutputClosed('the reader has gone', { cause: error }) : error;
    this.#goOn();
  };

  readonly #closed = (): void => {
    this.#error ??= new OutputClosed('the stream was closed');
    this.#goOn();
  };
}

function ignore(): void {
  // The run is over.
}
