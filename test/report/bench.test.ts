/** The benchmark of the field: its plan, and one small run that finds a wrong value, is interrupted, and goes on. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import test from 'ava';
import { parseOptions, usage } from '../../benchmarks/bench/options.ts';
import type { Options } from '../../benchmarks/bench/options.ts';
import { stepsOf } from '../../benchmarks/bench/plan.ts';
import type { PlannedTurn } from '../../benchmarks/bench/plan.ts';
import { checked, readResult } from '../../benchmarks/bench/result.ts';
import { UsageError } from '../../benchmarks/common/arguments.ts';
import { fromSource } from '../helpers/from-source.ts';

const NODE_ARGUMENTS = fromSource('benchmarks/bench/main.ts');

function turnsOf(...args: string[]): PlannedTurn[] {
  return stepsOf((parseOptions(args) as Options).plan).flatMap((step) => (step.kind === 'turn' ? [step.turn] : []));
}

test('stores take turns, each round begins with another, and a class has those only that have it', (t) => {
  const turns = turnsOf('--quick');
  const written = (round: number): string[] =>
    turns.filter((turn) => turn.durability === 'written' && turn.round === round).map(({ store }) => store);
  t.deepEqual(written(0), ['aiokv', 'level', 'lmdb', 'classic-level', 'rocksdb', 'rocksdb-native', 'better-sqlite3']);
  t.deepEqual(written(1), [...written(0).slice(1), 'aiokv']);
  t.false(turns.some(({ store, durability }) => store === 'rocksdb-native' && durability === 'flushed'));
  t.true(turns.some(({ store, durability }) => store === 'memory' && durability === 'none'));
  t.is(new Set(turns.map(({ id }) => id)).size, turns.length);
});

test('a full run has both sizes of records and every workload in every class', (t) => {
  const turns = turnsOf();
  t.deepEqual([...new Set(turns.map(({ fields, fieldBytes }) => fields * fieldBytes))], [1000, 100]);
  for (const { phases } of turns)
    for (const kind of ['load', 'A', 'B', 'C', 'D', 'E', 'F']) t.true(phases.includes(kind as 'A'));
});

test('wrong arguments are named, with what they take', (t) => {
  for (const [args, message] of [
    ['--stores mysql', /--stores takes aiokv, .* not 'mysql'/],
    ['--classes always', /--classes takes none, written, flushed/],
    ['--memory 1M', /--memory takes a size from/],
    ['--fast', /--help/],
  ] as const) {
    t.throws(() => parseOptions(args.split(' ')), { instanceOf: UsageError, message }, args);
  }
  t.is(parseOptions(['--help']), 'help');
  t.regex(usage(), /--quick/);
});

// Waits in the thread for its process, and so has it to itself.
test.serial('a wrong value fails the run; what is left of a run is measured, and no more', async (t) => {
  const directory = await mkdtemp(resolve('.tmp-bench-test-'));
  try {
    const out = join(directory, 'result.json');
    const run = (...more: string[]): { status: number | null; stderr: string } => {
      const size = '--quick --stores aiokv,memory --classes none --records 500 --rounds 1'.split(' ');
      const places = ['--out', out, '--directory', join(directory, 'stores')];
      return spawnSync(process.execPath, [...NODE_ARGUMENTS, ...size, ...places, ...more], {
        encoding: 'utf8',
        timeout: 300_000,
      });
    };
    const spoiled = run('--spoil', 'memory');
    t.is(spoiled.status, 1, spoiled.stderr);
    t.regex(spoiled.stderr, /none\/1000\/memory: 1 operations failed or gave values that were not written/);
    const first = readResult(out);
    const wrong = (store: string): number =>
      first.turns
        .filter((turn) => turn.store === store)
        .reduce((sum, { phases }) => sum + phases.reduce((all, { mismatches }) => all + mismatches, 0), 0);
    t.deepEqual([first.isComplete, wrong('aiokv'), wrong('memory')], [true, 0, 1]);
    t.true(first.turns.every(({ phases }) => phases.every(({ kind, verified }) => kind === 'load' || verified > 0)));

    const again = run();
    t.is(again.status, 2, again.stderr);
    t.regex(again.stderr, /is a complete result/);

    const kept = first.turns.filter(({ store }) => store === 'aiokv');
    await writeFile(out, JSON.stringify(checked({ ...first, isComplete: false, turns: kept }, out)));
    t.is(run('--seed', '5').status, 2, 'other options are another run');
    const resumed = run();
    t.is(resumed.status, 0, resumed.stderr);
    const last = readResult(out);
    t.deepEqual(last.turns.slice(0, kept.length), kept, 'what was measured stays as it was');
    t.deepEqual(
      last.turns.map(({ id }) => id),
      first.turns.map(({ id }) => id),
    );
    t.deepEqual([last.isComplete, last.depths], [true, first.depths]);
    t.true((await readFile(out, 'utf8')).endsWith('}\n'));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
