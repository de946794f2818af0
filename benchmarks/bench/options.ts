/** The arguments and the text of --help. Nothing is opened here. */
import { MIB } from '@aiokv/core';
import { Arguments, usageOf } from '../common/arguments.ts';
import type { Rule } from '../common/arguments.ts';
import { DURABILITY_CLASSES } from '../stores/store.ts';
import { BENCH_STORES, FULL, QUICK } from './plan.ts';
import type { BenchStoreName, Plan, Scale } from './plan.ts';

export interface Options {
  readonly plan: Plan;
  readonly out: string;
  readonly directory: string;
  /** A store of which one value comes back wrong; null: none. */
  readonly spoil: BenchStoreName | null;
}

const RULES = {
  quick: { describe: 'six minutes instead of hours: 20,000 records, two rounds' },
  stores: { takes: 'names, with commas', describe: `of ${BENCH_STORES.join(', ')}`, default: BENCH_STORES.join(',') },
  classes: {
    takes: 'names, with commas',
    describe: `classes of durability, of ${DURABILITY_CLASSES.join(', ')}`,
    default: 'written,none,flushed',
  },
  rounds: { takes: 'number', describe: 'of everything, of which the median; default: 2 of --quick, 3 else' },
  records: { takes: 'number', describe: 'of each store, such as 1M; default: 20k of --quick, 200k else' },
  memory: { takes: 'size', describe: 'of a memory cgroup for each store, page cache counted; default: no limit' },
  seed: { takes: 'number', describe: 'of all random choices', default: '1' },
  out: {
    takes: 'path',
    describe: 'the result; one that is there and incomplete is gone on with',
    default: 'bench.json',
  },
  directory: { takes: 'path', describe: 'where the stores lie meanwhile', default: '.tmp-bench' },
  spoil: { takes: 'name', describe: 'have one value of this store come back wrong: the run must fail' },
  help: { describe: 'this text' },
} as const satisfies Readonly<Record<string, Rule>>;

/** @throws UsageError */
export function parseOptions(args: readonly string[], override: Partial<Scale> = {}): Options | 'help' {
  const given = new Arguments(RULES, args);
  if (given.flag('help')) return 'help';
  const isQuick = given.flag('quick');
  const base: Scale = { ...(isQuick ? QUICK : FULL), ...override };
  const scale = {
    ...base,
    rounds: given.isGiven('rounds') ? given.number('rounds', 1, 100) : base.rounds,
    records: given.isGiven('records') ? given.number('records', 100, 2 ** 31 - 1) : base.records,
  };
  return {
    plan: {
      scale,
      stores: given.someOf('stores', BENCH_STORES),
      classes: given.someOf('classes', DURABILITY_CLASSES),
      seed: given.number('seed', 0, 2 ** 30),
      memoryBytes: given.isGiven('memory') ? given.size('memory', 128 * MIB) : null,
      isQuick,
    },
    out: given.text('out'),
    directory: given.text('directory'),
    spoil: given.isGiven('spoil') ? given.oneOf('spoil', BENCH_STORES) : null,
  };
}

export function usage(): string {
  return usageOf(
    'bench',
    RULES,
    'Measures the field of stores on this disk, and the engines of the queue beside fio. The result is one JSON file,\n' +
      'which npm run -s report makes a page of. An interrupt keeps what was measured; the same command goes on with it.\n' +
      'Exit code: 0 measured; 1 a store failed, or gave a value that was not written; 2 the arguments are wrong.',
  );
}
