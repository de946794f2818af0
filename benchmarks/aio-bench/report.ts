/** Rows, as JSON and as a table with the ratios to fio, and what is made of several rounds. */
import type { Drift } from './drift.ts';
import type { FioFigures } from './fio.ts';
import type { Figures } from './load.ts';
import { formatSize } from './options.ts';
import type { BenchEngine, Workload } from './options.ts';

/** A row of the result; `null` where nothing was measured, and then there is an `error`. */
export interface Row {
  readonly engine: BenchEngine;
  readonly rw: Workload;
  /** In bytes. */
  readonly bs: number;
  readonly iodepth: number;
  readonly iops: number | null;
  readonly p50us: number | null;
  readonly p99us: number | null;
  readonly cpuUsPerRequest: number | null;
  readonly fio: FioFigures | null;
  readonly drift?: Drift | null;
  readonly error?: string;
}

/** Field by field. Requires one at least. */
export function medians(rounds: readonly Figures[]): Figures {
  const drifts = rounds.flatMap(({ drift }) => (drift === null ? [] : [drift]));
  const drift = drifts.length === 0 ? null : medianOf(drifts, 'p99Ms', 'maxMs', 'ticksRatio');
  return { ...medianOf(rounds, 'iops', 'p50us', 'p99us', 'cpuUsPerRequest'), drift };
}

/** As `medians`; null without any. */
export function fioMedians(rounds: readonly FioFigures[]): FioFigures | null {
  return rounds.length === 0 ? null : medianOf(rounds, 'iops', 'p50us', 'p99us', 'cpuUsPerRequest');
}

export function formatJson(rows: readonly Row[]): string {
  const rounded = (key: string, value: unknown): unknown =>
    typeof value === 'number' ? Number(value.toFixed(key === 'ticksRatio' ? 3 : 2)) : value;
  return JSON.stringify(rows, rounded, 2);
}

export function formatText(rows: readonly Row[], fioCommands: readonly string[]): string {
  const withFio = rows.some(({ fio }) => fio !== null);
  const withDrift = rows.some(({ drift }) => drift !== undefined && drift !== null);
  const columns = COLUMNS.filter(({ of }) => of === 'us' || (of === 'fio' ? withFio : withDrift));
  const failed = rows.flatMap((row) =>
    row.error === undefined
      ? []
      : [`error: ${row.engine} ${row.rw} ${formatSize(row.bs)} ${row.iodepth}: ${row.error}`],
  );
  const commands = fioCommands.length === 0 ? [] : ['fio, with each iodepth in its place, at 1 without the batches:'];
  return [table(columns, rows), failed.join('\n'), ratios(rows).join('\n'), [...commands, ...fioCommands].join('\n')]
    .filter((part) => part !== '')
    .join('\n\n');
}

interface Column {
  readonly heading: string;
  readonly of: 'us' | 'fio' | 'drift';
  readonly cell: (row: Row) => string;
}

const COLUMNS: readonly Column[] = [
  { heading: 'engine', of: 'us', cell: ({ engine }) => engine },
  { heading: 'rw', of: 'us', cell: ({ rw }) => rw },
  { heading: 'bs', of: 'us', cell: ({ bs }) => formatSize(bs) },
  { heading: 'iodepth', of: 'us', cell: ({ iodepth }) => String(iodepth) },
  { heading: 'IOPS', of: 'us', cell: ({ iops, error }) => (error === undefined ? whole(iops) : 'error') },
  { heading: 'p50 us', of: 'us', cell: ({ p50us }) => whole(p50us) },
  { heading: 'p99 us', of: 'us', cell: ({ p99us }) => whole(p99us) },
  { heading: 'CPU us/request', of: 'us', cell: ({ cpuUsPerRequest }) => decimal(cpuUsPerRequest) },
  { heading: 'fio IOPS', of: 'fio', cell: ({ fio }) => whole(fio?.iops) },
  { heading: 'fio p50', of: 'fio', cell: ({ fio }) => whole(fio?.p50us) },
  { heading: 'fio p99', of: 'fio', cell: ({ fio }) => whole(fio?.p99us) },
  { heading: 'fio CPU', of: 'fio', cell: ({ fio }) => decimal(fio?.cpuUsPerRequest) },
  { heading: 'x IOPS', of: 'fio', cell: (row) => decimal(ratioOf(row, 'iops')) },
  { heading: 'x CPU', of: 'fio', cell: (row) => decimal(ratioOf(row, 'cpuUsPerRequest')) },
  { heading: 'drift p99 ms', of: 'drift', cell: ({ drift }) => decimal(drift?.p99Ms) },
  { heading: 'max ms', of: 'drift', cell: ({ drift }) => decimal(drift?.maxMs) },
  { heading: 'ticks', of: 'drift', cell: ({ drift }) => decimal(drift?.ticksRatio) },
];

function table(columns: readonly Column[], rows: readonly Row[]): string {
  const lines = [columns.map(({ heading }) => heading), ...rows.map((row) => columns.map(({ cell }) => cell(row)))];
  const widths = columns.map((_, at) => Math.max(...lines.map((line) => (line[at] as string).length)));
  const [engineWidth = 0] = widths;
  return lines
    .map(([engine = '', ...cells]) =>
      [engine.padEnd(engineWidth), ...cells.map((cell, at) => cell.padStart(widths[at + 1] as number))].join('  '),
    )
    .join('\n');
}

/** For each engine: how it stands against fio, over all its rows. */
function ratios(rows: readonly Row[]): string[] {
  return [...new Set(rows.map(({ engine }) => engine))].flatMap((engine) => {
    const values = rows
      .filter((row) => row.engine === engine)
      .map((row) => ratioOf(row, 'iops'))
      .filter((value) => value !== null);
    if (values.length === 0) return [];
    const mean = Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
    return [
      `${engine}: IOPS x ${mean.toFixed(2)} of fio (geometric mean), x ${Math.min(...values).toFixed(2)} at least`,
    ];
  });
}

function ratioOf(row: Row, field: 'iops' | 'cpuUsPerRequest'): number | null {
  const ours = row[field];
  return ours === null || row.fio === null ? null : ours / row.fio[field];
}

function whole(value: number | null | undefined): string {
  return value === null || value === undefined ? '' : Math.round(value).toLocaleString('en');
}

function decimal(value: number | null | undefined): string {
  return value === null || value === undefined ? '' : value.toFixed(2);
}

function medianOf<K extends string>(rounds: readonly Readonly<Record<K, number>>[], ...fields: K[]): Record<K, number> {
  return Object.fromEntries(fields.map((field) => [field, median(rounds.map((round) => round[field]))])) as Record<
    K,
    number
  >;
}

/** Of an even number: the mean of the two in the middle. */
function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] as number) + upper) / 2;
}
