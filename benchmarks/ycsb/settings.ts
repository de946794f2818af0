/**
 * Every property that a run knows, with its type, its default and what it means: one table, from which the
 * settings are read, checked and listed by --help. What is wrong is found here, before the first operation;
 * behind this door settings are trusted. Properties of a database (`kv.…`, `durability`) are the
 * database's own and only pass through.
 *
 * Names and defaults are the reference's; `seed` is ours.
 */
import { isOfDatabase } from './database-names.ts';
import { percentilesOf } from './measurements/percentiles.ts';
import { SetupError } from './setup-error.ts';

interface Rule<T> {
  readonly fallback: T;
  /** What it means, for --help. */
  readonly text: string;
  readonly expected: string;
  /** The value, or undefined when the text is none. */
  parse(text: string): T | undefined;
}

/** Record numbers are ints of Java in the reference. */
const INT_MAX = 2 ** 31 - 1;

function whole<const D extends number | null>(min: number, fallback: D, text: string): Rule<number | D> {
  return {
    fallback,
    text,
    expected: `a whole number from ${min} to ${INT_MAX}`,
    parse: (given) => {
      const value = Number(given);
      return /^[+-]?\d+$/.test(given) && value >= min && value <= INT_MAX ? value : undefined;
    },
  };
}

function real(min: number, max: number, fallback: number, text: string): Rule<number> {
  return {
    fallback,
    text,
    expected: max === Infinity ? `a number, ${min} or more` : `a number from ${min} to ${max}`,
    parse: (given) => {
      const value = Number(given);
      return given !== '' && value >= min && value <= max && value < Infinity ? value : undefined;
    },
  };
}

function flag(fallback: boolean, text: string): Rule<boolean> {
  return {
    fallback,
    text,
    expected: 'true or false',
    parse: (given) => [true, false].find((value) => String(value) === given.toLowerCase()),
  };
}

/** @param synonyms other spellings, such as the class names of the reference */
function choice<const T extends string>(
  choices: readonly T[],
  fallback: NoInfer<T>,
  text: string,
  synonyms: Readonly<Record<string, NoInfer<T>>> = {},
): Rule<T> {
  return {
    fallback,
    text,
    expected: choices.join(', '),
    parse: (given) =>
      choices.find((one) => one === given) ?? (Object.hasOwn(synonyms, given) ? synonyms[given] : undefined),
  };
}

function text<const D extends string | null>(fallback: D, text: string): Rule<string | D> {
  return { fallback, text, expected: 'a text', parse: (given) => given };
}

const EXPORTERS = 'site.ycsb.measurements.exporter.';

const RULES = {
  workload: choice(['core'], 'core', 'the workload; there is this one', {
    CoreWorkload: 'core',
    'site.ycsb.workloads.CoreWorkload': 'core',
    'com.yahoo.ycsb.workloads.CoreWorkload': 'core',
  }),
  recordcount: whole(0, 0, 'records that are there once loaded; 0 means 2147483647'),
  operationcount: whole(0, 0, 'operations of the run phase; 0 means until maxexecutiontime'),
  insertstart: whole(0, 0, 'number of the first record'),
  insertcount: whole(0, null, 'records to load; recordcount - insertstart'),
  threadcount: whole(1, 1, 'concurrent clients, on one event loop'),
  target: whole(0, 0, 'operations a second to attempt, of all clients; 0 means as many as possible'),
  maxexecutiontime: whole(0, 0, 'seconds after which the phase stops; 0 means never'),
  status: flag(false, 'lines about the progress on stderr, as -s'),
  'status.interval': whole(1, 10, 'seconds between two of them'),
  label: text('', 'text before each of them, as -l'),
  exporter: choice(['text', 'json', 'jsonarray'], 'text', 'format of the results', {
    [`${EXPORTERS}TextMeasurementsExporter`]: 'text',
    [`${EXPORTERS}JSONMeasurementsExporter`]: 'json',
    [`${EXPORTERS}JSONArrayMeasurementsExporter`]: 'jsonarray',
  }),
  exportfile: text(null, 'file for the results; stdout'),
  table: text('usertable', 'name of the table'),
  fieldcount: whole(1, 10, 'fields of a record'),
  fieldlength: whole(0, 100, 'length of a field in bytes, or the most'),
  minfieldlength: whole(0, 1, 'least length of a field in bytes, unless constant'),
  fieldlengthdistribution: choice(['constant', 'uniform', 'zipfian'], 'constant', 'length of fields'),
  fieldnameprefix: text('field', 'name of a field, before its number'),
  readallfields: flag(true, 'read all fields of a record, not one'),
  writeallfields: flag(false, 'update all fields of a record, not one'),
  dataintegrity: flag(false, 'values follow from key and field, and whatever is read is checked'),
  readproportion: real(0, Infinity, 0.95, 'share of reads'),
  updateproportion: real(0, Infinity, 0.05, 'share of updates'),
  insertproportion: real(0, Infinity, 0, 'share of inserts'),
  scanproportion: real(0, Infinity, 0, 'share of scans'),
  readmodifywriteproportion: real(0, Infinity, 0, 'share of reads that are followed by an update'),
  requestdistribution: choice(
    ['uniform', 'zipfian', 'latest', 'hotspot', 'sequential', 'exponential'],
    'uniform',
    'which records operations are for',
  ),
  minscanlength: whole(1, 1, 'least records of a scan'),
  maxscanlength: whole(1, 1000, 'most records of a scan'),
  scanlengthdistribution: choice(['uniform', 'zipfian'], 'uniform', 'how many records a scan is for'),
  insertorder: choice(
    ['hashed', 'ordered'],
    'hashed',
    'whether the key is the hash of the record number or the number',
  ),
  zeropadding: whole(0, 1, 'least digits of the number in a key'),
  hotspotdatafraction: real(0, 1, 0.2, 'share of the records that is hot'),
  hotspotopnfraction: real(0, 1, 0.8, 'share of the operations for them'),
  'exponential.percentile': real(0, 99.999999, 95, 'per cent of the operations for the newest records'),
  'exponential.frac': real(0, 1, 0.8571428571, 'share of the records that counts as newest'),
  measurementtype: choice(
    ['hdrhistogram', 'histogram', 'hdrhistogram+histogram', 'timeseries'],
    'hdrhistogram',
    'how latencies are kept',
  ),
  'measurement.interval': choice(
    ['op', 'intended', 'both'],
    'op',
    'whether latency counts from the start or the intended start',
  ),
  'hdrhistogram.percentiles': {
    fallback: [50, 95, 99],
    text: 'percentiles in the results',
    expected: 'numbers from 0 to 100 with commas between',
    parse: percentilesOf,
  } as Rule<readonly number[]>,
  'histogram.buckets': whole(1, 1000, 'buckets of 1 ms of measurementtype=histogram'),
  'timeseries.granularity': whole(1, 1000, 'milliseconds of a point of measurementtype=timeseries'),
  seed: whole(0, null, 'seed of all random choices; another one each time'),
} satisfies Readonly<Record<string, Rule<unknown>>>;

