/** Latencies as the result has them. */
import { encodeIntoCompressedBase64 } from 'hdr-histogram-js';
import type { Measurements } from '../ycsb/measurements/measurements.ts';
import type { Latencies } from './result.ts';

/** Denser towards the end, where stores differ. */
const POINTS = [0, 5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 92.5, 95, 97.5, 98, 99, 99.5, 99.9, 99.95, 99.99, 100];
/** Of the benchmark's own making. */
const LEFT_OUT = /^(?:CLEANUP|VERIFY)$/;

export function latenciesOf(measurements: Measurements): Record<string, Latencies> {
  const all: Record<string, Latencies> = {};
  for (const [name, histogram] of measurements.histograms()) {
    if (LEFT_OUT.test(name) || histogram.totalCount === 0) continue;
    const at = (percentile: number): number => histogram.getValueAtPercentile(percentile);
    all[name] = {
      count: histogram.totalCount,
      meanUs: histogram.mean,
      p50Us: at(50),
      p90Us: at(90),
      p95Us: at(95),
      p99Us: at(99),
      p999Us: at(99.9),
      p9999Us: at(99.99),
      maxUs: histogram.maxValue,
      points: POINTS.map((percentile) => [percentile, at(percentile)] as const),
      histogram: encodeIntoCompressedBase64(histogram),
    };
  }
  return all;
}
