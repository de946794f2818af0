/**
 * All that is measured in a phase: for each operation a series of latencies, another one of latencies from
 * the intended start where that is asked for, and how often each return code came.
 *
 * ```
 *   measurement.interval   measure() goes to   measureIntended() goes to   codes are shown with
 *   op                     READ                nowhere                     READ
 *   intended               nowhere             READ                        READ
 *   both                   READ                Intended-READ               READ
 * ```
 */
import type { Histogram } from 'hdr-histogram-js';
import type { Settings } from '../settings.ts';
import { BucketSeries } from './bucket-series.ts';
import { HdrSeries } from './hdr-series.ts';
import { integerRow } from './result-row.ts';
import type { ResultRow } from './result-row.ts';
import type { Series } from './series.ts';
import { TimeSeries } from './time-series.ts';

/** What an operation came to. */
export type Status = 'OK' | 'NOT_FOUND' | 'ERROR' | 'UNEXPECTED_STATE';

interface Measured {
  /** As the results have it, such as `Intended-READ`. */
  readonly name: string;
  readonly series: Series;
  readonly codes: Map<Status, number>;
}

export class Measurements {
  readonly #settings: Settings;
  readonly #interval: Settings['measurement.interval'];
  readonly #direct = new Map<string, Measured>();
  readonly #intended = new Map<string, Measured>();

  constructor(settings: Settings) {
    this.#settings = settings;
    this.#interval = settings['measurement.interval'];
  }

  /** Takes down how long an operation took, from its start and from its intended start. */
  measure(operation: string, startMs: number, intendedStartMs: number, endMs: number): void {
    if (this.#interval !== 'intended') {
      this.#directOf(operation).series.measure(wholeUs(endMs - startMs), endMs);
    }
    if (this.#interval !== 'op') {
      this.#intendedOf(operation).series.measure(wholeUs(endMs - intendedStartMs), endMs);
    }
  }

  /** As `measure`, for what has no intended start. */
  measureDirect(operation: string, latencyMs: number, endMs: number): void {
    if (this.#interval !== 'intended') this.#directOf(operation).series.measure(wholeUs(latencyMs), endMs);
  }

  reportStatus(operation: string, status: Status): void {
    const { codes } = this.#interval === 'intended' ? this.#intendedOf(operation) : this.#directOf(operation);
    codes.set(status, (codes.get(status) ?? 0) + 1);
  }

  /** How often an operation came to something. */
  countOf(operation: string, status: Status): number {
    const measured = (this.#interval === 'intended' ? this.#intended : this.#direct).get(operation);
    return measured?.codes.get(status) ?? 0;
  }

  /** What was measured since this was last asked, in one line. */
  summary(): string {
    return this.#all()
      .map(([, { series }]) => series.summary())
      .filter((text) => text !== '')
      .join(' ');
  }

  /** The latencies of each operation, where they are kept as histograms. */
  histograms(): [string, Histogram][] {
    return this.#all().flatMap(([, { name, series }]) =>
      series.histogram === undefined ? [] : [[name, series.histogram] as [string, Histogram]],
    );
  }

  rows(): ResultRow[] {
    return this.#all().flatMap(([name, { series, codes }]) =>
      series.rows([...codes].map(([status, count]) => integerRow(name, `Return=${status}`, count))),
    );
  }

  #all(): [string, Measured][] {
    return [...this.#direct, ...this.#intended];
  }

  #directOf(operation: string): Measured {
    return this.#direct.get(operation) ?? this.#add(this.#direct, operation, operation);
  }

  #intendedOf(operation: string): Measured {
    const name = this.#interval === 'both' ? `Intended-${operation}` : operation;
    return this.#intended.get(operation) ?? this.#add(this.#intended, operation, name);
  }

  #add(all: Map<string, Measured>, operation: string, name: string): Measured {
    const measured: Measured = {
      name,
      series: SERIES[this.#settings.measurementtype](name, this.#settings),
      codes: new Map<Status, number>(),
    };
    all.set(operation, measured);
    return measured;
  }
}

const SERIES: Readonly<Record<Settings['measurementtype'], (name: string, settings: Settings) => Series>> = {
  hdrhistogram: (name, settings) => new HdrSeries(name, settings['hdrhistogram.percentiles']),
  histogram: (name, settings) => new BucketSeries(name, settings['histogram.buckets']),
  timeseries: (name, settings) => new TimeSeries(name, settings['timeseries.granularity']),
  'hdrhistogram+histogram': (name, settings) =>
    both(SERIES.hdrhistogram(`Hdr${name}`, settings), SERIES.histogram(`Bucket${name}`, settings)),
};

/** Latencies kept in two ways; the return codes are shown once, with the first. */
function both(first: Series, second: Series): Series {
  return {
    measure(latencyUs, nowMs) {
      first.measure(latencyUs, nowMs);
      second.measure(latencyUs, nowMs);
    },
    summary: () => `${first.summary()} ${second.summary()}`.trim(),
    rows: (returnCodes) => [...first.rows(returnCodes), ...second.rows([])],
  };
}

function wholeUs(durationMs: number): number {
  return Math.max(0, Math.floor(durationMs * 1000));
}
