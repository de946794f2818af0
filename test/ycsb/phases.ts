/** Whole phases on a database in memory, with what they print. */
import type { Db } from '../../benchmarks/ycsb/db.ts';
import { FORMATS } from '../../benchmarks/ycsb/measurements/result-row.ts';
import { runPhase } from '../../benchmarks/ycsb/phase.ts';
import type { PhaseOutcome } from '../../benchmarks/ycsb/phase.ts';
import { readPropertiesFile } from '../../benchmarks/ycsb/properties-file.ts';
import { readSettings } from '../../benchmarks/ycsb/settings.ts';

export type Given = Readonly<Record<string, string>>;

export interface Ran extends PhaseOutcome {
  readonly log: readonly string[];
  readonly text: string;
}

export async function phase(kind: 'load' | 'run', db: Db, given: Given, interrupt?: AbortSignal): Promise<Ran> {
  const log: string[] = [];
  const settings = readSettings(new Map(Object.entries({ seed: '1', ...given })));
  const request = { phase: kind, settings, db, log: (line: string) => void log.push(line) };
  const outcome = await runPhase(interrupt === undefined ? request : { ...request, interrupt });
  return { ...outcome, log, text: FORMATS.text(outcome.rows) };
}

export function workload(letter: string, given: Given = {}): Given {
  return { ...Object.fromEntries(readPropertiesFile(`benchmarks/workloads/workload${letter}`)), ...given };
}

export function valueOf(ran: Ran, metric: string, measurement: string): number {
  return ran.rows.find((row) => row.metric === metric && row.measurement === measurement)?.value ?? 0;
}
