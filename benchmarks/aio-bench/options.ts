/**
 * The arguments, in fio's words where fio has one, and the text of --help: one table says what each option
 * takes, what it means and how it is read. Nothing is opened here.
 */
import { parseArgs } from 'node:util';
import { GIB, KIB, MIB } from '@aiokv/core';
import type { ForeignInterfaceName, QueueOptions } from '@aiokv/aio';

const WORKLOADS = ['randread', 'randwrite', 'read', 'write', 'randrw'] as const;
export type Workload = (typeof WORKLOADS)[number];

const ENGINES = ['libaio', 'io_uring', 'posix', 'threads', 'fs'] as const;
/** An engine of a queue, or `fs`: Node's own file handles. */
export type BenchEngine = (typeof ENGINES)[number];

const FORMS = ['promise', 'callback'] as const;
const INTERFACES: readonly ForeignInterfaceName[] = ['koffi', 'ffi-napi'];
const LARGEST_DEPTH = 4096;

export interface Options {
  readonly rw: readonly Workload[];
  /** Bytes of one request; several are measured one after the other, like all lists here. */
  readonly bs: readonly number[];
  readonly iodepth: readonly number[];
  readonly engine: readonly BenchEngine[];
  readonly runtimeSeconds: number;
  readonly sizeBytes: number;
  /** Undefined: a temporary file. */
  readonly filename: string | undefined;
  readonly overwrite: boolean;
  readonly rounds: number;
  /** Of `randrw`: reads in a hundred requests. */
  readonly readPercent: number;
  readonly form: (typeof FORMS)[number];
  /** Undefined: what the platform takes by itself. */
  readonly ffi: ForeignInterfaceName | undefined;
  readonly vsFio: boolean;
  readonly drift: boolean;
  readonly json: boolean;
  /** Handed to every queue. */
  readonly queue: Partial<Pick<QueueOptions, 'batchMin' | 'spinTurns' | 'policy'>>;
  readonly uring: UringChoice;
}

/** How `io_uring` is set up, ours and fio's alike. */
export interface UringChoice {
  readonly sqpoll: boolean;
  readonly iopoll: boolean;
  /** Buffers and file are made known to the kernel once. */
  readonly registered: boolean;
}

/** What is wrong before anything was measured: shown as its message, without a stack, with exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

interface Rule {
  /** What a value looks like; undefined for a flag. */
  readonly takes?: string;
  readonly describe: string;
}

const RULES = {
  rw: { takes: `a list of ${WORKLOADS.join(', ')}`, describe: 'the requests; default randread' },
  bs: { takes: 'a list of sizes such as 4k,1M, multiples of 512', describe: 'bytes of a request; default 4k' },
  iodepth: { takes: `a list of numbers from 1 to ${LARGEST_DEPTH}`, describe: 'in flight; default 1,8,32,128' },
  engine: { takes: `a list of ${ENGINES.join(', ')}`, describe: 'what carries the requests; default libaio' },
  runtime: { takes: 'seconds, from 0.05', describe: 'of each measurement, the first tenth uncounted; default 5' },
  size: { takes: 'a size such as 64M or 1G', describe: 'of the file, or of the part of it that is used; default 1G' },
  filename: { takes: 'a path', describe: 'a file or block device; default: a temporary file, removed afterwards' },
  overwrite: { describe: 'let write workloads destroy the contents of an existing --filename' },
  rounds: { takes: 'a number from 1 to 99', describe: 'measurements of each row, of which the median; default 1' },
  rwmixread: { takes: 'a number from 0 to 100', describe: 'of randrw: reads in a hundred requests; default 50' },
  form: { takes: FORMS.join(' or '), describe: 'how the queue is called; default promise' },
  ffi: { takes: INTERFACES.join(' or '), describe: 'the foreign-function interface; default: as linuxPlatform has it' },
  'batch-min': { takes: 'a number from 1 to 4096', describe: "the queue's batchMin" },
  'spin-turns': { takes: 'a number from 0 to 10000', describe: "the queue's spinTurns" },
  policy: {
    takes: 'latency, throughput or MIN:MAX:MS such as 16:128:0.2',
    describe: "the queue's policy: minComplete, maxComplete, timeoutMs",
  },
  sqpoll: { describe: 'io_uring: a thread of the kernel takes the submissions' },
  iopoll: { describe: 'io_uring: completions are polled for on the device' },
  registered: { describe: 'io_uring: registered buffers and file' },
  'vs-fio': { describe: 'run fio beside each measurement, where it is installed' },
  drift: { describe: 'report how late a timer of 1 ms fires meanwhile' },
  json: { describe: 'one JSON array of rows on stdout, and nothing else' },
  help: { describe: 'this text' },
} as const satisfies Record<string, Rule>;

type OptionName = keyof typeof RULES;
type Given = ReadonlyMap<OptionName, string | true>;

/**
 * @returns 'help' when that is what was asked for
 * @throws UsageError, which names the option and what it takes
 */
