/** The average latency of each stretch of time, `measurementtype=timeseries`; stretches without any are left out. */
import { integerRow, realRow } from './result-row.ts';
import type { ResultRow } from './result-row.ts';
import { short } from './series.ts';
import type { Series } from './series.ts';

interface Stretch {
  readonly startMs: number;
  count: number;
  sumUs: number;
}

export class TimeSeries implements Series {
  readonly #name: string;
  readonly #stretchMs: number;
  readonly #stretches: Stretch[] = [];
  #firstMs = Number.NaN;
  #count = 0;
  #sumUs = 0;
  #minUs = Infinity;
  #maxUs = 0;
  #countBefore = 0;
  #sumBeforeUs = 0;

  constructor(name: string, stretchMs: number) {
    this.#name = name;
    this.#stretchMs = stretchMs;
  }

  measure(latencyUs: number, nowMs: number): void {
    if (this.#count === 0) this.#firstMs = nowMs;
    const startMs = Math.floor((nowMs - this.#firstMs) / this.#stretchMs) * this.#stretchMs;
    let stretch = this.#stretches.at(-1);
    if (stretch?.startMs !== startMs) {
      stretch = { startMs, count: 0, sumUs: 0 };
      this.#stretches.push(stretch);
    }
    stretch.count++;
    stretch.sumUs += latencyUs;
    this.#count++;
    this.#sumUs += latencyUs;
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
    return [
      integerRow(name, 'Operations', this.#count),
      realRow(name, 'AverageLatency(us)', this.#sumUs / Math.max(1, this.#count)),
      integerRow(name, 'MinLatency(us)', this.#count === 0 ? 0 : this.#minUs),
      integerRow(name, 'MaxLatency(us)', this.#maxUs),
      ...returnCodes,
      ...this.#stretches.map(({ startMs, count, sumUs }) => realRow(name, String(startMs), sumUs / count)),
    ];
  }
}
