/**
 * A store that is opened again begins with the values that were hot when it was closed. The two halves of it, and whether there are
 * any: `warmRestart`.
 *
 * ```
 *   open ─► start: warm-up.ts ─────────► stop ─► end: hot-note.ts ─► closed
 * ```
 */
import type { Clock } from '@aiokv/core';
import type { Planted } from '../failure/planted.ts';
import { removeHotFile } from '../file/hot-file.ts';
import { mostHotBytes, noteHotKeys } from './hot-note.ts';
import { WarmUp } from './warm-up.ts';
import type { WarmStatistics, WarmUpParts } from './warm-up.ts';

/** A note of fewer keys is not worth a file: they are hot again in a moment. */
const LEAST_KEYS = 256;

export interface WarmRestartParts extends Omit<WarmUpParts, 'mostBytes'> {
  readonly clock: Clock;
  readonly planted: Planted;
  readonly memoryBytes: number;
  /** Whether there is one. */
  readonly isOn: boolean;
}

export class WarmRestart {
  readonly #parts: WarmRestartParts;
  readonly #mostBytes: number;
  readonly #up: WarmUp;

  constructor(parts: WarmRestartParts) {
    this.#parts = parts;
    this.#mostBytes = mostHotBytes(parts.memoryBytes);
    this.#up = new WarmUp({ ...parts, mostBytes: this.#mostBytes });
  }

  get statistics(): WarmStatistics {
    return this.#up.statistics;
  }

  /** Begins to read back what was hot, in the background. */
  start(): void {
    if (this.#parts.isOn) this.#up.start();
  }

  /** Begins no more reads. Settles when none is in flight. */
  stop(): Promise<void> {
    return this.#up.stop();
  }

  /** Notes what is hot. Call it when nothing reads or writes any more. Never rejects. */
  async end(): Promise<void> {
    const { isOn, place, index, clock, planted, budget } = this.#parts;
    if (!isOn) {
      await removeHotFile(place);
      return;
    }
    const leastKeys = planted.eagerNotes === true ? 1 : LEAST_KEYS;
    await noteHotKeys({ place, values: index.values, clock, budget, mostBytes: this.#mostBytes, leastKeys });
  }
}
