/** Medians over the rounds of one or several results. Pure; the page shows these numbers and no others. */
import type { DurabilityClass } from '../stores/store.ts';
import type { BenchResult, Latencies, PhaseResult } from '../bench/result.ts';

/** What one store did in one phase, in all rounds. */
export interface Figures {
  /** Of the results that were given; -1 is none of them. */
  readonly result: number;
  /** The store, with the letter of its result where there are several. */
  readonly label: string;
  readonly durability: DurabilityClass;
  readonly recordBytes: number;
  readonly kind: PhaseResult['kind'];
  readonly clients: number;
  /** Which of several phases of a kind with as many clients: rates of a load curve. */
  readonly index: number;
  readonly rounds: readonly PhaseResult[];
}

export interface Engine {
  readonly label: string;
  readonly iodepth: number;
  readonly iops: number;
  readonly p99Us: number;
  readonly cpuUs: number;
}

function labelOf(name: string, result: number, results: readonly BenchResult[]): string {
  return results.length === 1 ? name : `${letterOf(result)} ${name}`;
}

export function letterOf(result: number): string {
  return String.fromCharCode(65 + result);
}

export function figuresOf(results: readonly BenchResult[]): Figures[] {
  const all = new Map<string, Figures & { rounds: PhaseResult[] }>();
  for (const [result, { turns }] of results.entries()) {
    for (const { store, durability, recordBytes, phases } of turns) {
      const seen = new Map<string, number>();
      for (const phase of phases) {
        const place = `${phase.kind} ${phase.clients}`;
        const index = seen.get(place) ?? 0;
        seen.set(place, index + 1);
        const key = [result, store, durability, recordBytes, place, index].join(' ');
        const { kind, clients } = phase;
        const label = labelOf(store, result, results);
        const known = all.get(key) ?? { result, label, durability, recordBytes, kind, clients, index, rounds: [] };
        known.rounds.push(phase);
        all.set(key, known);
      }
    }
  }
  return [...all.values()];
}

export function enginesOf(results: readonly BenchResult[]): Engine[] {
  return results.flatMap(({ depths }, result) => {
    const places = [...new Set(depths.map(({ engine, iodepth }) => `${engine} ${iodepth}`))];
    return places.flatMap((place) => {
      const rows = depths.filter(({ engine, iodepth, iops }) => `${engine} ${iodepth}` === place && iops !== null);
      const [first] = rows;
      if (first === undefined) return [];
      const of = (field: 'iops' | 'p99us' | 'cpuUsPerRequest'): number => median(rows.map((row) => row[field] ?? 0));
      const label = labelOf(first.engine, result, results);
      return [{ label, iodepth: first.iodepth, iops: of('iops'), p99Us: of('p99us'), cpuUs: of('cpuUsPerRequest') }];
    });
  });
}

export function medianOf(figures: Figures, of: (phase: PhaseResult) => number): number {
  return median(figures.rounds.map(of));
}

/** How far apart the rounds lie: the greatest less the least, as a part of the median. */
export function spreadOf(figures: Figures, of: (phase: PhaseResult) => number): number {
  const values = figures.rounds.map(of).sort((a, b) => a - b);
  const middle = median(values);
  return middle === 0 ? 0 : ((values.at(-1) as number) - (values[0] as number)) / middle;
}

/** The series of a phase that is asked about: of reads where there are any. */
export function latenciesOf({ latencies }: PhaseResult): Latencies | undefined {
  return latencies['READ'] ?? latencies['SCAN'] ?? latencies['UPDATE'] ?? latencies['INSERT'];
}

/** Of an even number: the mean of the two in the middle. */
function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] as number) + upper) / 2;
}
