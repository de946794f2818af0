/** Latencies of one kind of call: of the time since the last look, and of a whole phase. Three digits are kept. */
import { build } from 'hdr-histogram-js';
import type { Histogram } from 'hdr-histogram-js';

export interface LatencyFigures {
  readonly count: number;
  /** Zero without a call, as the others. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

const US_PER_MS = 1000;

export class Latencies {
  readonly #interval = emptyHistogram();
  readonly #phase = emptyHistogram();

  record(latencyMs: number): void {
    this.#interval.recordValue(Math.round(latencyMs * US_PER_MS));
  }

  /** Of the time since the last call of this method. */
  takeInterval(): LatencyFigures {
    const figures = figuresOf(this.#interval);
    this.#phase.add(this.#interval);
    this.#interval.reset();
    return figures;
  }

  /** Of the intervals since the last call of this method. */
  takePhase(): LatencyFigures {
    const figures = figuresOf(this.#phase);
    this.#phase.reset();
    return figures;
  }
}

function emptyHistogram(): Histogram {
  return build({ bitBucketSize: 32, autoResize: true, numberOfSignificantValueDigits: 3 });
}

function figuresOf(histogram: Histogram): LatencyFigures {
  const at = (percentile: number): number =>
    histogram.totalCount === 0 ? 0 : histogram.getValueAtPercentile(percentile) / US_PER_MS;
  return { count: histogram.totalCount, p50Ms: at(50), p99Ms: at(99), maxMs: at(100) };
}
