/** The regression guard: its arguments, and what it makes of figures that are given. */
import test from 'ava';
import { Random } from '@aiokv/core';
import { UsageError } from '../../benchmarks/common/arguments.ts';
import { parseOptions, usage } from '../../benchmarks/regress/options.ts';
import { formatTable, judge } from '../../benchmarks/regress/verdict.ts';
import type { Figures, Row } from '../../benchmarks/regress/verdict.ts';

const TOLERANCES = { cpuTolerance: 0.05, speedTolerance: 0.1 };

/** Runs of a workload whose figures spread by `spread`, on a disk that grows slower by `drift` from run to run. */
function runs(rounds: number, { cpu = 1, speed = 1, spread = 0, drift = 0, seed = 1 }): [Figures[], Figures[]] {
  const random = new Random(seed);
  const near = (value: number): number => value * (1 + spread * (random.below(2001) / 1000 - 1));
  const figures: [Figures[], Figures[]] = [[], []];
  for (let run = 0; run <= 2 * rounds; run++) {
    const slower = (1 + drift) ** run;
    const isOurs = run % 2 === 1;
    const operations = near(100_000) / slower / (isOurs ? 1 / speed : 1);
    const cpuSeconds = ((near(10) * operations) / 1e6) * slower * (isOurs ? cpu : 1);
    figures[isOurs ? 1 : 0].push({ operations, seconds: 1, cpuSeconds });
  }
  return figures;
}

function judged(rounds: number, options: Parameters<typeof runs>[1]): Row {
  return judge('get', ...runs(rounds, options), TOLERANCES);
}

test('equal versions pass, and the noise of equal figures is none', (t) => {
  const { cpu, speed, verdict } = judged(5, {});
  t.is(verdict, 'ok');
  t.deepEqual([cpu.change, cpu.noise, speed.change, speed.noise], [0, 0, 0, 0]);
  t.is(Math.round(cpu.base * 1000), 10_000);
});

test('VERDICT-1: a steady drift of the disk is no change', (t) => {
  for (const drift of [0.02, -0.02]) {
    const { cpu, speed, verdict } = judged(11, { drift });
    t.true(Math.abs(cpu.change) < 1e-9 && Math.abs(speed.change) < 1e-9, `${cpu.change} ${speed.change}`);
    t.is(verdict, 'ok');
  }
});

test('VERDICT-1: one bad minute is no change', (t) => {
  const [base, candidate] = runs(11, {});
  candidate[4] = { operations: 1000, seconds: 1, cpuSeconds: 1 };
  t.is(judge('get', base, candidate, TOLERANCES).verdict, 'ok');
});

test('VERDICT-3: a loss of CPU or of speed fails beyond tolerance and noise', (t) => {
  t.is(judged(11, { cpu: 1.04 }).verdict, 'ok');
  t.is(judged(11, { cpu: 1.06 }).verdict, 'LOSS');
  t.is(judged(11, { cpu: 1.06, spread: 0.01 }).verdict, 'LOSS');
  t.is(judged(11, { cpu: 1.06, spread: 0.2 }).verdict, 'not proven');
  t.is(judged(11, { speed: 0.93 }).verdict, 'ok');
  t.is(judged(11, { speed: 0.85 }).verdict, 'LOSS');
  t.is(judged(11, { speed: 0.5, spread: 0.02 }).verdict, 'LOSS');
  t.is(judged(11, { cpu: 0.9, spread: 0.01 }).verdict, 'gain');
});

test('VERDICT-2: of 2,000 comparisons of equal versions hardly any exceeds its noise', (t) => {
  for (const rounds of [5, 11, 21]) {
    let exceeded = 0;
    for (let seed = 1; seed <= 2000; seed++) {
      const { cpu } = judged(rounds, { spread: 0.1, seed });
      if (cpu.change > cpu.noise) exceeded++;
    }
    t.true(exceeded <= 30, `${exceeded} of 2000 with ${rounds} rounds`);
  }
});

test('the table names the verdict of each workload', (t) => {
  const table = formatTable([judged(11, { cpu: 1.5 }), { ...judged(11, {}), workload: 'scan' }]);
  t.regex(table, /^workload +CPU us\/op, base +this tree +change +noise +op\/s/);
  t.regex(table, /\nget +10\.00 +15\.00 +\+50\.0 % .* LOSS\n/);
  t.regex(table, /\nscan .* ok$/);
});

test('wrong arguments are named, with what they take', (t) => {
  for (const [args, message] of [
    ['', /--base is missing/],
    ['--base main --rounds 4', /--rounds takes a whole number from 5 to 1000, not '4'/],
    ['--base main --rounds 5.5', /--rounds takes a whole number/],
    ['--base main --only get,put', /--only takes get, .* not 'put'/],
    ['--base main --records many', /--records takes/],
    ['--base main --depth 3', /Unknown option '--depth'.*--help/],
    ['--base main other', /--help/],
  ] as const) {
    t.throws(() => parseOptions(args === '' ? [] : args.split(' ')), { instanceOf: UsageError, message }, args);
  }
  t.is(parseOptions(['--help']), 'help');
  t.regex(usage(), /--quick/);
});

test('--quick sets what is not given', (t) => {
  const defaults = parseOptions(['--base', 'main']);
  const quick = parseOptions(['--base', 'main', '--quick', '--rounds', '7', '--only', 'scan,get,scan']);
  if (defaults === 'help' || quick === 'help') throw new Error('no options came of it');
  t.deepEqual([defaults.rounds, defaults.records, defaults.seconds], [11, 200_000, 1.5]);
  t.deepEqual([defaults.cpuTolerance, defaults.speedTolerance], [0.05, 0.1]);
  t.deepEqual([quick.rounds, quick.records, quick.seconds], [7, 50_000, 0.5]);
  t.deepEqual(quick.workloads, ['scan', 'get']);
});
