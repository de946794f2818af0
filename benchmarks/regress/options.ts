/** The arguments and the text of --help. Nothing is built or opened here. */
import { parseArgs } from 'node:util';
import { UsageError } from '../common/arguments.ts';

export const WORKLOADS = [
  'get',
  'hot-get',
  'getsync',
  'hot-getsync',
  'getmany',
  'scan',
  'commit',
  'churn',
  'churn-hot-gets',
  'churn-busy',
  'load-batches',
  'load-writers',
] as const;
export type Workload = (typeof WORKLOADS)[number];

/** Workloads that write a store of their own; the others share one that was written before. */
export const WRITES: readonly Workload[] = ['commit', 'load-batches', 'load-writers'];

export interface Options {
  /** What git calls the version to compare with. */
  readonly base: string;
  readonly workloads: readonly Workload[];
  /** Comparisons of each workload: one more run of the base than of this tree. */
  readonly rounds: number;
  readonly records: number;
  readonly valueBytes: number;
  /** Of each run of a workload that has no end of its own. */
  readonly seconds: number;
  /** The loss of CPU per operation that is let pass, as a share of one. */
  readonly cpuTolerance: number;
  /** The loss of operations per second that is let pass: a disk is less steady than a CPU. */
  readonly speedTolerance: number;
  readonly directory: string;
  readonly json: boolean;
}

interface Rule {
  readonly takes?: string;
  readonly describe: string;
  readonly default?: string;
}

const RULES: Readonly<Record<string, Rule>> = {
  base: { takes: 'revision', describe: 'the commit to compare with, as git names it; required' },
  only: { takes: 'names, with commas', describe: `of ${WORKLOADS.join(', ')}`, default: WORKLOADS.join() },
  rounds: { takes: 'number', describe: 'comparisons of each workload', default: '11' },
  records: { takes: 'number', describe: 'of the store that is read, and of one load, such as 200k', default: '200k' },
  'value-bytes': { takes: 'number', describe: 'of each value', default: '1000' },
  seconds: { takes: 'number', describe: 'of each run', default: '1.5' },
  quick: { describe: '5 rounds, 50k records, half a second: a first look, not a proof' },
  tolerance: {
    takes: 'percent',
    describe: 'loss of CPU per operation that passes; twice as much of speed',
    default: '5',
  },
  directory: {
    takes: 'path',
    describe: 'where builds and stores lie, on the disk to measure',
    default: '.tmp-regress',
  },
  json: { describe: 'the rows as JSON, on stdout' },
  help: { describe: 'this text' },
};
const QUICK: Readonly<Record<string, string>> = { rounds: '5', records: '50k', seconds: '0.5' };
/** Of fewer the spread says nothing. */
const FEWEST_ROUNDS = 5;

type Values = Readonly<Record<string, string | boolean | undefined>>;

/** @throws UsageError */
export function parseOptions(args: readonly string[]): Options | 'help' {
  const values = parsed(args);
  if (values['help'] === true) return 'help';
  const isQuick = values['quick'] === true;
  const number = (name: string, least: number, most: number, isWhole = true): number => {
    const text = (values[name] ?? (isQuick ? QUICK[name] : undefined) ?? RULES[name]?.default) as string;
    const [, digits, unit = ''] = /^(\d+(?:\.\d+)?)([kM]?)$/.exec(text) ?? [];
    const value = Number(digits) * ({ k: 1000, M: 1_000_000 }[unit] ?? 1);
    if (digits === undefined || value < least || value > most || (isWhole && !Number.isInteger(value))) {
      throw new UsageError(
        `--${name} takes a ${isWhole ? 'whole ' : ''}number from ${least} to ${most}, not '${text}'`,
      );
    }
    return value;
  };
  if (values['base'] === undefined) throw new UsageError('--base is missing: the commit to compare with, such as main');
  const cpuTolerance = number('tolerance', 0, 1000, false) / 100;
  return {
    base: values['base'] as string,
    workloads: [...new Set(((values['only'] ?? WORKLOADS.join()) as string).split(',').map(workloadOf))],
    rounds: number('rounds', FEWEST_ROUNDS, 1000),
    records: number('records', 1000, 1e9),
    valueBytes: number('value-bytes', 1, 100_000),
    seconds: number('seconds', 0.05, 3600, false),
    cpuTolerance,
    speedTolerance: 2 * cpuTolerance,
    directory: (values['directory'] ?? RULES['directory']?.default) as string,
    json: values['json'] === true,
  };
}

export function usage(): string {
  const lines = Object.entries(RULES).map(([name, rule]) => {
    const left = `  --${name}${rule.takes === undefined ? '' : ` ${rule.takes}`}`;
    return `${left.padEnd(30)}${rule.describe}${rule.default === undefined ? '' : ` (${rule.default})`}`;
  });
  return `usage: npm run -s bench:regress -- --base REV [options]\n\n${lines.join('\n')}\n`;
}

function parsed(args: readonly string[]): Values {
  const options = Object.entries(RULES).map(
    ([name, rule]) => [name, { type: rule.takes === undefined ? 'boolean' : 'string' }] as const,
  );
  try {
    return parseArgs({ args: [...args], options: Object.fromEntries(options) }).values;
  } catch (error) {
    throw new UsageError(`${(error as Error).message}; --help lists what there is`, { cause: error });
  }
}

function workloadOf(text: string): Workload {
  const found = WORKLOADS.find((workload) => workload === text.trim());
  if (found === undefined) throw new UsageError(`--only takes ${WORKLOADS.join(', ')}, not '${text}'`);
  return found;
}
