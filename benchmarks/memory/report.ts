/** A line as text, the figures of a run beside what is wanted, and its curves. Pure. */
import { GIB, MIB } from '@aiokv/core';
import { count, mebibytes } from '../common/figures.ts';
import type { Column } from '../common/drawing.ts';
import type { Requirement } from '../common/requirements.ts';
import type { Line, Loaded, Second, Step } from './lines.ts';
import type { Task } from './options.ts';

/** Of a process beside the memory that its store was given. */
const ALLOWED_BYTES = 120 * MIB;
/** Of a call that is not settled, beside its key and value. */
const CALL_BYTES = 400;
const KEY_BYTES = 24;
const RATE_SHARE_MIN = 0.7;
const READS_MAX = 1.9;
/** Of names of statistics. */
const SPENT = 'memory.';
const GIVEN = 'memory.limitBytes';
/** Where the index fits. */
const READS_MAX_OF_MUCH_MEMORY = 1.1;

export function lineText(line: Line): string {
  if (line.kind === 'base') return `${mebibytes(line.rssBytes)} MiB of RSS before a store is opened`;
  const memory = `RSS ${mebibytes(line.rssBytes)} MiB, highest ${mebibytes(line.highestRssBytes)} MiB`;
  if (line.kind === 'second') {
    return (
      `${line.atSeconds.toFixed(0).padStart(4)} s ${count(line.records).padStart(11)} records, ` +
      `${count(line.perSecond)}/s, ${memory}, drift max ${line.driftMaxMs.toFixed(1)} ms ` +
      `(own ${line.ownMaxMs.toFixed(1)}) | ${statisticsText(line)}`
    );
  }
  if (line.kind === 'step') return `${count(line.records)} records: the last at ${count(line.perSecond)}/s, ${memory}`;
  if (line.kind === 'loaded') {
    return `loaded in ${line.seconds.toFixed(1)} s: ${count(line.perSecond)} records/s, ${line.cpuUs.toFixed(2)} us of CPU each, ${memory}`;
  }
  if (line.kind === 'burst') {
    return `${count(line.count)} ${line.what} called in one turn: ${line.seconds.toFixed(2)} s, ${memory}`;
  }
  return (
    `opened in ${line.openSeconds.toFixed(2)} s; ${count(line.gets)} gets, ${count(line.perSecond)}/s, ` +
    `${line.readsPerGet.toFixed(2)} reads each, ${line.pageReadsPerGet.toFixed(2)} of them of pages, ${memory}`
  );
}

export function taskText({ records, valueBytes, memoryBytes, batch, writers, durability }: Task): string {
  return (
    `${count(records)} records of ${KEY_BYTES} + ${valueBytes} bytes, keys in random order, ${mebibytes(memoryBytes)} MiB; ` +
    `batches of ${batch}, ${writers} at a time, ${durability}`
  );
}

export function requirementsOf(task: Task, lines: readonly Line[]): Requirement[] {
  const { memoryBytes, batch, writers, valueBytes } = task;
  const loads = lines.filter((line): line is Loaded => line.kind === 'loaded');
  const loaded = loads.find(({ isBeside }) => !isBeside);
  const beside = loads.find(({ isBeside }) => isBeside);
  const cold = lines.find((line) => line.kind === 'cold');
  const rates = lines
    .filter((line): line is Step => line.kind === 'step' && !line.isBeside)
    .map(({ perSecond }) => perSecond);
  const best = rates.reduce((most, rate) => Math.max(most, rate), 0);
  const rss = (name: string, bytes: number | undefined, waitingCalls: number, callBytes: number): Requirement => ({
    name: `highest RSS, ${name}`,
    measured: bytes === undefined ? null : bytes / MIB,
    wanted: { atMost: (memoryBytes + ALLOWED_BYTES + waitingCalls * (KEY_BYTES + valueBytes + callBytes)) / MIB },
    unit: 'MiB',
  });
  return [
    rss('load', loaded?.highestRssBytes, batch * writers, 0),
    {
      name: 'rate of the last step over the best',
      measured: rates.length < 2 ? null : (rates.at(-1) as number) / best,
      wanted: { atLeast: RATE_SHARE_MIN },
      unit: 'x',
      note: `${count(rates.at(-1) ?? 0)} and ${count(best)} records/s`,
    },
    ...(loaded !== undefined && beside !== undefined
      ? [
          {
            name: 'rate of the load over that of the other engine',
            measured: loaded.perSecond / beside.perSecond,
            wanted: { atLeast: 1 },
            unit: 'x',
            note: `${count(loaded.perSecond)} and ${count(beside.perSecond)} records/s`,
          },
        ]
      : []),
    rss('cold gets', cold?.highestRssBytes, task.readers, CALL_BYTES),
    {
      name: 'device reads of a cold get',
      measured: cold === undefined || cold.gets === 0 ? null : cold.readsPerGet,
      wanted: { atMost: memoryBytes >= GIB ? READS_MAX_OF_MUCH_MEMORY : READS_MAX },
      unit: 'x',
    },
    ...lines.flatMap((line) =>
      line.kind === 'burst'
        ? [rss(`${count(line.count)} ${line.what} of one turn`, line.highestRssBytes, line.count, CALL_BYTES)]
        : [],
    ),
  ];
}

export function columnOf({ memoryBytes }: Task, lines: readonly Line[], title: string, text: string): Column {
  const seconds = lines.filter((line): line is Second => line.kind === 'second' && !line.isBeside);
  const curve = (name: string, of: (second: Second) => number): Column['panels'][0]['curves'][0] => ({
    name,
    values: seconds.map(of),
  });
  const spent = Object.keys(seconds[0]?.statistics ?? {}).filter((name) => name.startsWith(SPENT) && name !== GIVEN);
  const spentCurve = (name: string): ReturnType<typeof curve> =>
    curve(name.slice(SPENT.length).replace(/Bytes$/, ''), ({ statistics }) => (statistics[name] ?? 0) / MIB);
  return {
    title,
    text,
    times: seconds.map(({ atSeconds }) => atSeconds),
    marks: [],
    panels: [
      { title: 'Records loaded in a second', curves: [curve('records', ({ perSecond }) => perSecond)] },
      {
        title: 'Memory, MiB',
        limit: (memoryBytes + ALLOWED_BYTES) / MIB,
        curves: [
          curve('RSS', ({ rssBytes }) => rssBytes / MIB),
          curve('heap', ({ heapBytes }) => heapBytes / MIB),
          curve('external', ({ externalBytes }) => externalBytes / MIB),
        ],
      },
      {
        title: 'What the memory is spent on, as the store says, MiB',
        limit: memoryBytes / MIB,
        curves: spent.map(spentCurve),
      },
      {
        title: 'How late a timer of 1 ms is, ms',
        isLogarithmic: true,
        curves: [
          curve('max', ({ driftMaxMs }) => driftMaxMs),
          curve('max, without waiting for a CPU', ({ ownMaxMs }) => ownMaxMs),
        ],
      },
    ],
  };
}

/** Bytes of the store's own figures, whatever they are called. */
function statisticsText({ statistics }: Second): string {
  return Object.entries(statistics)
    .map(([name, value]) => (/bytes/i.test(name) ? `${name} ${mebibytes(value)} MiB` : `${name} ${count(value)}`))
    .join(', ');
}
