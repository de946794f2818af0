/** The benchmark of space over time: its arguments, what it judges, what it draws, and one small run of all phases. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import test from 'ava';
import { MIB } from '@aiokv/core';
import { UsageError } from '../../benchmarks/common/arguments.ts';
import { drawHtml } from '../../benchmarks/common/drawing.ts';
import { formatRequirements, verdictOf } from '../../benchmarks/common/requirements.ts';
import { flatNumbers } from '../../benchmarks/common/statistics.ts';
import { parseOptions, usage } from '../../benchmarks/space/options.ts';
import type { Task } from '../../benchmarks/space/options.ts';
import { Run, requirementsOf, runsOf } from '../../benchmarks/space/run.ts';
import type { Line, Phase, PhaseName, Sample } from '../../benchmarks/space/sampler.ts';
import { VersionedRecords } from '../../benchmarks/space/versions.ts';
import { fromSource } from '../helpers/from-source.ts';

const NODE_ARGUMENTS = fromSource('benchmarks/space/main.ts');

function taskOf(args: string): Task {
  const options = parseOptions(args.split(' '));
  if (options === 'help') throw new Error('help');
  return options.tasks[0] as Task;
}

const measured = {
  seconds: 1,
  putBytes: 100,
  writtenBytes: 250,
  puts: { count: 1, p50Ms: 1, p99Ms: 2, maxMs: 3 },
  gets: { count: 1, p50Ms: 1, p99Ms: 2, maxMs: 3 },
  driftP99Ms: 1,
  driftMaxMs: 2,
  ownP99Ms: 1,
  ownMaxMs: 2,
};

function sample(phase: PhaseName, atSeconds: number, liveBytes: number, allocatedBytes: number): Sample {
  const kind = 'sample';
  const rest = { rssBytes: MIB, phasePutBytes: 100, phaseWrittenBytes: 250, statistics: {} };
  return { ...measured, kind, phase, atSeconds, liveBytes, allocatedBytes, ...rest };
}

function phase(name: PhaseName, other: Partial<Phase> = {}): Phase {
  return { ...measured, kind: 'phase', phase: name, highestRssBytes: MIB, ...other };
}

test('without arguments: uniform and zipfian overwrites of 300,000 records', (t) => {
  const options = parseOptions([]);
  if (options === 'help') throw new Error('help');
  t.deepEqual(
    options.tasks.map(({ preset, records, valueBytes, distribution, times, spaceMax, writtenMax }) => [
      preset,
      records,
      valueBytes,
      distribution,
      times,
      spaceMax,
      writtenMax,
    ]),
    [
      ['1k-uniform', 300_000, 1000, 'uniform', 10, 1.8, 2.7],
      ['1k-zipfian', 300_000, 1000, 'zipfian', 10, 1.8, 2.4],
    ],
  );
  t.deepEqual(taskOf('--set queueDepth=64 --set durability=written').storeOptions, {
    queueDepth: 64,
    durability: 'written',
  });
});

test('wrong arguments are named, with what they take', (t) => {
  for (const [args, message] of [
    ['--preset 2k', /--preset takes 1k-uniform, .* not '2k'/],
    ['--records 0', /--records takes a whole number from 1 to 2147483648, not '0'/],
    ['--then wait', /--then takes delete, not 'wait'/],
    ['--set queueDepth', /--set takes an option of a store/],
    ['--depth 3', /--help/],
  ] as const) {
    t.throws(() => parseOptions(args.split(' ')), { instanceOf: UsageError, message }, args);
  }
  t.is(parseOptions(['--help']), 'help');
  t.regex(usage(), /--then delete/);
});

test('VERSIONS-1: a read may find what was acknowledged before it, and whatever was called until its answer', (t) => {
  const records = new VersionedRecords(10, 100);
  const first = records.value(7, records.nextVersion(7));
  records.acknowledge(7, 1);
  const oldest = records.oldestVersion(7);
  const second = records.value(7, records.nextVersion(7));
  records.check(7, oldest, first);
  records.check(7, oldest, second);
  records.acknowledge(7, 2);
  t.throws(() => records.check(7, records.oldestVersion(7), first), { message: /version 1, not one from 2 to 2/ });
  t.throws(() => records.check(7, 1, records.value(7, 3)), { message: /version 3/ });
  t.throws(() => records.check(7, 1, undefined), { message: /missing/ });
  t.throws(() => records.check(8, 0, second), { message: /is another/ });
  second[50] = (second[50] as number) ^ 1;
  t.throws(() => records.check(7, 1, second), { message: /other bytes/ });
});

test('the highest space of the overwrites counts, and what is left after a deletion', (t) => {
  const task = taskOf('--preset 1k-uniform --records 100k --then delete');
  const lines: Line[] = [
    { kind: 'run', task },
    sample('load', 1, 10, 1000),
    sample('overwrite', 2, 100, 170),
    sample('overwrite', 3, 100, 190),
    sample('overwrite', 4, 100, 150),
    phase('overwrite', { puts: { count: 1, p50Ms: 1, p99Ms: 2, maxMs: 501 } }),
    sample('idle', 5, 0, 300 * MIB),
    sample('idle', 8, 0, 40 * MIB),
    phase('idle'),
  ];
  const [run] = runsOf(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  const requirements = requirementsOf(run as Run, null);
  t.deepEqual(
    requirements.map((each) => [verdictOf(each), each.measured]),
    [
      ['MISSED', 1.9],
      ['met', 2.5],
      ['MISSED', 501],
      ['met', 2],
      ['not measured', null],
      ['met', 1],
      ['met', 2],
      ['met', 40],
    ],
  );
  const text = formatRequirements(requirements);
  t.regex(text, /^MISSED +space over live, at every second +1\.9 x +wanted <= 1\.8 x/m);
  t.regex(text, /so small after 3 s$/m);
  const beside = new Run(task);
  beside.add(phase('overwrite', { gets: { count: 1, p50Ms: 1, p99Ms: 0.5, maxMs: 1 } }));
  t.is(verdictOf(requirementsOf(run as Run, beside)[4] as (typeof requirements)[0]), 'MISSED');
});

test('curves have gaps where nothing was measured, and one scale in all columns', (t) => {
  const column = (values: (number | null)[]): Parameters<typeof drawHtml>[1][0] => ({
    title: 'a < b',
    text: '',
    times: [1, 2, 3, 4],
    marks: [{ atSeconds: 1, label: 'load' }],
    panels: [{ title: 'Space', limit: 1.8, curves: [{ name: 'space', values }] }],
  });
  const html = drawHtml('Title', [column([1, 2, null, 3]), column([100, 100, 100, 100])]);
  t.is(html.split('<svg').length - 1, 2);
  t.regex(html, /a &lt; b/);
  t.is(html.match(/>100<\/text>/g)?.length, 2);
  const [first = ''] = /<path d="[^"]*"/.exec(html) ?? [];
  t.is(first.split('M').length - 1, 2, first);
  t.notRegex(html, /NaN|Infinity|undefined|<script|https?:/);
});

test('statistics become flat numbers, whatever they are', (t) => {
  t.deepEqual(flatNumbers({ sequence: 3, memory: { leaves: 4, name: 'x' }, queue: { accepted: 5 } }), {
    sequence: 3,
    'memory.leaves': 4,
  });
});

// Waits in the thread for its process, and so has it to itself.
test.serial('a small run loads, overwrites, deletes, judges, draws, and leaves nothing behind', async (t) => {
  const directory = await mkdtemp(resolve('.tmp-space-test-'));
  try {
    const stores = join(directory, 'stores');
    const report = join(directory, 'report');
    const args =
      '--records 2000 --seconds 60 --times 3 --then delete --idle 1 --preset 1k-zipfian,100b-uniform --check';
    const all = [...NODE_ARGUMENTS, ...args.split(' '), '--directory', stores, '--report', report];
    const ran = spawnSync(process.execPath, all, { encoding: 'utf8', timeout: 120_000 });
    // So small a store takes more than is wanted of a large one.
    t.is(ran.status, 1, ran.stderr);
    t.regex(ran.stdout, /^1k-zipfian: 2,000 records of 1000 bytes, zipfian, put 3 times more by 64 writers/m);
    t.regex(ran.stdout, /^MISSED +space over live, at every second +\d/m);
    t.regex(ran.stdout, /^(?:met|MISSED) +directory after everything was deleted and 1 s +\d/m);
    t.regex(ran.stderr, / s overwrite \| space /);
    const runs = runsOf(readFileSync(`${report}.jsonl`, 'utf8'));
    t.deepEqual(
      runs.map(({ task }) => task.preset),
      ['1k-zipfian', '100b-uniform'],
    );
    for (const run of runs) {
      t.is(run.phase('overwrite')?.puts.count, 6000);
      t.true((run.phase('overwrite')?.gets.count ?? 0) > 0);
      t.true((run.phase('overwrite')?.writtenBytes ?? 0) > 6000 * run.task.valueBytes);
      t.true(run.samples.every(({ allocatedBytes }) => allocatedBytes > 0));
      t.is(run.samples.at(-1)?.liveBytes, 0);
    }
    t.is(readFileSync(`${report}.html`, 'utf8').split('<svg').length - 1, 16);
    t.false(existsSync(stores));
    const drawn = [...NODE_ARGUMENTS, '--draw', `${report}.jsonl`, '--report', join(directory, 'drawn')];
    t.is(spawnSync(process.execPath, drawn).status, 0);
    t.is(readFileSync(join(directory, 'drawn.html'), 'utf8'), readFileSync(`${report}.html`, 'utf8'));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
