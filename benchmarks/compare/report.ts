/** What one process measured, what is made of several rounds, and the table. */
import { MIB } from '@aiokv/core';
import type { LoopFigures } from '../meters/loop-meter.ts';
import type { EngineName, Phase } from './options.ts';

export interface Figures extends LoopFigures {
  /** Records written or read in a second, the final flush counted. */
  readonly perSecond: number;
  readonly seconds: number;
  /** Of the whole process, all its threads, in that time. */
  readonly cpuSeconds: number;
  readonly writtenBytes: number;
  readonly peakRssBytes: number;
  /** Page cache counted; null without a cgroup, or where the kernel does not tell. */
  readonly peakCgroupBytes: number | null;
  readonly closeSeconds: number;
  readonly spaceBytes: number;
}

export interface Row extends Figures {
  readonly engine: EngineName;
  readonly phase: Phase;
  readonly rounds: number;
  /** aiokv's speed divided by this engine's, median of the rounds; null without aiokv. */
  readonly aiokvTimes: number | null;
}

/** What happened to an engine that has no figures. */
export interface Failure {
  readonly engine: EngineName;
  readonly phase: Phase;
  readonly error: string;
}

/** By round; a hole where the engine failed. */
export type Rounds = ReadonlyMap<EngineName, readonly (Figures | undefined)[]>;

export function rowsOf(rounds: Rounds, phase: Phase): Row[] {
  const ours = rounds.get('aiokv') ?? [];
  return [...rounds].flatMap(([engine, all]) => {
    const figures = all.filter((one) => one !== undefined);
    if (figures.length === 0) return [];
    const ratios = all.flatMap((one, i) => {
      const our = ours[i];
      return one === undefined || our === undefined ? [] : [our.perSecond / one.perSecond];
    });
    const aiokvTimes = ratios.length === 0 ? null : median(ratios);
    return [{ engine, phase, rounds: figures.length, aiokvTimes, ...medians(figures) }];
  });
}

/** Field by field. */
function medians(figures: readonly Figures[]): Figures {
  const of = (field: keyof Figures): number => median(figures.map((one) => one[field] ?? 0));
  return {
    perSecond: of('perSecond'),
    seconds: of('seconds'),
    cpuSeconds: of('cpuSeconds'),
    driftP99Ms: of('driftP99Ms'),
    driftMaxMs: of('driftMaxMs'),
    ownP99Ms: of('ownP99Ms'),
    ownMaxMs: of('ownMaxMs'),
    writtenBytes: of('writtenBytes'),
    peakRssBytes: of('peakRssBytes'),
    peakCgroupBytes: figures.every((one) => one.peakCgroupBytes === null) ? null : of('peakCgroupBytes'),
    closeSeconds: of('closeSeconds'),
    spaceBytes: of('spaceBytes'),
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2;
}

const HEADINGS = [
  'engine',
  'phase',
  'records/s',
  'aiokv is',
  'CPU s',
  'drift p99 ms',
  'max ms',
  'own p99 ms',
  'max ms',
  'RSS MiB',
  'cgroup MiB',
  'written MiB',
  'space MiB',
  'close s',
] as const;

export function formatTable(rows: readonly Row[]): string {
  const cells = rows.map((row) => [
    row.engine,
    row.phase,
    Math.round(row.perSecond).toLocaleString('en-US'),
    row.aiokvTimes === null ? '-' : `${row.aiokvTimes.toFixed(2)} x`,
    row.cpuSeconds.toFixed(1),
    row.driftP99Ms.toFixed(1),
    row.driftMaxMs.toFixed(1),
    row.ownP99Ms.toFixed(1),
    row.ownMaxMs.toFixed(1),
    mebibytes(row.peakRssBytes),
    row.peakCgroupBytes === null ? '-' : mebibytes(row.peakCgroupBytes),
    mebibytes(row.writtenBytes),
    mebibytes(row.spaceBytes),
    row.closeSeconds.toFixed(1),
  ]);
  const lines = [[...HEADINGS], ...cells];
  const widths = HEADINGS.map((_, i) => Math.max(...lines.map((line) => (line[i] as string).length)));
  return lines
    .map((line) =>
      line.map((cell, i) => (i < 2 ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number))).join('  '),
    )
    .join('\n');
}

function mebibytes(bytes: number): string {
  return Math.round(bytes / MIB).toLocaleString('en-US');
}
