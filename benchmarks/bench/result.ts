/**
 * The result of `npm run -s bench`: one JSON file, which schema.json describes and `checked` holds against it. The
 * report reads nothing else.
 *
 * RESULT-1. The file is replaced as a whole, after each turn: it is a result at every moment, complete or not.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import type { DurabilityClass } from '../stores/store.ts';
import type { BenchStoreName, Plan, PhaseKind } from './plan.ts';

export const FORMAT = 'aiokv-bench';
export const FORMAT_VERSION = 1;

/** Of one operation in one phase, in microseconds. */
export interface Latencies {
  readonly count: number;
  readonly meanUs: number;
  readonly p50Us: number;
  readonly p90Us: number;
  readonly p95Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly p9999Us: number;
  readonly maxUs: number;
  /** Percentiles, and the latency of each, for a picture. */
  readonly points: readonly (readonly [percentile: number, us: number])[];
  /** All of it: a compressed HdrHistogram in base64. */
  readonly histogram: string;
}

/** What a quarter of a second or so of a phase brought. */
export interface Sample {
  readonly seconds: number;
  readonly operationsPerSecond: number;
  readonly spaceAmplification: number | null;
  readonly writeAmplification: number | null;
  readonly rssBytes: number;
}

export interface PhaseResult {
  readonly kind: PhaseKind;
  readonly clients: number;
  /** Operations a second that were attempted; null: as many as possible. */
  readonly target: number | null;
  /** What was in memory when it began. */
  readonly cache: string;
  readonly seed: number;
  readonly seconds: number;
  readonly operations: number;
  readonly operationsPerSecond: number;
  readonly cpuUsPerOperation: number;
  readonly readBytesPerOperation: number;
  readonly writtenBytesPerOperation: number;
  readonly peakRssBytes: number;
  readonly loopP99Ms: number;
  readonly loopMaxMs: number;
  /** Blocks of the directory over keys and values of its records; null where there is no directory. */
  readonly spaceAmplification: number | null;
  /** Operations that failed, and values that were not as they were written. */
  readonly failures: number;
  readonly mismatches: number;
  readonly verified: number;
  readonly latencies: Readonly<Record<string, Latencies>>;
  readonly samples?: readonly Sample[];
}

export interface Turn {
  readonly id: string;
  readonly store: BenchStoreName;
  readonly durability: DurabilityClass;
  readonly recordBytes: number;
  readonly round: number;
  readonly seconds: number;
  readonly phases: readonly PhaseResult[];
  readonly error?: string;
}

/** A row of aio-bench. */
export interface DepthRow {
  readonly engine: string;
  readonly iodepth: number;
  readonly round: number;
  readonly iops: number | null;
  readonly p50us: number | null;
  readonly p99us: number | null;
  readonly cpuUsPerRequest: number | null;
  readonly error?: string;
}

export interface StoreInfo {
  readonly name: BenchStoreName;
  /** Null: it is not installed, and is a gap. */
  readonly version: string | null;
  /** By class: its settings with their sources, or why it has none. */
  readonly classes: Readonly<
    Record<DurabilityClass, { readonly settings: readonly { text: string; source: string }[]; readonly gap?: string }>
  >;
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly fileSystem: string;
  readonly node: string;
  readonly fio: string | null;
  readonly commit: string | null;
}

export interface BenchResult {
  readonly format: typeof FORMAT;
  readonly version: typeof FORMAT_VERSION;
  readonly isComplete: boolean;
  readonly command: string;
  readonly startedAt: string;
  /** Of measuring, interruptions left out. */
  readonly seconds: number;
  readonly machine: Machine;
  readonly stores: readonly StoreInfo[];
  readonly plan: Plan;
  /** The driver alone, with a database that keeps nothing. */
  readonly driver: PhaseResult | null;
  readonly depths: readonly DepthRow[];
  readonly turns: readonly Turn[];
  /** What was left out, and why. */
  readonly skipped: readonly string[];
}

const schema: object = JSON.parse(readFileSync(new URL('schema.json', import.meta.url), 'utf8')) as object;

/** @throws Error that says where it departs from the schema */
export function checked(value: unknown, name: string): BenchResult {
  const ajv = new Ajv({ allErrors: false });
  if (ajv.validate(schema, value)) return value as BenchResult;
  throw new Error(`${name} is no result of npm run -s bench: ${ajv.errorsText()}`);
}

export function readResult(path: string): BenchResult {
  return checked(JSON.parse(readFileSync(path, 'utf8')), path);
}

/** RESULT-1. */
export function writeResult(path: string, result: BenchResult): void {
  writeFileSync(`${path}.new`, `${JSON.stringify(checked(result, path), null, 1)}\n`);
  renameSync(`${path}.new`, path);
}
