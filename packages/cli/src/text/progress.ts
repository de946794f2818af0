/**
 * How far long work is: one line on stderr, only where stderr is a terminal, with the rate and the time that is left.
 *
 *     loading  1,200,000 entries  41%  152,000/s  0:11 left
 */
import type { Clock } from '@aiokv/core';
import type { Output } from '../io/output.ts';
import { countOf, sizeOf, timeOf } from './numbers.ts';
import { cutTo } from './width.ts';

const INTERVAL_MS = 200;
const CLEAR = '\r\u001b[K';

export interface Step {
  /** What was done so far, in the unit of `total`. */
  readonly done: number;
  /** 0: it is not known. */
  readonly total: number;
  readonly unit: 'bytes' | 'entries';
  /** Where `done` counts bytes and somebody wants to know entries. */
  readonly entries?: number;
}

export class Progress {
  readonly #output: Output;
  readonly #clock: Clock;
  readonly #label: string;
  readonly #beganMs: number;
  #toldMs: number;
  #isShown = false;

  constructor(output: Output, clock: Clock, label: string) {
    this.#output = output;
    this.#clock = clock;
    this.#label = label;
    this.#beganMs = clock.nowMs();
    this.#toldMs = this.#beganMs;
  }

  /** Tells it, unless it was told a moment ago: what is over in the first moment is never told. */
  tell(step: Step): void {
    if (!this.#output.isTerminal) return;
    const now = this.#clock.nowMs();
    if (now - this.#toldMs < INTERVAL_MS) return;
    this.#toldMs = now;
    this.#isShown = true;
    const line = lineOf(this.#label, step, now - this.#beganMs);
    this.#output.writeNow(CLEAR + cutTo(line, this.#output.columns - 1));
  }

  /** Takes the line away. */
  end(): void {
    if (!this.#isShown) return;
    this.#isShown = false;
    this.#output.writeNow(CLEAR);
  }
}

function lineOf(label: string, { done, total, unit, entries }: Step, elapsedMs: number): string {
  const amount = (value: number): string => (unit === 'bytes' ? sizeOf(value) : countOf(value));
  const perSecond = elapsedMs > 0 ? (done * 1000) / elapsedMs : 0;
  const parts = [label];
  if (entries !== undefined) parts.push(`${countOf(entries)} entries`);
  parts.push(
    total > 0 ? `${amount(done)} of ${amount(total)}` : `${amount(done)}${unit === 'entries' ? ' entries' : ''}`,
  );
  if (total > 0) parts.push(`${Math.floor((100 * done) / total)}%`);
  parts.push(`${amount(perSecond)}/s`);
  if (total > 0 && perSecond > 0 && done <= total) parts.push(`${timeOf(((total - done) / perSecond) * 1000)} left`);
  return parts.join('  ');
}
