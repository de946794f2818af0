/** The arguments and the text of --help. Nothing is opened here. */
import { parseArgs } from 'node:util';
import { GIB, MIB } from '@aiokv/core';
import { parseSize } from '../aio-bench/options.ts';
import { UsageError } from '../common/arguments.ts';
import type { StoreName } from '../stores/catalog.ts';

const ENGINES = [
  'aiokv',
  'aiokv-puts',
  'level',
  'rocksdb',
  'rocksdb-native',
  'classic-level',
  'lmdb',
  'better-sqlite3',
] as const satisfies readonly StoreName[];
/** Those of which the others tell something new. */
const USUAL_ENGINES = 'aiokv,aiokv-puts,rocksdb,classic-level,lmdb';
export type EngineName = (typeof ENGINES)[number];

const PHASES = ['load', 'read', 'scan'] as const;
export type Phase = (typeof PHASES)[number];

export interface Options {
  readonly engines: readonly EngineName[];
  readonly phase: Phase;
  readonly records: number;
  readonly valueBytes: number;
  /** Records of one write. */
  readonly batch: number;
  /** Writes under way at once. */
  readonly writers: number;
  /** Of the read phase: gets under way at once, and for how long. */
  readonly readers: number;
  readonly seconds: number;
  /** Whether records are loaded in the order of their keys. */
  readonly isInOrder: boolean;
  /** Of the scan phase: entries of one scan; 0: all. */
  readonly scanRecords: number;
  readonly reverse: boolean;
  /** Whether the engine may put everything in order between load and scan. */
  readonly compact: boolean;
  /** Of the memory cgroup; null: none. */
  readonly memoryBytes: number | null;
  readonly rounds: number;
  readonly directory: string;
  /** After so long a process is ended, and its row says so. */
  readonly limitMinutes: number;
  readonly json: boolean;
}

interface Rule {
  readonly takes?: string;
  readonly describe: string;
  readonly default?: string;
}

const RULES = {
  engines: { takes: 'names, with commas', describe: `of ${ENGINES.join(', ')}`, default: USUAL_ENGINES },
  phase: { takes: PHASES.join('|'), describe: 'what is measured; read and scan load first', default: 'load' },
  records: { takes: 'number', describe: 'such as 4M', default: '4M' },
  'value-bytes': { takes: 'number', describe: 'of each value', default: '1000' },
  batch: { takes: 'number', describe: 'records of one write', default: '1000' },
  writers: { takes: 'number', describe: 'writes under way at once', default: '1' },
  readers: { takes: 'number', describe: 'gets under way at once', default: '128' },
  seconds: { takes: 'number', describe: 'of reading, and of short scans', default: '10' },
  order: { takes: 'random|key', describe: 'in which records are loaded', default: 'random' },
  'scan-records': {
    takes: 'number',
    describe: 'entries of a scan, --readers at once; 0: one scan of all',
    default: '0',
  },
  reverse: { describe: 'scan from the last key to the first' },
  compact: { describe: 'have the engine put all in order between load and scan' },
  memory: { takes: 'size', describe: 'of the memory cgroup, page cache counted, such as 256M', default: '1G' },
  'no-cgroup': { describe: 'measure without a memory cgroup' },
  rounds: { takes: 'number', describe: 'of all engines, of which the median', default: '3' },
  directory: { takes: 'path', describe: 'where the stores lie meanwhile', default: '.tmp-compare' },
  'limit-minutes': { takes: 'number', describe: 'for one engine in one round', default: '60' },
  json: { describe: 'the rows as JSON, on stdout' },
  help: { describe: 'this text' },
} as const satisfies Readonly<Record<string, Rule>>;

type Name = keyof typeof RULES;

/** @throws UsageError */
export function parseOptions(args: readonly string[]): Options | 'help' {
  const values = parsed(args);
  if (values['help'] === true) return 'help';
  const number = (name: Name, least: number, most: number): number => {
    const text = values[name] as string;
    const [, digits, unit = ''] = /^(\d+)([kM]?)$/.exec(text) ?? [];
    const value = Number(digits) * ({ k: 1000, M: 1_000_000 }[unit] ?? 1);
    if (digits === undefined || value < least || value > most) {
      throw new UsageError(`--${name} takes a whole number from ${least} to ${most}, not '${text}'`);
    }
    return value;
  };
  const memoryBytes = parseSize(values['memory'] as string);
  if (memoryBytes === undefined || memoryBytes < 64 * MIB || memoryBytes > 1024 * GIB) {
    throw new UsageError(`--memory takes a size from 64M, such as 1G, not '${values['memory'] as string}'`);
  }
  return {
    engines: [...new Set((values['engines'] as string).split(',').map(engineOf))],
    phase: oneOf(PHASES, 'phase', values['phase'] as string),
    records: number('records', 1, 2 ** 31),
    valueBytes: number('value-bytes', 1, 100_000),
    batch: number('batch', 1, 100_000),
    writers: number('writers', 1, 1000),
    readers: number('readers', 1, 10_000),
    seconds: number('seconds', 1, 3600),
    isInOrder: oneOf(['random', 'key'], 'order', values['order'] as string) === 'key',
    scanRecords: number('scan-records', 0, 1_000_000),
    reverse: values['reverse'] === true,
    compact: values['compact'] === true,
    memoryBytes: values['no-cgroup'] === true ? null : memoryBytes,
    rounds: number('rounds', 1, 100),
    directory: values['directory'] as string,
    limitMinutes: number('limit-minutes', 1, 10_000),
    json: values['json'] === true,
  };
}

export function usage(): string {
  const lines = Object.entries(RULES).map(([name, rule]: [string, Rule]) => {
    const left = `  --${name}${rule.takes === undefined ? '' : ` ${rule.takes}`}`;
    return `${left.padEnd(32)}${rule.describe}${rule.default === undefined ? '' : ` (${rule.default})`}`;
  });
  return `usage: npm run -s compare -- [options]\n\n${lines.join('\n')}\n`;
}

function parsed(args: readonly string[]): Record<string, string | boolean | undefined> {
  const entries = Object.entries(RULES) as [string, Rule][];
  try {
    const { values } = parseArgs({
      args: [...args],
      options: Object.fromEntries(
        entries.map(([name, rule]) =>
          rule.default === undefined
            ? [name, { type: 'boolean' as const }]
            : [name, { type: 'string' as const, default: rule.default }],
        ),
      ),
    });
    return values as Record<string, string | boolean | undefined>;
  } catch (error) {
    throw new UsageError(`${(error as Error).message}; --help lists what there is`, { cause: error });
  }
}

function engineOf(text: string): EngineName {
  return oneOf(ENGINES, 'engines', text);
}

function oneOf<T extends string>(choices: readonly T[], name: string, text: string): T {
  const found = choices.find((choice) => choice === text.trim());
  if (found === undefined) throw new UsageError(`--${name} takes ${choices.join(', ')}, not '${text}'`);
  return found;
}
