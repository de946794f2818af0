/**
 * Reports the progress of an opening: when a phase begins and ends, and up to 5 times a second in between. If the
 * listener throws, the opening fails with that error. This is the only way to cancel a long opening.
 */
import type { Clock } from '@aiokv/core';

export interface OpenProgress {
  /** `'index'`: reading the index of the last checkpoint. `'log'`: replaying the writes after it. */
  readonly phase: 'index' | 'log';
  readonly doneBytes: number;
  /** For the log, an upper bound: the phase can end earlier. The last call of a phase has the exact number. */
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
