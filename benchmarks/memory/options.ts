/** The arguments and the text of --help. Nothing is opened here. */
import { MIB } from '@aiokv/core';
import type { Durability } from '@aiokv/kv';
import { Arguments, DURABILITIES, usageOf } from '../common/arguments.ts';
import type { Rule } from '../common/arguments.ts';

/** `beside`: the load, by another engine. */
export type Phase = 'load' | 'read' | 'beside';

const PEERS = ['rocksdb-native'] as const;

/** What the processes that are measured do. */
export interface Task {
  readonly records: number;
  readonly valueBytes: number;
  readonly memoryBytes: number;
  /** Records of one write. */
  readonly batch: number;
  /** Writes under way at once. */
  readonly writers: number;
  readonly durability: Durability;
  /** Records after which the rate is told. */
  readonly step: number;
  readonly gets: number;
  /** Gets under way at once. */
  readonly readers: number;
  /** Whether many calls are made in one turn, too. */
  readonly isBurst: boolean;
  readonly storeOptions: Readonly<Record<string, string | number | boolean>>;
  readonly directory: string;
}

export interface Options {
  readonly task: Task;
  /** Without `.html` and `.jsonl`. */
  readonly report: string;
  readonly isChecked: boolean;
  /** Loads the same, in the same run. */
  readonly beside: (typeof PEERS)[number] | null;
}

const RULES = {
  records: { takes: 'number', describe: 'such as 20M', default: '20M' },
  'value-bytes': { takes: 'number', describe: 'of each value; keys have 24', default: '100' },
  memory: { takes: 'size', describe: 'that the store is given, such as 256M', default: '256M' },
  batch: { takes: 'number', describe: 'records of one write', default: '1000' },
  writers: { takes: 'number', describe: 'writes under way at once', default: '1' },
  durability: { takes: DURABILITIES.join('|'), describe: 'of the load', default: 'buffered' },
  step: { takes: 'number', describe: 'records after which the rate is told', default: '1M' },
  gets: { takes: 'number', describe: 'after the load and a new opening, of random keys', default: '200k' },
  readers: { takes: 'number', describe: 'gets under way at once', default: '128' },
  burst: { describe: 'then call 100,000 gets in one turn, and 400,000 puts' },
  beside: { takes: PEERS.join('|'), describe: 'then has another engine load the same, with the same memory' },
  set: { takes: 'name=value', describe: 'an option of the store; may be given more than once', isList: true },
  report: { takes: 'path', describe: 'where <path>.html and <path>.jsonl go', default: '.tmp-memory-report' },
  directory: { takes: 'path', describe: 'where the store lies meanwhile', default: '.tmp-memory' },
  check: { describe: 'exit with 1 when something that is wanted was missed' },
  help: { describe: 'this text' },
} as const satisfies Readonly<Record<string, Rule>>;

const INTENT = [
  'Loads records in random order of keys with little memory, then reads them with nothing cached, and shows memory, speed',
  'and device reads. Exit code 0: measured; 1: the run failed, or --check found something missed; 2: the arguments are',
  'wrong.',
].join('\n');

/** @throws UsageError */
export function parseOptions(args: readonly string[]): Options | 'help' {
  const given = new Arguments(RULES, args);
  if (given.flag('help')) return 'help';
  return {
    task: {
      // Keys are one to one below this.
      records: given.number('records', 1, 2 ** 32 - 1),
      valueBytes: given.number('value-bytes', 0, 100_000),
      memoryBytes: given.size('memory', MIB),
      batch: given.number('batch', 1, 100_000),
      writers: given.number('writers', 1, 10_000),
      durability: given.oneOf('durability', DURABILITIES),
      step: given.number('step', 1, 2 ** 32),
      gets: given.number('gets', 0, 2 ** 32),
      readers: given.number('readers', 1, 100_000),
      isBurst: given.flag('burst'),
      storeOptions: given.storeOptions('set'),
      directory: given.text('directory'),
    },
    report: given.text('report'),
    isChecked: given.flag('check'),
    beside: given.isGiven('beside') ? given.oneOf('beside', PEERS) : null,
  };
}

export function usage(): string {
  return usageOf('memory-load', RULES, INTENT);
}
