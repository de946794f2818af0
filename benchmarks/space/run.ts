/** What a run measured, as its lines tell, and what is wanted of it. Pure. */
import { MIB } from '@aiokv/core';
import type { Requirement } from '../common/requirements.ts';
import type { Line, Phase, PhaseName, Sample } from './sampler.ts';
import type { Task } from './options.ts';

const PUT_MS_MAX = 500;
const READ_P99_MS_MAX = 5;
const READ_P99_TIMES_MAX = 2;
const DRIFT_P99_MS_MAX = 5;
const DRIFT_MS_MAX = 25;
/** Of a directory whose records were all deleted: a share of what lived, and a part that does not depend on it. */
const LEFT_SHARE = 0.1;
const LEFT_BYTES = 32 * MIB;

export class Run {
  readonly task: Task;
  readonly samples: Sample[] = [];
  readonly #phases = new Map<PhaseName, Phase>();

  constructor(task: Task) {
    this.task = task;
  }

  add(line: Sample | Phase): void {
    if (line.kind === 'sample') this.samples.push(line);
    else this.#phases.set(line.phase, line);
  }

  phase(name: PhaseName): Phase | null {
    return this.#phases.get(name) ?? null;
  }
}

/** Runs out of the lines that an earlier invocation wrote. */
export function runsOf(text: string): Run[] {
  const runs: Run[] = [];
  for (const each of text.split('\n')) {
    if (each === '') continue;
    const line = JSON.parse(each) as Line;
    if (line.kind === 'run') runs.push(new Run(line.task));
    else runs.at(-1)?.add(line);
  }
  return runs;
}

/** Allocated blocks over the keys and values that are there; null where nothing is. */
export function spaceOf({ allocatedBytes, liveBytes }: Sample): number | null {
  return liveBytes === 0 ? null : allocatedBytes / liveBytes;
}

/** Bytes written over keys and values put, in the phase so far. */
export function writtenOf({ phaseWrittenBytes, phasePutBytes }: Sample): number | null {
  return phasePutBytes === 0 ? null : phaseWrittenBytes / phasePutBytes;
}

/** @param beside a run of the same preset with cleaning off, or null */
export function requirementsOf(run: Run, beside: Run | null): Requirement[] {
  const { task } = run;
  const overwrite = run.phase('overwrite');
  const samples = run.samples.filter(({ phase }) => phase === 'overwrite');
  const ofPhase = (of: (phase: Phase) => number): number | null => (overwrite === null ? null : of(overwrite));
  // A run that was cut short has no totals, and shows what its seconds do.
  const worst = (of: (measured: Phase | Sample) => number): number | null =>
    overwrite === null && samples.length === 0
      ? null
      : highest([...samples, ...(overwrite === null ? [] : [overwrite])].map(of));
  const own = (ms: number): string => `${ms.toFixed(1)} ms without waiting for a CPU`;
  const last = samples.at(-1);
  const putTimes = (last?.phasePutBytes ?? 0) / (task.records * (24 + task.valueBytes));
  const requirements: Requirement[] = [
    {
      name: 'space over live, at every second',
      measured: last === undefined ? null : highest(samples.map((sample) => spaceOf(sample) ?? 0)),
      wanted: { atMost: task.spaceMax },
      unit: 'x',
      note: `the data set was put ${putTimes.toFixed(1)} times`,
    },
    {
      name: 'bytes written over bytes put',
      measured: last === undefined ? null : writtenOf(last),
      wanted: { atMost: task.writtenMax },
      unit: 'x',
    },
    { name: 'longest put', measured: worst(({ puts }) => puts.maxMs), wanted: { atMost: PUT_MS_MAX }, unit: 'ms' },
    {
      name: 'read p99',
      measured: task.readers === 0 ? null : ofPhase(({ gets }) => gets.p99Ms),
      wanted: { atMost: READ_P99_MS_MAX },
      unit: 'ms',
    },
    besideRequirement(overwrite, beside?.phase('overwrite') ?? null),
    {
      name: 'timer drift p99',
      measured: ofPhase(({ driftP99Ms }) => driftP99Ms),
      wanted: { atMost: DRIFT_P99_MS_MAX },
      unit: 'ms',
      note: own(overwrite?.ownP99Ms ?? 0),
    },
    {
      name: 'timer drift max',
      measured: worst(({ driftMaxMs }) => driftMaxMs),
      wanted: { atMost: DRIFT_MS_MAX },
      unit: 'ms',
      note: own(worst(({ ownMaxMs }) => ownMaxMs) ?? 0),
    },
  ];
  return task.isDeleted ? [...requirements, leftRequirement(run)] : requirements;
}

function besideRequirement(ours: Phase | null, other: Phase | null): Requirement {
  return {
    name: 'read p99, over that with cleaning off',
    measured: ours === null || other === null || other.gets.p99Ms === 0 ? null : ours.gets.p99Ms / other.gets.p99Ms,
    wanted: { atMost: READ_P99_TIMES_MAX },
    unit: 'x',
    ...(other === null ? { note: 'takes --beside, a whole run' } : {}),
  };
}

function leftRequirement({ task, samples }: Run): Requirement {
  const lived = task.records * (24 + task.valueBytes);
  const limitBytes = LEFT_SHARE * lived + LEFT_BYTES;
  const idle = samples.filter(({ phase }) => phase === 'idle');
  const first = idle.find(({ allocatedBytes }) => allocatedBytes <= limitBytes);
  const fell = first === undefined ? 'never' : `after ${(first.atSeconds - (idle[0]?.atSeconds ?? 0)).toFixed(0)} s`;
  const left = idle.at(-1)?.allocatedBytes;
  return {
    name: `directory after everything was deleted and ${task.idleSeconds} s`,
    measured: left === undefined ? null : left / MIB,
    wanted: { atMost: limitBytes / MIB },
    unit: 'MiB',
    note: `so small ${fell}`,
  };
}

function highest(values: readonly number[]): number {
  return values.reduce((most, value) => Math.max(most, value), 0);
}