type Table = typeof RULES;
export type Settings = { readonly [N in keyof Table]: Table[N] extends Rule<infer T> ? T : never };

const NAMES = Object.keys(RULES) as (keyof Settings)[];
/** Names that the command line sets. */
const ELSEWHERE = /^(?:db|dotransactions)$/;

/** The settings that these properties make. */
export function readSettings(properties: ReadonlyMap<string, string>): Settings {
  const settings = Object.fromEntries(NAMES.map((name) => [name, valueOf(name, properties.get(name))])) as Settings;
  requireSense(settings);
  return settings;
}

/** Names that mean nothing here; a misspelt one would else be a silent default. */
export function unknownProperties(properties: ReadonlyMap<string, string>): string[] {
  return [...properties.keys()].filter(
    (name) => !Object.hasOwn(RULES, name) && !ELSEWHERE.test(name) && !isOfDatabase(name),
  );
}

/** One line for each property: name, default, meaning. */
export function describeProperties(): string[] {
  return NAMES.map((name) => {
    const { fallback, text } = RULES[name];
    const shown = fallback === null || fallback === '' ? name : `${name}=${String(fallback)}`;
    return `  ${shown.padEnd(38)} ${text}`;
  });
}

export function propertyNames(): readonly string[] {
  return NAMES;
}

/** The records that are loaded: the first, and how many. */
export function recordsToLoad(settings: Settings): { start: number; count: number; total: number } {
  const total = settings.recordcount === 0 ? INT_MAX : settings.recordcount;
  const start = settings.insertstart;
  return { start, count: settings.insertcount ?? total - start, total };
}

function valueOf(name: keyof Settings, given: string | undefined): unknown {
  const rule = RULES[name];
  if (given === undefined) return rule.fallback;
  const value = rule.parse(rule.expected === 'a text' ? given : given.trim());
  if (value !== undefined) return value;
  throw new SetupError(`${name}=${given}: expected ${rule.expected}`);
}

function requireSense(settings: Settings): void {
  const { start, count, total } = recordsToLoad(settings);
  const proportions = ['readproportion', 'updateproportion', 'insertproportion', 'scanproportion'] as const;
  const checks: [boolean, string][] = [
    [count >= 0 && start + count <= total, 'insertstart + insertcount must not be more than recordcount'],
    [
      !settings.dataintegrity || settings.fieldlengthdistribution === 'constant',
      'dataintegrity=true needs fieldlengthdistribution=constant',
    ],
    [
      settings.fieldlengthdistribution === 'constant' || settings.minfieldlength <= settings.fieldlength,
      'minfieldlength must not be more than fieldlength',
    ],
    [settings.minscanlength <= settings.maxscanlength, 'minscanlength must not be more than maxscanlength'],
    [
      proportions.some((name) => settings[name] > 0) || settings.readmodifywriteproportion > 0,
      'one of the proportions must be more than 0',
    ],
  ];
  for (const [holds, message] of checks) if (!holds) throw new SetupError(message);
}
