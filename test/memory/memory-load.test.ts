/** The load with little memory: its arguments, what it judges, and one small run. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import test from 'ava';
import { GIB, MIB } from '@aiokv/core';
import { UsageError } from '../../benchmarks/common/arguments.ts';
import { verdictOf } from '../../benchmarks/common/requirements.ts';
import type { Line, Loaded } from '../../benchmarks/memory/lines.ts';
import { parseOptions, usage } from '../../benchmarks/memory/options.ts';
import type { Task } from '../../benchmarks/memory/options.ts';
import { requirementsOf } from '../../benchmarks/memory/report.ts';
import { fromSource } from '../helpers/from-source.ts';

const NODE_ARGUMENTS = fromSource('benchmarks/memory/main.ts');

function taskOf(...args: string[]): Task {
  const options = parseOptions(args);
  if (options === 'help') throw new Error('help');
  return options.task;
}

test('without arguments: 20 million keys in 256 MiB', (t) => {
  const { records, valueBytes, memoryBytes, batch, durability } = taskOf();
  t.deepEqual([records, valueBytes, memoryBytes, batch, durability], [20_000_000, 100, 256 * MIB, 1000, 'buffered']);
  t.throws(() => taskOf('--memory', '1k'), { instanceOf: UsageError, message: /--memory takes a size from 1048576/ });
  t.throws(() => taskOf('--durability', 'none'), {
    instanceOf: UsageError,
    message: /takes flushed, written, buffered/,
  });
  t.is(parseOptions(['--help']), 'help');
  t.throws(() => taskOf('--beside', 'sqlite'), { instanceOf: UsageError, message: /takes rocksdb-native/ });
  t.regex(usage(), /npm run -s memory-load/);
});

test('the last step is compared with the best, memory with what was given, reads with what memory allows', (t) => {
  const memory = { rssBytes: MIB, highestRssBytes: 376.1 * MIB, heapBytes: 1, externalBytes: 1 };
  const step = (perSecond: number, isBeside = false): Line => {
    return { kind: 'step', isBeside, records: 1, perSecond, statistics: {}, ...memory };
  };
  const lines: Line[] = [
    step(100_000),
    step(150_000),
    step(105_000),
    { kind: 'loaded', isBeside: false, seconds: 1, perSecond: 100, cpuUs: 1, ...memory },
    { kind: 'cold', openSeconds: 1, gets: 10, perSecond: 1, readsPerGet: 1.5, pageReadsPerGet: 0.5, ...memory },
    { kind: 'burst', what: 'puts', count: 400_000, seconds: 1, ...memory, highestRssBytes: 600 * MIB },
  ];
  const verdicts = (task: Task): [string, string][] =>
    requirementsOf(task, lines).map((each) => [each.name, verdictOf(each)]);
  const alone = verdicts(taskOf());
  t.deepEqual(alone, [
    // A batch under way is 0.12 MiB.
    ['highest RSS, load', 'met'],
    ['rate of the last step over the best', 'met'],
    ['highest RSS, cold gets', 'MISSED'],
    ['device reads of a cold get', 'met'],
    ['highest RSS, 400,000 puts of one turn', 'MISSED'],
  ]);
  t.deepEqual(verdicts({ ...taskOf(), memoryBytes: GIB })[3], ['device reads of a cold get', 'MISSED']);
  lines.push(step(1_000_000, true), { ...(lines[3] as Loaded), isBeside: true, perSecond: 101, highestRssBytes: GIB });
  const beside = verdicts(taskOf());
  t.deepEqual(beside.splice(2, 1), [['rate of the load over that of the other engine', 'MISSED']]);
  t.deepEqual(beside, alone, 'nothing else changes');
  t.deepEqual(verdicts({ ...taskOf(), batch: 1 })[0], ['highest RSS, load', 'MISSED']);
});

// Waits in the thread for its process, and so has it to itself.
test.serial('a small run loads, reads, judges, draws, and leaves nothing behind', async (t) => {
  const directory = await mkdtemp(resolve('.tmp-memory-test-'));
  try {
    const stores = join(directory, 'stores');
    const report = join(directory, 'report');
    const args = '--records 20k --step 5k --memory 64M --gets 1k';
    const all = [...NODE_ARGUMENTS, ...args.split(' '), '--directory', stores, '--report', report];
    const ran = spawnSync(process.execPath, all, { encoding: 'utf8', timeout: 120_000 });
    t.is(ran.status, 0, ran.stderr);
    t.regex(ran.stdout, /^20,000 records of 24 \+ 100 bytes, keys in random order, 64 MiB; batches of 1000/m);
    t.regex(ran.stdout, /^20,000 records: the last at [\d,]+\/s, RSS \d+ MiB, highest \d+ MiB$/m);
    t.regex(ran.stdout, /^met +device reads of a cold get +\d/m);
    const [first, ...lines] = readFileSync(`${report}.jsonl`, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Line);
    t.truthy(first);
    const rates = lines.filter((line) => line.kind === 'step');
    t.deepEqual(
      rates.map(({ records }) => records),
      [5000, 10_000, 15_000, 20_000],
    );
    const cold = lines.find((line) => line.kind === 'cold');
    // Some keys are read twice, and their values are in memory then.
    t.true(cold !== undefined && cold.readsPerGet > 0.9 && cold.readsPerGet < 3, JSON.stringify(cold));
    t.regex(readFileSync(`${report}.html`, 'utf8'), /<svg/);
    t.false(existsSync(stores));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
