/**
 * How far an opening is, for whoever waits for a long one: told when a phase begins and ends, and a few times a second
 * between. What the listener throws is thrown on, and ends the opening; it is the one way to call a long one off.
 */
import type { Clock } from '@aiokv/core';

export interface OpenProgress {
  /** `'index'`: the index of the last checkpoint is read. `'log'`: what was written after it is replayed. */
  readonly phase: 'index' | 'log';
  readonly doneBytes: number;
  /** Of the log, the most that there may be to replay: the phase can end before. */
  readonly totalBytes: number;
}

const INTERVAL_MS = 200;

export class ProgressReporter {
  readonly #listener: ((progress: OpenProgress) => void) | null;
  readonly #clock: Clock;
  #phase: OpenProgress['phase'] = 'index';
  #doneBytes = 0;
  #totalBytes = 0;
  #toldMs = 0;

  constructor(listener: ((progress: OpenProgress) => void) | null, clock: Clock) {
    this.#listener = listener;
    this.#clock = clock;
  }

  begin(phase: OpenProgress['phase'], totalBytes: number): void {
    this.#phase = phase;
    this.#doneBytes = 0;
    this.#totalBytes = totalBytes;
    this.#tell();
  }

  advance(bytes: number): void {
    this.#doneBytes = Math.min(this.#doneBytes + bytes, this.#totalBytes);
    if (this.#listener !== null && this.#clock.nowMs() - this.#toldMs >= INTERVAL_MS) this.#tell();
  }

  end(): void {
    this.#totalBytes = this.#doneBytes;
    this.#tell();
  }

  #tell(): void {
    if (this.#listener === null) return;
    this.#toldMs = this.#clock.nowMs();
    this.#listener({ phase: this.#phase, doneBytes: this.#doneBytes, totalBytes: this.#totalBytes });
  }
}
