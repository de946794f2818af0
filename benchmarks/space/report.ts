/** The line of a second, the figures of a run beside what is wanted, and its curves. Pure. */
import { MIB } from '@aiokv/core';
import { count, mebibytes } from '../common/figures.ts';
import type { Column, Panel } from '../common/drawing.ts';
import { formatRequirements } from '../common/requirements.ts';
import type { Requirement } from '../common/requirements.ts';
import { spaceOf, writtenOf } from './run.ts';
import type { Run } from './run.ts';
import type { Phase, Sample } from './sampler.ts';

export function sampleLine(sample: Sample): string {
  const { atSeconds, phase, seconds, puts, gets, driftP99Ms, driftMaxMs, allocatedBytes, rssBytes } = sample;
  return [
    `${atSeconds.toFixed(0).padStart(4)} s ${phase.padEnd(9)}`,
    `space ${times(spaceOf(sample))} ${mebibytes(allocatedBytes).padStart(6)} MiB`,
    `written ${times(writtenOf(sample))}`,
    `put ${perSecond(puts.count, seconds)}/s p99 ${ms(puts.p99Ms)} max ${ms(puts.maxMs)}`,
    `get ${perSecond(gets.count, seconds)}/s p50 ${ms(gets.p50Ms)} p99 ${ms(gets.p99Ms)}`,
    `drift p99 ${ms(driftP99Ms)} max ${ms(driftMaxMs)}`,
    `RSS ${mebibytes(rssBytes)} MiB`,
  ].join(' | ');
}

export function phaseLine({ phase, seconds, putBytes, puts, gets, highestRssBytes }: Phase): string {
  const rate = putBytes === 0 ? '' : `, ${(putBytes / MIB / seconds).toFixed(1)} MiB/s put`;
  const calls = puts.count + gets.count === 0 ? '' : `, ${puts.count} puts and ${gets.count} gets`;
  return `${phase}: ${seconds.toFixed(1)} s${rate}${calls}, highest RSS so far ${mebibytes(highestRssBytes)} MiB`;
}

export function runText({ task }: Run, requirements: readonly Requirement[]): string {
  const { preset, records, valueBytes, distribution, times: often, writers, readers, durability, storeOptions } = task;
  const options = Object.entries(storeOptions).map(([name, value]) => `, ${name}=${value}`);
  return (
    `${preset}: ${count(records)} records of ${valueBytes} bytes, ${distribution}, ` +
    `put ${often} times more by ${writers} writers beside ${readers} readers, ${durability}${options.join('')}\n` +
    formatRequirements(requirements)
  );
}

export function columnOf(run: Run, text: string): Column {
  const { samples, task } = run;
  const marks = samples
    .filter(({ phase }, i) => samples[i - 1]?.phase !== phase)
    .map(({ atSeconds, seconds, phase }) => ({ atSeconds: Math.max(0, atSeconds - seconds), label: phase }));
  return { title: task.preset, text, times: samples.map(({ atSeconds }) => atSeconds), marks, panels: panelsOf(run) };
}

function panelsOf({ samples, task }: Run): Panel[] {
  const curve = (name: string, of: (sample: Sample) => number | null): Panel['curves'][0] => ({
    name,
    values: samples.map(of),
  });
  const during = (sample: Sample, value: number | null): number | null => (sample.phase === 'overwrite' ? value : null);
  const called = (calls: number, value: number): number | null => (calls === 0 ? null : value);
  return [
    {
      title: 'Space: allocated blocks over keys and values',
      limit: task.spaceMax,
      curves: [curve('overwrites', (sample) => during(sample, spaceOf(sample)))],
    },
    {
      title: 'Directory, MiB',
      curves: [
        curve('allocated', ({ allocatedBytes }) => allocatedBytes / MIB),
        curve('keys and values', ({ liveBytes }) => liveBytes / MIB),
      ],
    },
    {
      title: 'Bytes written over bytes put',
      limit: task.writtenMax,
      curves: [
        curve('overwrites so far', (sample) => during(sample, writtenOf(sample))),
        curve('this second', (sample) => during(sample, sample.writtenBytes / sample.putBytes)),
      ],
    },
    {
      title: 'Puts, ms',
      isLogarithmic: true,
      limit: 500,
      curves: [
        curve('max', ({ puts }) => called(puts.count, puts.maxMs)),
        curve('p99', ({ puts }) => called(puts.count, puts.p99Ms)),
      ],
    },
    {
      title: 'Gets, ms',
      isLogarithmic: true,
      limit: 5,
      curves: [
        curve('p99', ({ gets }) => called(gets.count, gets.p99Ms)),
        curve('p50', ({ gets }) => called(gets.count, gets.p50Ms)),
      ],
    },
    {
      title: 'How late a timer of 1 ms is, ms',
      isLogarithmic: true,
      limit: 25,
      curves: [
        curve('max', ({ driftMaxMs }) => driftMaxMs),
        curve('max, without waiting for a CPU', ({ ownMaxMs }) => ownMaxMs),
        curve('p99', ({ driftP99Ms }) => driftP99Ms),
      ],
    },
    {
      title: 'Calls in a second',
      curves: [
        curve('puts', (sample) => during(sample, sample.puts.count / sample.seconds)),
        curve('gets', (sample) => during(sample, sample.gets.count / sample.seconds)),
      ],
    },
    { title: 'RSS, MiB', curves: [curve('RSS', ({ rssBytes }) => rssBytes / MIB)] },
  ];
}

function times(value: number | null): string {
  return `${value === null || !Number.isFinite(value) ? '-' : value.toFixed(2)} x`.padStart(7);
}

function perSecond(calls: number, seconds: number): string {
  return count(calls / seconds).padStart(7);
}

function ms(value: number): string {
  return `${value.toFixed(1).padStart(5)} ms`;
}
