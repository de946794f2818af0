/** The arguments, the text of --help, and the presets with what is wanted of each. Nothing is opened here. */
import { KIB } from '@aiokv/core';
import type { Durability } from '@aiokv/kv';
import { Arguments, DURABILITIES, usageOf } from '../common/arguments.ts';
import type { Rule } from '../common/arguments.ts';

const DISTRIBUTIONS = ['uniform', 'zipfian'] as const;

/** What is loaded and overwritten, and how large space and writing may become in proportion to keys and values. */
interface Preset {
  readonly records: number;
  readonly valueBytes: number;
  readonly distribution: (typeof DISTRIBUTIONS)[number];
  readonly spaceMax: number;
  readonly writtenMax: number;
}

const PRESETS = {
  '1k-uniform': { records: 300_000, valueBytes: 1000, distribution: 'uniform', spaceMax: 1.8, writtenMax: 2.7 },
  '1k-zipfian': { records: 300_000, valueBytes: 1000, distribution: 'zipfian', spaceMax: 1.8, writtenMax: 2.4 },
  '100b-uniform': { records: 1_000_000, valueBytes: 100, distribution: 'uniform', spaceMax: 3.1, writtenMax: 3.7 },
} as const satisfies Readonly<Record<string, Preset>>;
type PresetName = keyof typeof PRESETS;
const PRESET_NAMES = Object.keys(PRESETS) as PresetName[];

/** What one process does: one preset, with what the arguments change of it. */
export interface Task extends Preset {
  readonly preset: PresetName;
  /** Of the data set, as often as it is put after the load. */
  readonly times: number;
  readonly writers: number;
  readonly readers: number;
  /** After so long the overwriting ends, however much was put; null: never. */
  readonly secondsMax: number | null;
  readonly durability: Durability;
  readonly isDeleted: boolean;
  /** After the deletion, without a call. */
  readonly idleSeconds: number;
  readonly storeOptions: Readonly<Record<string, string | number | boolean>>;
  readonly directory: string;
  readonly seed: number;
}

export interface Options {
  readonly tasks: readonly Task[];
  /** Lines of JSON of earlier runs, to draw instead of measuring. */
  readonly drawn: readonly string[];
  /** Lines of JSON of an earlier run, whose reads these are compared with; null: none. */
  readonly beside: string | null;
  /** Without `.html` and `.jsonl`. */
  readonly report: string;
  readonly directory: string;
  readonly isChecked: boolean;
}

const RULES = {
  preset: { takes: 'names, with commas', describe: `of ${PRESET_NAMES.join(', ')}`, default: '1k-uniform,1k-zipfian' },
  records: { takes: 'number', describe: 'such as 300k, instead of what the preset says' },
  'value-bytes': { takes: 'number', describe: 'from 16, instead of what the preset says' },
  distribution: { takes: DISTRIBUTIONS.join('|'), describe: 'of the overwrites, instead of what the preset says' },
  times: { takes: 'number', describe: 'how often the data set is put after the load', default: '10' },
  writers: { takes: 'number', describe: 'puts under way at once', default: '64' },
  readers: { takes: 'number', describe: 'gets under way at once, of uniform keys', default: '8' },
  seconds: { takes: 'number', describe: 'end the overwriting after so long' },
  durability: { takes: DURABILITIES.join('|'), describe: 'of the overwrites', default: 'flushed' },
  // oxlint-disable-next-line unicorn/no-thenable -- the name of an option
  then: { takes: 'delete', describe: 'delete everything afterwards, and look at the space without a call' },
  idle: { takes: 'number', describe: 'seconds without a call after --then delete', default: '30' },
  set: { takes: 'name=value', describe: 'an option of the store; may be given more than once', isList: true },
  beside: { takes: 'path', describe: 'the .jsonl of a run with cleaning off, to compare the reads with' },
  draw: { takes: 'path', describe: 'measure nothing, draw this .jsonl; may be given more than once', isList: true },
  report: { takes: 'path', describe: 'where <path>.html and <path>.jsonl go', default: '.tmp-space-report' },
  directory: { takes: 'path', describe: 'where the stores lie meanwhile', default: '.tmp-space' },
  seed: { takes: 'number', describe: 'of the order of keys', default: '1' },
  check: { describe: 'exit with 1 when something that is wanted was missed' },
  help: { describe: 'this text' },
} as const satisfies Readonly<Record<string, Rule>>;

const INTENT = [
  'Overwrites a data set many times, beside readers, and draws what it costs over time: space, bytes written, latencies,',
  'the event loop, memory. Exit code 0: measured; 1: a run failed, or --check found something missed; 2: the arguments',
  'are wrong.',
].join('\n');

/** @throws UsageError */
export function parseOptions(args: readonly string[]): Options | 'help' {
  const given = new Arguments(RULES, args);
  if (given.flag('help')) return 'help';
  if (given.isGiven('then')) given.oneOf('then', ['delete']);
  const directory = given.text('directory');
  const tasks = given.someOf('preset', PRESET_NAMES).map((preset): Task => {
    const { records, valueBytes, distribution, ...limits } = PRESETS[preset];
    return {
      preset,
      ...limits,
      records: given.isGiven('records') ? given.number('records', 1, 2 ** 31) : records,
      valueBytes: given.isGiven('value-bytes') ? given.number('value-bytes', 16, 256 * KIB) : valueBytes,
      distribution: given.isGiven('distribution') ? given.oneOf('distribution', DISTRIBUTIONS) : distribution,
      times: given.number('times', 0, 1_000_000),
      writers: given.number('writers', 1, 10_000),
      readers: given.number('readers', 0, 10_000),
      secondsMax: given.isGiven('seconds') ? given.number('seconds', 1, 1_000_000) : null,
      durability: given.oneOf('durability', DURABILITIES),
      isDeleted: given.isGiven('then'),
      idleSeconds: given.number('idle', 1, 100_000),
      storeOptions: given.storeOptions('set'),
      directory: `${directory}/${preset}`,
      seed: given.number('seed', 0, 2 ** 31),
    };
  });
  return {
    tasks,
    drawn: given.list('draw'),
    beside: given.isGiven('beside') ? given.text('beside') : null,
    report: given.text('report'),
    directory,
    isChecked: given.flag('check'),
  };
}

export function usage(): string {
  return usageOf('space', RULES, INTENT);
}
