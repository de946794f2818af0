/**
 * What the page says, as plots and tables, from results. Pure: nothing here knows HTML. A section has a table with every
 * number of its plots.
 */
import { DURABILITY_CLASSES } from '../stores/store.ts';
import type { DurabilityClass } from '../stores/store.ts';
import type { BenchResult, PhaseResult } from '../bench/result.ts';
import { enginesOf, figuresOf, latenciesOf, medianOf, spreadOf } from './figures.ts';
import type { Figures } from './figures.ts';

interface Line {
  readonly label: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface LinePlot {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly isLogX: boolean;
  readonly isLogY: boolean;
  /** Written at the ticks of x in place of numbers. */
  readonly xNames?: readonly (readonly [x: number, name: string])[];
  readonly lines: readonly Line[];
}

export interface BarPlot {
  readonly title: string;
  readonly unit: string;
  readonly bars: readonly { readonly label: string; readonly value: number }[];
}

export interface Table {
  readonly columns: readonly { readonly heading: string; readonly digits?: number }[];
  readonly rows: readonly (readonly (string | number | null)[])[];
}

export interface Section {
  readonly id: string;
  readonly title: string;
  readonly text: string;
  readonly lines: readonly LinePlot[];
  readonly bars: readonly BarPlot[];
  readonly table: Table;
}

const CLASS_TEXTS: Readonly<Record<DurabilityClass, string>> = {
  none: 'An acknowledged write may go with the process.',
  written: 'An acknowledged write survives kill -9, and perhaps not a loss of power.',
  flushed: 'An acknowledged write survives a loss of power.',
};
const WORKLOADS = ['load', 'C', 'A', 'B', 'F', 'D', 'E'] as const;
const NAMES: Readonly<Record<string, string>> = {
  load: 'load',
  A: 'A: half updates',
  B: 'B: 5 % updates',
  C: 'C: reads',
  D: 'D: newest records',
  E: 'E: scans',
  F: 'F: read, then update',
  cold: 'cold reads',
  churn: 'overwriting',
};
const rate = (phase: PhaseResult): number => phase.operationsPerSecond;

export function sectionsOf(results: readonly BenchResult[]): Section[] {
  const figures = figuresOf(results);
  const groups = groupsOf(figures);
  return [
    depthSection(results, figures),
    ...groups.map((group) => workloadSection(group)),
    commitSection(figures),
    ...groups.map((group) => distributionSection(group)),
    ...groups.map((group) => curveSection(group)),
    ...groups.map((group) => churnSection(group)),
    ...groups.map((group) => costSection(group)),
  ].filter(({ table }) => table.rows.length > 0);
}

/** Of one class and one size of records; classes never stand together. */
interface Group {
  readonly id: string;
  readonly name: string;
  readonly durability: DurabilityClass;
  readonly figures: readonly Figures[];
}

function groupsOf(figures: readonly Figures[]): Group[] {
  const sizes = [...new Set(figures.map(({ recordBytes }) => recordBytes))].sort((a, b) => b - a);
  return DURABILITY_CLASSES.toSorted((a, b) => order(a) - order(b)).flatMap((durability) =>
    sizes.flatMap((size) => {
      const some = figures.filter((one) => one.durability === durability && one.recordBytes === size);
      const name = `class ${durability}, records of ${size} bytes`;
      return some.length === 0 ? [] : [{ id: `${durability}-${size}`, name, durability, figures: some }];
    }),
  );
}

function order(durability: DurabilityClass): number {
  return ['written', 'none', 'flushed'].indexOf(durability);
}

function depthSection(results: readonly BenchResult[], figures: readonly Figures[]): Section {
  const engines = enginesOf(results);
  const cold = figures.filter(({ kind }) => kind === 'cold');
  const size = Math.max(0, ...cold.map(({ recordBytes }) => recordBytes));
  const stores = cold.filter(({ recordBytes }) => recordBytes === size);
  const rows = [
    ...engines.map(({ label, iodepth, iops, p99Us, cpuUs }) => [label, '4 KiB blocks', iodepth, iops, p99Us, cpuUs]),
    ...stores.map((one) => [
      one.label,
      `gets, ${one.durability}`,
      one.clients,
      medianOf(one, rate),
      medianOf(one, (phase) => latenciesOf(phase)?.p99Us ?? 0),
      medianOf(one, (phase) => phase.cpuUsPerOperation),
    ]),
  ] as (string | number)[][];
  const plot = (title: string, y: string, column: number): LinePlot => ({
    title,
    x: 'in flight',
    y,
    isLogX: true,
    isLogY: true,
    lines: linesOf(rows, column),
  });
  return {
    id: 'depth',
    title: 'Random reads over queue depth',
    text:
      'Engines of the queue read blocks of a file with O_DIRECT, as fio does; fs is libuv’s pool of threads. Stores get each ' +
      'record once, after their files left the page cache: a block that was read may hold other records, and the kernel may read ahead.',
    lines: [plot('Reads a second', 'reads/s', 3), plot('Latency, 99th percentile', 'us', 4)],
    bars: [],
    table: {
      columns: [
        { heading: 'who' },
        { heading: 'what' },
        { heading: 'in flight', digits: 0 },
        { heading: 'reads/s', digits: 0 },
        { heading: 'p99, us', digits: 0 },
        { heading: 'CPU, us a read', digits: 1 },
      ],
      rows,
    },
  };
}

/** A line for each of the first two cells, over the third. */
function linesOf(rows: readonly (readonly (string | number)[])[], column: number): Line[] {
  const lines = new Map<string, [number, number][]>();
  for (const row of rows) {
    const label = String(row[0]);
    lines.set(label, [...(lines.get(label) ?? []), [row[2] as number, row[column] as number]]);
  }
  return [...lines].map(([label, points]) => ({ label, points: points.sort((a, b) => a[0] - b[0]) }));
}

function workloadSection({ id, name, durability, figures }: Group): Section {
  const kinds = WORKLOADS.filter((kind) => figures.some((one) => one.kind === kind));
  const some = kinds.flatMap((kind) => figures.filter((one) => one.kind === kind));
  return {
    id: `workloads-${id}`,
    title: `Workloads, ${name}`,
    text: `${CLASS_TEXTS[durability]} Operations a second of 128 clients, or as many as the table says; longer is better.`,
    lines: [],
    bars: kinds.map((kind) => ({
      title: NAMES[kind] ?? kind,
      unit: 'operations/s',
      bars: some.filter((one) => one.kind === kind).map((one) => ({ label: one.label, value: medianOf(one, rate) })),
    })),
    table: {
      columns: [
        { heading: 'workload' },
        { heading: 'store' },
        { heading: 'clients', digits: 0 },
        { heading: 'operations/s', digits: 0 },
        { heading: 'spread, %', digits: 0 },
        { heading: 'rounds', digits: 0 },
        { heading: 'failures', digits: 0 },
        { heading: 'wrong values', digits: 0 },
      ],
      rows: some.map((one) => [
        NAMES[one.kind] ?? one.kind,
        one.label,
        one.clients,
        medianOf(one, rate),
        100 * spreadOf(one, rate),
        one.rounds.length,
        sum(one, (phase) => phase.failures),
        sum(one, (phase) => phase.mismatches),
      ]),
    },
  };
}

function sum({ rounds }: Figures, of: (phase: PhaseResult) => number): number {
  return rounds.reduce((total, phase) => total + of(phase), 0);
}

function commitSection(figures: readonly Figures[]): Section {
  const commits = figures.filter(({ kind, durability }) => kind === 'commits' && durability === 'flushed');
  const counts = [...new Set(commits.map(({ clients }) => clients))].sort((a, b) => a - b);
  return {
    id: 'commits',
    title: 'Commits that survive a loss of power',
    text: 'New records, each awaited by its writer, class flushed. One writer waits for a flush each time; many can share them.',
    lines: [],
    bars: counts.map((clients) => ({
      title: clients === 1 ? 'One writer' : `${clients} writers`,
      unit: 'commits/s',
      bars: commits
        .filter((one) => one.clients === clients)
        .map((one) => ({ label: one.label, value: medianOf(one, rate) })),
    })),
    table: {
      columns: [
        { heading: 'store' },
        { heading: 'record, bytes', digits: 0 },
        { heading: 'writers', digits: 0 },
        { heading: 'commits/s', digits: 0 },
        { heading: 'p99, us', digits: 0 },
        { heading: 'written, bytes a commit', digits: 0 },
      ],
      rows: commits.map((one) => [
        one.label,
        one.recordBytes,
        one.clients,
        medianOf(one, rate),
        medianOf(one, (phase) => latenciesOf(phase)?.p99Us ?? 0),
        medianOf(one, (phase) => phase.writtenBytesPerOperation),
      ]),
    },
  };
}

const PERCENTILES = [50, 90, 99, 99.9, 99.99] as const;

function distributionSection({ id, name, figures }: Group): Section {
  const kinds = (['cold', 'C', 'A', 'E'] as const).filter((kind) => figures.some((one) => one.kind === kind));
  const shown = (kind: string): Figures[] => {
    const all = figures.filter((one) => one.kind === kind);
    const most = Math.max(0, ...all.map(({ clients }) => clients));
    return all.filter(({ clients }) => clients === most);
  };
  const some = kinds.flatMap((kind) => shown(kind));
  return {
    id: `latencies-${id}`,
    title: `Latencies, ${name}`,
    text:
      'Of reads, of scans for E, with all clients at once and as fast as the store goes: the one that is asked for most waits longest. ' +
      'To the right is rarer; both axes are logarithmic. Of the round with the median rate.',
    lines: kinds.map((kind) => ({
      title: NAMES[kind] ?? kind,
      x: 'percentile',
      y: 'us',
      isLogX: true,
      isLogY: true,
      xNames: PERCENTILES.map((percentile) => [rarity(percentile), `${percentile}`] as const),
      lines: shown(kind).map((one) => ({
        label: one.label,
        points: (latenciesOf(typical(one))?.points ?? [])
          .filter(([percentile]) => percentile < 100)
          .map(([percentile, us]) => [rarity(percentile), us] as const),
      })),
    })),
    bars: [],
    table: {
      columns: [
        { heading: 'workload' },
        { heading: 'store' },
        ...['p50', 'p95', 'p99', 'p99.9', 'p99.99', 'most'].map((heading) => ({
          heading: `${heading}, us`,
          digits: 0,
        })),
      ],
      rows: some.map((one) => {
        const latencies = latenciesOf(typical(one));
        return [
          NAMES[one.kind] ?? one.kind,
          one.label,
          latencies?.p50Us ?? null,
          latencies?.p95Us ?? null,
          latencies?.p99Us ?? null,
          latencies?.p999Us ?? null,
          latencies?.p9999Us ?? null,
          latencies?.maxUs ?? null,
        ];
      }),
    },
  };
}

/** One of so many is slower. */
function rarity(percentile: number): number {
  return 100 / (100 - percentile);
}

/** The round whose rate lies in the middle. */
function typical({ rounds }: Figures): PhaseResult {
  const sorted = [...rounds].sort((a, b) => a.operationsPerSecond - b.operationsPerSecond);
  return sorted[sorted.length >> 1] as PhaseResult;
}

function curveSection({ id, name, figures }: Group): Section {
  const some = figures.filter(({ kind }) => kind === 'curve');
  const intended = (phase: PhaseResult): number => phase.latencies['Intended-READ']?.p99Us ?? 0;
  const rows = some.map((one) => [
    one.label,
    'C',
    medianOf(one, (phase) => phase.target ?? 0),
    medianOf(one, rate),
    medianOf(one, intended),
    medianOf(one, (phase) => phase.latencies['READ']?.p99Us ?? 0),
  ]);
  return {
    id: `curve-${id}`,
    title: `Latency against load, ${name}`,
    text:
      'Workload C at 25, 50, 75 and 90 % of what each store reached. The latency counts from when a read was meant to start, ' +
      'so that a wait is not left out (coordinated omission).',
    lines: [
      {
        title: '99th percentile from the intended start',
        x: 'reads/s attempted',
        y: 'us',
        isLogX: true,
        isLogY: true,
        lines: linesOf(rows, 4),
      },
    ],
    bars: [],
    table: {
      columns: [
        { heading: 'store' },
        { heading: 'workload' },
        { heading: 'attempted/s', digits: 0 },
        { heading: 'reached/s', digits: 0 },
        { heading: 'p99 from the intended start, us', digits: 0 },
        { heading: 'p99 from the start, us', digits: 0 },
      ],
      rows,
    },
  };
}

function churnSection({ id, name, figures }: Group): Section {
  const some = figures.filter(({ kind }) => kind === 'churn');
  const over = (title: string, y: string, of: 'operationsPerSecond' | 'spaceAmplification' | 'writeAmplification') => ({
    title,
    x: 's',
    y,
    isLogX: false,
    isLogY: of === 'operationsPerSecond',
    lines: some.map((one) => ({
      label: one.label,
      points: (typical(one).samples ?? []).flatMap((sample) => {
        const value = sample[of];
        return value === null || value <= 0 ? [] : [[sample.seconds, value] as const];
      }),
    })),
  });
  return {
    id: `churn-${id}`,
    title: `Overwriting, ${name}`,
    text:
      'All clients overwrite random records as a whole. Space is the blocks of the directory over keys and values; ' +
      'written is what the process had the kernel write over the values that were put.',
    lines: [
      over('Operations a second', 'operations/s', 'operationsPerSecond'),
      over('Space', 'times the data', 'spaceAmplification'),
      over('Written', 'times what was put', 'writeAmplification'),
    ],
    bars: [],
    table: {
      columns: [
        { heading: 'store' },
        { heading: 'operations/s', digits: 0 },
        { heading: 'space at the end', digits: 2 },
        { heading: 'written at the end', digits: 2 },
        { heading: 'longest, us', digits: 0 },
      ],
      rows: some.map((one) => {
        const last = typical(one).samples?.at(-1);
        return [
          one.label,
          medianOf(one, rate),
          last?.spaceAmplification ?? null,
          last?.writeAmplification ?? null,
          medianOf(one, (phase) => latenciesOf(phase)?.maxUs ?? 0),
        ];
      }),
    },
  };
}

function costSection({ id, name, figures }: Group): Section {
  const some = figures.filter(({ kind }) => kind in NAMES);
  const delays = some.filter(({ kind }) => kind === 'A');
  return {
    id: `costs-${id}`,
    title: `What an operation costs, ${name}`,
    text:
      'Processor time of the whole process, the driver’s own included; bytes that the device gave and took; the event loop: how much ' +
      'later than 1 ms a timer came; memory of the process.',
    lines: [],
    bars: [
      {
        title: 'Event loop in workload A, longest delay',
        unit: 'ms',
        bars: delays.map((one) => ({ label: one.label, value: medianOf(one, (phase) => phase.loopMaxMs) })),
      },
      {
        title: 'Memory in workload A, most',
        unit: 'MiB',
        bars: delays.map((one) => ({
          label: one.label,
          value: medianOf(one, (phase) => phase.peakRssBytes) / 2 ** 20,
        })),
      },
    ].filter(({ bars }) => bars.length > 0),
    table: {
      columns: [
        { heading: 'workload' },
        { heading: 'store' },
        { heading: 'clients', digits: 0 },
        { heading: 'CPU, us', digits: 1 },
        { heading: 'read, bytes', digits: 0 },
        { heading: 'written, bytes', digits: 0 },
        { heading: 'loop p99, ms', digits: 1 },
        { heading: 'loop most, ms', digits: 1 },
        { heading: 'RSS, MiB', digits: 0 },
        { heading: 'space', digits: 2 },
      ],
      rows: some.map((one) => [
        NAMES[one.kind] ?? one.kind,
        one.label,
        one.clients,
        medianOf(one, (phase) => phase.cpuUsPerOperation),
        medianOf(one, (phase) => phase.readBytesPerOperation),
        medianOf(one, (phase) => phase.writtenBytesPerOperation),
        medianOf(one, (phase) => phase.loopP99Ms),
        medianOf(one, (phase) => phase.loopMaxMs),
        medianOf(one, (phase) => phase.peakRssBytes) / 2 ** 20,
        one.rounds.every(({ spaceAmplification }) => spaceAmplification === null)
          ? null
          : medianOf(one, (phase) => phase.spaceAmplification ?? 0),
      ]),
    },
  };
}
