/**
 * Latencies in a histogram of high dynamic range: three significant digits from 1 µs to hours. There are two
 * histograms, because a status line tells of the time since the one before: latencies go into the first,
 * which each summary adds to the second and empties.
 */
import { build } from 'hdr-histogram-js';
import type { Histogram } from 'hdr-histogram-js';
import { percentileName } from './percentiles.ts';
import { integerRow, realRow } from './result-row.ts';
import type { ResultRow } from './result-row.ts';
import { short } from './series.ts';
import type { Series } from './series.ts';

export class HdrSeries implements Series {
  readonly #name: string;
  readonly #percentiles: readonly number[];
  readonly #interval = emptyHistogram();
  readonly #total = emptyHistogram();

  constructor(name: string, percentiles: readonly number[]) {
    this.#name = name;
    this.#percentiles = percentiles;
  }

  measure(latencyUs: number): void {
    this.#interval.recordValue(latencyUs);
  }

  get histogram(): Histogram {
    this.#endInterval();
    return this.#total;
  }

  summary(): string {
    const interval = this.#interval;
    const at = (percentile: number): string => short(valueAt(interval, percentile));
    const text =
      `[${this.#name}: Count=${interval.totalCount}, Max=${at(100)}, Min=${at(0)}, Avg=${short(interval.mean)}, ` +
      `50=${at(50)}, 90=${at(90)}, 99=${at(99)}, 99.9=${at(99.9)}, 99.99=${at(99.99)}]`;
    this.#endInterval();
    return text;
  }

  rows(returnCodes: readonly ResultRow[]): ResultRow[] {
    this.#endInterval();
    const name = this.#name;
    const total = this.#total;
    return [
      integerRow(name, 'Operations', total.totalCount),
      realRow(name, 'AverageLatency(us)', total.mean),
      integerRow(name, 'MinLatency(us)', valueAt(total, 0)),
      integerRow(name, 'MaxLatency(us)', valueAt(total, 100)),
      ...this.#percentiles.map((percentile) =>
        integerRow(name, percentileName(percentile), valueAt(total, percentile)),
      ),
      ...returnCodes,
    ];
  }

  #endInterval(): void {
    this.#total.add(this.#interval);
    this.#interval.reset();
  }
}

function emptyHistogram(): Histogram {
  return build({ bitBucketSize: 32, autoResize: true, numberOfSignificantValueDigits: 3 });
}

function valueAt(histogram: Histogram, percentile: number): number {
  return histogram.totalCount === 0 ? 0 : histogram.getValueAtPercentile(percentile);
}