export function parseOptions(args: readonly string[]): Options | 'help' {
  const given = readArguments(args);
  if (given.has('help')) return 'help';
  const text = (name: OptionName): string | undefined => given.get(name) as string | undefined;
  const wrong = (name: OptionName): UsageError => badValue(name, text(name));
  const list = <T>(name: OptionName, fallback: string, read: (item: string) => T | undefined): T[] =>
    (text(name) ?? fallback).split(',').map((item) => read(item.trim()) ?? raise(wrong(name)));
  const one = <T>(name: OptionName, read: (item: string) => T | undefined): T | undefined => {
    const value = text(name);
    return value === undefined ? undefined : (read(value) ?? raise(wrong(name)));
  };
  const options: Options = {
    rw: list('rw', 'randread', oneOf(WORKLOADS)),
    bs: list('bs', '4k', (item) => multipleOf512(parseSize(item))),
    iodepth: list('iodepth', '1,8,32,128', whole(1, LARGEST_DEPTH)),
    engine: list('engine', 'libaio', oneOf(ENGINES)),
    runtimeSeconds: one('runtime', between(0.05, 86_400)) ?? 5,
    sizeBytes: one('size', parseSize) ?? GIB,
    filename: one('filename', (value) => (value === '' ? undefined : value)),
    overwrite: given.has('overwrite'),
    rounds: one('rounds', whole(1, 99)) ?? 1,
    readPercent: one('rwmixread', whole(0, 100)) ?? 50,
    form: one('form', oneOf(FORMS)) ?? 'promise',
    ffi: one('ffi', oneOf(INTERFACES)),
    vsFio: given.has('vs-fio'),
    drift: given.has('drift'),
    json: given.has('json'),
    queue: withoutUndefined({
      batchMin: one('batch-min', whole(1, 4096)),
      spinTurns: one('spin-turns', whole(0, 10_000)),
      policy: one('policy', parsePolicy),
    }),
    uring: { sqpoll: given.has('sqpoll'), iopoll: given.has('iopoll'), registered: given.has('registered') },
  };
  const largest = Math.max(...options.bs);
  if (largest > options.sizeBytes) {
    throw new UsageError(
      `--size ${formatSize(options.sizeBytes)} has no room for one block of --bs ${formatSize(largest)}`,
    );
  }
  return options;
}

export function usage(): string {
  const heads = Object.entries(RULES).map(([name, rule]) => [`--${name}`, rule] as const);
  return [
    'usage: npm run -s aio-bench -- [options]',
    '',
    'Measures direct I/O through a queue, a row for each engine, rw, bs and iodepth.',
    '',
    ...heads.flatMap(([head, rule]: readonly [string, Rule]) => {
      const line = `  ${head.padEnd(13)}${rule.describe}`;
      return rule.takes === undefined ? [line] : [line, `  ${''.padEnd(13)}  takes ${rule.takes}`];
    }),
    '',
    'Exit code: 0 measured; 1 a measurement failed; 2 the arguments are wrong or the file will not do.',
    '',
  ].join('\n');
}

/** As fio has them: powers of 1024, in either case, with or without a B behind the letter. */
export function parseSize(text: string): number | undefined {
  const [, digits, unit = ''] = /^(\d+)(?:([kmg])b?)?$/i.exec(text) ?? [];
  if (digits === undefined) return undefined;
  const bytes = Number(digits) * ({ k: KIB, m: MIB, g: GIB }[unit.toLowerCase()] ?? 1);
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** As fio takes them: `4k`, `1M`, `1G`, and the number itself where no unit fits. */
export function formatSize(bytes: number): string {
  for (const [unit, factor] of [
    ['G', GIB],
    ['M', MIB],
    ['k', KIB],
  ] as const) {
    if (bytes % factor === 0) return `${bytes / factor}${unit}`;
  }
  return String(bytes);
}

/** Not strict, because the messages of `parseArgs` do not say what an option takes. */
function readArguments(args: readonly string[]): Given {
  const isFlag = (name: OptionName): boolean => !('takes' in RULES[name]);
  const names = Object.keys(RULES) as OptionName[];
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries(names.map((name) => [name, { type: isFlag(name) ? 'boolean' : 'string' } as const])),
    strict: false,
    tokens: true,
  });
  const given = new Map<OptionName, string | true>();
  for (const token of tokens) {
    if (token.kind === 'option-terminator') continue;
    if (token.kind === 'positional') throw new UsageError(`'${token.value}' belongs to no option: see --help`);
    if (!Object.hasOwn(RULES, token.name)) throw new UsageError(`there is no option ${token.rawName}: see --help`);
    const name = token.name as OptionName;
    if (isFlag(name) !== (token.value === undefined)) throw badValue(name, token.value);
    given.set(name, token.value ?? true);
  }
  return given;
}

function badValue(name: OptionName, value: string | undefined): UsageError {
  const { takes = 'no value' }: Rule = RULES[name];
  return new UsageError(`--${name} takes ${takes}${value === undefined ? '' : `, not '${value}'`}`);
}

function raise(error: UsageError): never {
  throw error;
}

function oneOf<T extends string>(choices: readonly T[]): (item: string) => T | undefined {
  return (item) => choices.find((choice) => choice === item);
}

function between(least: number, most: number): (item: string) => number | undefined {
  return (item) => {
    const value = /^\d*\.?\d+$/.test(item) ? Number(item) : NaN;
    return value >= least && value <= most ? value : undefined;
  };
}

function whole(least: number, most: number): (item: string) => number | undefined {
  const read = between(least, most);
  return (item) => (/^\d+$/.test(item) ? read(item) : undefined);
}

function multipleOf512(bytes: number | undefined): number | undefined {
  return bytes !== undefined && bytes % 512 === 0 ? bytes : undefined;
}

function parsePolicy(text: string): QueueOptions['policy'] | undefined {
  if (text === 'latency' || text === 'throughput') return text;
  const [min = '', max = '', ms = '', ...rest] = text.split(':');
  const minComplete = whole(1, 4096)(min);
  const maxComplete = whole(1, 4096)(max);
  const timeoutMs = between(0, 2)(ms);
  if (minComplete === undefined || maxComplete === undefined || timeoutMs === undefined || rest.length > 0) {
    return undefined;
  }
  return { minComplete, maxComplete, timeoutMs };
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function withoutUndefined<T extends object>(values: T): Defined<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Defined<T>;
}
