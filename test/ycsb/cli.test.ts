/** The program as it is used: arguments, what goes to which stream, files and exit codes. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { cli } from '../../benchmarks/ycsb/cli.ts';

const WORKLOAD = ['-P', 'benchmarks/workloads/workloada'];

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = '';
  let err = '';
  const code = await cli(args, { out: (text) => (out += text), err: (text) => (err += text) });
  return { code, out, err };
}

test('a load prints results to stdout, and nothing else there', async (t) => {
  const { code, out, err } = await run(
    'load',
    'memory',
    ...WORKLOAD,
    '-s',
    '-threads',
    '4',
    '-p',
    'dataintegrity=true',
  );
  t.is(code, 0);
  t.true(out.split('\n').every((line) => line === '' || /^\[[A-Z-]+\], [^,]+, [\d.]+$/.test(line)));
  t.regex(out, /^\[OVERALL\], RunTime\(ms\), \d+\n\[OVERALL\], Throughput\(ops\/sec\), \d+\.\d+\n/);
  t.regex(out, /^\[INSERT\], Return=OK, 1000$/m);
  t.regex(err, /1000 operations, 4 clients, seed=\d+/);
  t.regex(err, /sec: 1000 operations;/);
});

test('results go to a file, as JSON', async (t) => {
  const directory = await mkdtemp(join(process.cwd(), '.tmp-ycsb-'));
  try {
    const file = join(directory, 'results.json');
    const { code, out } = await run(
      'run',
      'basic',
      ...WORKLOAD,
      '-p',
      `exportfile=${file}`,
      '-p',
      'exporter=jsonarray',
    );
    t.is(code, 0);
    t.is(out, '');
    const rows = JSON.parse(await readFile(file, 'utf8')) as { metric: string; measurement: string; value: number }[];
    t.true(rows.some((row) => row.metric === 'READ' && row.measurement === 'Return=OK' && row.value > 300));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test('mismatches and failures make the exit code 1', async (t) => {
  // A memory database is empty at the start of each phase: nothing is found.
  const { code, out, err } = await run('run', 'memory', ...WORKLOAD, '-p', 'dataintegrity=true');
  t.is(code, 1);
  t.regex(out, /^\[VERIFY\], Return=ERROR, \d+$/m);
  t.regex(err, /\d+ records were not as expected/);
});

test('what is wrong beforehand makes the exit code 2, in one line', async (t) => {
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /load or run/],
    [['load', 'redis', ...WORKLOAD], /no database 'redis': it is one of kv, level, .*, basic/],
    [['load', 'toString', ...WORKLOAD], /no database/],
    [['run', 'basic', '-P', 'nowhere'], /cannot read the properties file nowhere/],
    [['run', 'basic', ...WORKLOAD, '-p', 'fieldcount=x'], /fieldcount=x: expected a whole number/],
    [['run', 'basic', ...WORKLOAD, '-p', 'exportfile=no/such/directory/file'], /ENOENT/],
    [['run', 'basic'], /operationcount/],
  ];
  for (const [args, message] of wrong) {
    const { code, out, err } = await run(...args);
    t.is(code, 2, args.join(' '));
    t.is(out, '');
    t.regex(err, message);
    t.regex(err, /^ycsb: .*\n$/, 'one line, no stack');
  }
});

test('a property that means nothing is told', async (t) => {
  const { code, err } = await run('run', 'basic', ...WORKLOAD, '-p', 'recordCount=5');
  t.is(code, 0);
  t.regex(err, /recordCount is not known/);
});

test('--help is printed, and the process ends with the code', (t) => {
  const main = (...args: string[]): ReturnType<typeof spawnSync> =>
    spawnSync(process.execPath, [...process.execArgv, 'benchmarks/ycsb/main.ts', ...args], { encoding: 'utf8' });
  const help = main('--help');
  t.is(help.status, 0);
  t.regex(String(help.stdout), /^usage: npm run -s ycsb -- load\|run/);
  const wrong = main('run', 'basic', '-P', 'nowhere');
  t.is(wrong.status, 2);
  t.is(wrong.stdout, '');
  const loaded = main('load', 'memory', ...WORKLOAD);
  t.is(loaded.status, 0);
  t.regex(String(loaded.stdout), /Return=OK, 1000/);
});
