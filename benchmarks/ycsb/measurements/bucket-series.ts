/**
 * Latencies counted in buckets of one millisecond, `measurementtype=histogram`: percentiles are as coarse as
 * that, and are left out where they lie beyond the last bucket.
 */
import { percentileName } from './percentiles.ts';
import { integerRow, realRow } from './result-row.ts';
import type { ResultRow } from './result-row.ts';
import { short } from './series.ts';
import type { Series } from './series.ts';

const PERCENTILES = [95, 99];

export class BucketSeries implements Series {
  readonly #name: string;
  readonly #buckets: Float64Array;
  #count = 0;
  #sumUs = 0;
  #sumOfSquares = 0;
  #minUs = Infinity;
  #maxUs = 0;
  #countBefore = 0;
  #sumBeforeUs = 0;

  constructor(name: string, bucketCount: number) {
    this.#name = name;
    this.#buckets = new Float64Array(bucketCount);
  }

  measure(latencyUs: number): void {
    const at = Math.floor(latencyUs / 1000);
    if (at < this.#buckets.length) this.#buckets[at] = (this.#buckets[at] as number) + 1;
    this.#count++;
    this.#sumUs += latencyUs;
    this.#sumOfSquares += latencyUs * latencyUs;
    this.#minUs = Math.min(this.#minUs, latencyUs);
    this.#maxUs = Math.max(this.#maxUs, latencyUs);
  }

  summary(): string {
    const count = this.#count - this.#countBefore;
    if (count === 0) return '';
    const meanUs = (this.#sumUs - this.#sumBeforeUs) / count;
    this.#countBefore = this.#count;
    this.#sumBeforeUs = this.#sumUs;
    return `[${this.#name} AverageLatency(us)=${short(meanUs)}]`;
  }

  rows(returnCodes: readonly ResultRow[]): ResultRow[] {
    const name = this.#name;
    const count = Math.max(1, this.#count);
    const meanUs = this.#sumUs / count;
    return [
      integerRow(name, 'Operations', this.#count),
      realRow(name, 'AverageLatency(us)', meanUs),
      realRow(name, 'LatencyVariance(us)', this.#sumOfSquares / count - meanUs * meanUs),
      integerRow(name, 'MinLatency(us)', this.#count === 0 ? 0 : this.#minUs),
      integerRow(name, 'MaxLatency(us)', this.#maxUs),
      ...PERCENTILES.flatMap((percentile) => {
        const bucket = this.#bucketOf((this.#count * percentile) / 100);
        return bucket === undefined ? [] : [integerRow(name, percentileName(percentile), bucket * 1000)];
      }),
      ...returnCodes,
    ];
  }

  /** The bucket in which the given number of latencies is reached. */
  #bucketOf(wanted: number): number | undefined {
    let reached = 0;
    const at = this.#buckets.findIndex((count) => (reached += count) >= wanted);
    return at === -1 ? undefined : at;
  }
}
