/**
 * The latencies of one operation, kept in one of several ways. A series never looks at the clock; it is told.
 */
import type { Histogram } from 'hdr-histogram-js';
import type { ResultRow } from './result-row.ts';

export interface Series {
  /** @param latencyUs whole microseconds */
  measure(latencyUs: number, nowMs: number): void;
  /** What was measured since this was last asked, for a status line; empty when there is nothing to say. */
  summary(): string;
  /** The results, with the rows of the return codes where the format has them. */
  rows(returnCodes: readonly ResultRow[]): ResultRow[];
  /** All that was measured, where that is kept as a histogram. */
  readonly histogram?: Histogram;
}

/** A number with at most two digits after the point. */
export function short(value: number): string {
  return String(Math.round(value * 100) / 100);
}
