/** Properties as settings, and the command line that they come from. */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { parseCommandLine, usage } from '../../benchmarks/ycsb/command-line.ts';
import { propertyNames, readSettings, recordsToLoad, unknownProperties } from '../../benchmarks/ycsb/settings.ts';
import { SetupError } from '../../benchmarks/ycsb/setup-error.ts';

function settingsOf(properties: Readonly<Record<string, string>>): ReturnType<typeof readSettings> {
  return readSettings(new Map(Object.entries(properties)));
}

test('defaults are those of the reference', (t) => {
  t.like(settingsOf({}), {
    recordcount: 0,
    operationcount: 0,
    insertstart: 0,
    threadcount: 1,
    target: 0,
    maxexecutiontime: 0,
    'status.interval': 10,
    table: 'usertable',
    fieldcount: 10,
    fieldlength: 100,
    minfieldlength: 1,
    fieldlengthdistribution: 'constant',
    fieldnameprefix: 'field',
    readallfields: true,
    writeallfields: false,
    dataintegrity: false,
    readproportion: 0.95,
    updateproportion: 0.05,
    insertproportion: 0,
    scanproportion: 0,
    readmodifywriteproportion: 0,
    requestdistribution: 'uniform',
    minscanlength: 1,
    maxscanlength: 1000,
    scanlengthdistribution: 'uniform',
    insertorder: 'hashed',
    zeropadding: 1,
    hotspotdatafraction: 0.2,
    hotspotopnfraction: 0.8,
    'exponential.percentile': 95,
    'exponential.frac': 0.8571428571,
    measurementtype: 'hdrhistogram',
    'measurement.interval': 'op',
    'hdrhistogram.percentiles': [50, 95, 99],
  });
});

test('values are read by their type, with blanks around them', (t) => {
  t.like(settingsOf({ recordcount: ' 5000 ', readproportion: '.5', dataintegrity: 'TRUE', table: ' t ' }), {
    recordcount: 5000,
    readproportion: 0.5,
    dataintegrity: true,
    table: ' t ',
  });
  t.deepEqual(settingsOf({ 'hdrhistogram.percentiles': '50, 99,99.9' })['hdrhistogram.percentiles'], [50, 99, 99.9]);
  t.is(settingsOf({ exporter: 'site.ycsb.measurements.exporter.JSONArrayMeasurementsExporter' }).exporter, 'jsonarray');
});

const REFUSED: readonly (readonly [Readonly<Record<string, string>>, RegExp])[] = [
  [{ recordcount: 'many' }, /recordcount=many: expected a whole number/],
  [{ recordcount: '1e3' }, /whole number/],
  [{ threadcount: '0' }, /threadcount=0: expected a whole number from 1/],
  [{ readproportion: '-1' }, /readproportion=-1: expected a number, 0 or more/],
  [{ readproportion: '' }, /readproportion=/],
  [{ hotspotdatafraction: '1.5' }, /from 0 to 1/],
  [{ dataintegrity: 'yes' }, /true or false/],
  [{ dataintegrity: 'constructor' }, /true or false/],
  [{ requestdistribution: 'normal' }, /requestdistribution=normal: expected uniform, zipfian, latest/],
  [{ exporter: 'toString' }, /expected text, json, jsonarray/],
  [{ workload: 'site.ycsb.workloads.RestWorkload' }, /expected core/],
  [{ 'measurement.interval': 'all' }, /op, intended, both/],
  [{ 'hdrhistogram.percentiles': '50,,99' }, /numbers from 0 to 100/],
  [{ measurementtype: 'raw' }, /hdrhistogram/],
  [{ recordcount: '10', insertstart: '5', insertcount: '6' }, /insertstart \+ insertcount/],
  [{ recordcount: '10', insertstart: '11' }, /insertstart \+ insertcount/],
  [{ dataintegrity: 'true', fieldlengthdistribution: 'uniform' }, /fieldlengthdistribution=constant/],
  [{ minscanlength: '10', maxscanlength: '5' }, /minscanlength/],
  [{ fieldlength: '5', minfieldlength: '6', fieldlengthdistribution: 'zipfian' }, /minfieldlength/],
  [{ readproportion: '0', updateproportion: '0' }, /proportions/],
];

for (const [properties, message] of REFUSED) {
  test(`refused: ${JSON.stringify(properties)}`, (t) => {
    t.throws(() => settingsOf(properties), { instanceOf: SetupError, message });
  });
}

test('names that mean nothing are found', (t) => {
  const properties = new Map([
    ['recordcount', '1'],
    ['recordCount', '1'],
    ['kv.path', 'x'],
    ['db', 'kv'],
    ['toString', 'x'],
  ]);
  t.deepEqual(unknownProperties(properties), ['recordCount', 'toString']);
});

test('the records to load', (t) => {
  t.deepEqual(recordsToLoad(settingsOf({ recordcount: '100', insertstart: '20' })), {
    start: 20,
    count: 80,
    total: 100,
  });
  t.deepEqual(recordsToLoad(settingsOf({ recordcount: '100', insertstart: '20', insertcount: '5' })), {
    start: 20,
    count: 5,
    total: 100,
  });
  t.is(recordsToLoad(settingsOf({})).total, 2 ** 31 - 1);
});

test('the command line beats files, and later files earlier ones', async (t) => {
  const directory = await mkdtemp(join(process.cwd(), '.tmp-ycsb-'));
  try {
    const [one, two] = [join(directory, 'one'), join(directory, 'two')];
    await writeFile(one, 'recordcount=1\noperationcount=1\ntable=one\nlabel=file\n');
    await writeFile(two, 'recordcount=2\noperationcount=2\n');
    const { phase, database, properties } = parseCommandLine([
      'run',
      'kv',
      '-p',
      'recordcount=3',
      '-P',
      one,
      '-s',
      '-threads',
      '8',
      '-P',
      two,
      '-target',
      '100',
      '-l',
      'me',
      '-p',
      'a=b=c',
    ]);
    t.deepEqual([phase, database], ['run', 'kv']);
    t.deepEqual(Object.fromEntries(properties), {
      recordcount: '3',
      operationcount: '2',
      table: 'one',
      label: 'me',
      status: 'true',
      threadcount: '8',
      target: '100',
      a: 'b=c',
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test('a wrong command line is told what is wrong', (t) => {
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /load or run/],
    [['walk', 'kv'], /load or run, not 'walk'/],
    [['run'], /name of a database/],
    [['run', '-s'], /name of a database/],
    [['run', 'kv', '-P'], /-P needs a value/],
    [['run', 'kv', '-p', 'x'], /name=value/],
    [['run', 'kv', '-threads'], /-threads needs a value/],
    [['run', 'kv', '-x'], /no option -x/],
    [['run', 'kv', 'toString'], /no option toString/],
  ];
  for (const [args, message] of wrong) t.throws(() => parseCommandLine(args), { instanceOf: SetupError, message });
});

test('every property is in --help and in the README', (t) => {
  const readme = readFileSync('benchmarks/ycsb/README.md', 'utf8');
  for (const name of propertyNames()) {
    t.regex(usage(), new RegExp(`^ {2}${name}(=| )`, 'm'));
    t.true(readme.includes(`\`${name}\``), `${name} is in the README`);
  }
});
