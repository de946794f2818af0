/** The benchmark tool: its arguments, what it prints, what it will not touch, and how it reads fio's report. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import test from 'ava';
import type { CompletionHandler } from '@aiokv/aio';
import { DriftMeter } from '../../benchmarks/aio-bench/drift.ts';
import { fioArguments, isFioInstalled, parseFioReport, runFio } from '../../benchmarks/aio-bench/fio.ts';
import type { FioLoad } from '../../benchmarks/aio-bench/fio.ts';
import type { Target } from '../../benchmarks/aio-bench/engines.ts';
import { measure } from '../../benchmarks/aio-bench/load.ts';
import { UsageError, formatSize, parseOptions, parseSize, usage } from '../../benchmarks/aio-bench/options.ts';
import type { Options } from '../../benchmarks/aio-bench/options.ts';
import { formatText, medians } from '../../benchmarks/aio-bench/report.ts';
import type { Row } from '../../benchmarks/aio-bench/report.ts';
import { fromSource } from '../helpers/from-source.ts';
import { skipWhere } from '../helpers/skip.ts';

const withFio = skipWhere((await isFioInstalled()) ? null : 'fio is not installed', test.serial);

const NODE_ARGUMENTS = fromSource('benchmarks/aio-bench/main.ts');

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** In a directory of its own, removed afterwards. */
async function inDirectory(use: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(resolve('.tmp-aio-bench-test-'));
  try {
    await use(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function run(directory: string, args: readonly string[], path = process.env['PATH']): Ran {
  const ran = spawnSync(process.execPath, [...NODE_ARGUMENTS, ...args], {
    cwd: directory,
    encoding: 'utf8',
    env: { ...process.env, PATH: path },
    timeout: 60_000,
  });
  return { code: ran.status, out: ran.stdout, err: ran.stderr };
}

function parsed(...args: string[]): Options {
  const options = parseOptions(args);
  if (options === 'help') throw new Error('no help was asked for');
  return options;
}

test('without arguments: random reads of 4 KiB through libaio, at four depths', (t) => {
  t.deepEqual(parsed(), {
    rw: ['randread'],
    bs: [4096],
    iodepth: [1, 8, 32, 128],
    engine: ['libaio'],
    runtimeSeconds: 5,
    sizeBytes: 1024 ** 3,
    filename: undefined,
    overwrite: false,
    rounds: 1,
    readPercent: 50,
    form: 'promise',
    ffi: undefined,
    vsFio: false,
    drift: false,
    json: false,
    queue: {},
    uring: { sqpoll: false, iopoll: false, registered: false },
  });
});

test("fio's words are understood, as lists where that makes sense", (t) => {
  const options = parsed(
    ...'--rw randrw,write --rwmixread 70 --bs 4k,1M --iodepth=1,16 --engine fs,io_uring --runtime 0.5'.split(' '),
    ...'--size 64m --filename disk --overwrite --rounds 5 --form callback --ffi koffi --vs-fio --drift --json'.split(
      ' ',
    ),
    ...'--batch-min 8 --spin-turns 0 --policy 16:128:0.2 --sqpoll --iopoll --registered'.split(' '),
  );
  t.deepEqual(options, {
    rw: ['randrw', 'write'],
    bs: [4096, 1024 ** 2],
    iodepth: [1, 16],
    engine: ['fs', 'io_uring'],
    runtimeSeconds: 0.5,
    sizeBytes: 64 * 1024 ** 2,
    filename: 'disk',
    overwrite: true,
    rounds: 5,
    readPercent: 70,
    form: 'callback',
    ffi: 'koffi',
    vsFio: true,
    drift: true,
    json: true,
    queue: { batchMin: 8, spinTurns: 0, policy: { minComplete: 16, maxComplete: 128, timeoutMs: 0.2 } },
    uring: { sqpoll: true, iopoll: true, registered: true },
  });
  t.is(parsed('--policy', 'throughput').queue.policy, 'throughput');
});

test('sizes are read and written as fio does', (t) => {
  t.deepEqual(['4k', '4K', '4kb', '1M', '2g', '512'].map(parseSize), [4096, 4096, 4096, 1024 ** 2, 2 * 1024 ** 3, 512]);
  t.deepEqual(['', 'k', '0', '1.5k', '-1', '4kk', '9999999999g'].map(parseSize), Array(7).fill(undefined));
  t.deepEqual([512, 4096, 1024 ** 2, 3 * 1024 ** 3].map(formatSize), ['512', '4k', '1M', '3G']);
});

test('what is wrong is told by the name of the option and what it takes', (t) => {
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['--frobnicate', /no option --frobnicate/],
    ['-x', /no option -x/],
    ['here', /'here' belongs to no option/],
    ['--rw trim', /--rw takes a list of randread, .*, not 'trim'/],
    ['--rw randread,', /--rw takes/],
    ['--bs 4q', /--bs takes a list of sizes .*, not '4q'/],
    ['--bs 1000', /--bs takes .*multiples of 512, not '1000'/],
    ['--bs --json', /--bs takes .*, not '--json'/],
    ['--bs', /--bs takes a list of sizes/],
    ['--iodepth 0', /--iodepth takes .*4096, not '0'/],
    ['--iodepth 1.5', /--iodepth takes/],
    ['--engine toString', /--engine takes a list of libaio, .*fs, not 'toString'/],
    ['--runtime 0', /--runtime takes seconds/],
    ['--size -1', /--size takes a size/],
    ['--rounds 1e3', /--rounds takes/],
    ['--rwmixread 101', /--rwmixread takes a number from 0 to 100, not '101'/],
    ['--form sync', /--form takes promise or callback, not 'sync'/],
    ['--ffi node', /--ffi takes koffi or ffi-napi, not 'node'/],
    ['--policy 1:2', /--policy takes latency, throughput or MIN:MAX:MS/],
    ['--policy 1:2:3', /--policy takes/],
    ['--json=yes', /--json takes no value, not 'yes'/],
    ['--bs 1M --size 4k', /--size 4k has no room for one block of --bs 1M/],
  ];
  for (const [args, message] of wrong) {
    t.throws(() => parseOptions(args.split(' ')), { instanceOf: UsageError, message }, args);
  }
  t.is(parseOptions(['--rw', 'randread', '--help']), 'help');
  for (const option of ['--rw', '--iodepth', '--engine', '--vs-fio', '--registered']) t.true(usage().includes(option));
});

test.serial('wrong arguments end with 2 and one line on stderr, --help with 0', async (t) => {
  await inDirectory(async (directory) => {
    const wrong = run(directory, ['--iodepth', 'deep', '--json']);
    t.deepEqual([wrong.code, wrong.out], [2, '']);
    t.is(wrong.err, "aio-bench: --iodepth takes a list of numbers from 1 to 4096, not 'deep'\n");
    const help = run(directory, ['--help']);
    t.deepEqual([help.code, help.out, help.err], [0, usage(), '']);
    t.deepEqual(await readdir(directory), []);
  });
});

test.serial('--json prints an array of rows and nothing else, and leaves no file', async (t) => {
  await inDirectory(async (directory) => {
    const args = '--json --size 8M --runtime 0.3 --iodepth 1,8 --engine libaio,fs'.split(' ');
    const { code, out, err } = run(directory, args);
    t.is(code, 0, err);
    const rows = JSON.parse(out) as Row[];
    t.deepEqual(
      rows.map(({ engine, rw, bs, iodepth }) => [engine, rw, bs, iodepth]),
      [
        ['libaio', 'randread', 4096, 1],
        ['fs', 'randread', 4096, 1],
        ['libaio', 'randread', 4096, 8],
        ['fs', 'randread', 4096, 8],
      ],
    );
    for (const row of rows) {
      t.deepEqual(Object.keys(row), [
        'engine',
        'rw',
        'bs',
        'iodepth',
        'iops',
        'p50us',
        'p99us',
        'cpuUsPerRequest',
        'fio',
      ]);
      const { iops, p50us, p99us, cpuUsPerRequest } = row;
      for (const figure of [iops, p50us, p99us, cpuUsPerRequest]) t.true(figure !== null && figure > 0);
      t.true((p99us as number) >= (p50us as number));
      t.is(row.fio, null);
      // A closed loop: requests in flight = requests a second x mean latency, and no median is above twice the mean.
      t.true((iops as number) * (p50us as number) < row.iodepth * 2e6);
    }
    t.deepEqual(await readdir(directory), []);
  });
});

test.serial('every workload in the form without a promise, with the drift of a timer', async (t) => {
  await inDirectory(async (directory) => {
    const args = '--form callback --rw randread,randwrite,read,write,randrw --engine libaio,fs --iodepth 4 --bs 8k';
    const { code, out, err } = run(directory, [...args.split(' '), '--size=1M', '--runtime=1', '--drift', '--json']);
    t.is(code, 0, err);
    const rows = JSON.parse(out) as Row[];
    t.is(rows.length, 10);
    for (const { iops, bs, drift } of rows) {
      t.true((iops as number) > 0);
      t.is(bs, 8192);
      t.true(drift !== undefined && drift !== null && drift.maxMs >= drift.p99Ms && drift.ticksRatio > 0);
    }
  });
});

test.serial('a failure is a row without figures, with what went wrong, and the exit code 1', async (t) => {
  await inDirectory(async (directory) => {
    await writeFile(join(directory, 'data'), Buffer.alloc(24 * 1024 ** 2, 'written '));
    const args = '--filename data --overwrite --size 24M --bs 1M --iodepth 2 --runtime 0.3 --json'.split(' ');
    // No process under this limit writes behind the first 8 or 16 MiB of a file; reads are as ever.
    const command = ['-c', 'ulimit -f 16384 && exec "$0" "$@"', process.execPath, ...NODE_ARGUMENTS, ...args];
    const limited = (...more: string[]): Ran => {
      const options = { cwd: directory, encoding: 'utf8', timeout: 60_000 } as const;
      const { status, stdout, stderr } = spawnSync('sh', [...command, ...more], options);
      return { code: status, out: stdout, err: stderr };
    };
    for (const form of ['promise', 'callback']) {
      const { code, out, err } = limited('--engine', 'fs,libaio', '--rw', 'read,randwrite', '--form', form);
      t.is(code, 1, err);
      const rows = JSON.parse(out) as Row[];
      for (const { rw, iops, p50us, error } of rows) {
        if (rw === 'read') t.true((iops as number) > 0 && error === undefined);
        else t.deepEqual([iops, p50us, /EFBIG/.test(error as string)], [null, null, true], error);
      }
      t.is(rows.filter(({ error }) => error !== undefined).length, 2);
    }
  });
});

test.serial('what exists is not overwritten, nor read beyond its end', async (t) => {
  await inDirectory(async (directory) => {
    const path = join(directory, 'mine');
    const contents = Buffer.alloc(1024 ** 2, 'contents ');
    await writeFile(path, contents);
    const base = ['--filename', 'mine', '--size', '1M', '--runtime', '0.3', '--iodepth', '2'];
    for (const rw of ['randwrite', 'write', 'randrw', 'randread,write']) {
      const { code, out, err } = run(directory, [...base, '--rw', rw]);
      t.deepEqual([code, out], [2, '']);
      t.regex(err, /mine exists, and --rw \w+ would destroy what is in it: say --overwrite/);
    }
    const short = run(directory, [...base, '--size', '2M']);
    t.is(short.code, 2);
    t.regex(short.err, /mine has 1048576 bytes, fewer than --size 2M/);
    await mkdir(join(directory, 'folder'));
    t.regex(run(directory, ['--filename', 'folder']).err, /takes a file or a block device, which folder is not/);
    const read = run(directory, base);
    t.is(read.code, 0, read.err);
    t.true(contents.equals(await readFile(path)));
    const written = run(directory, [...base, '--rw', 'write', '--overwrite']);
    t.is(written.code, 0, written.err);
    const after = await readFile(path);
    t.is(after.length, contents.length);
    t.false(contents.equals(after));
  });
});

test.serial('a named file that is not there is made, in full, and stays', async (t) => {
  await inDirectory(async (directory) => {
    const { code, err } = run(
      directory,
      '--filename new --size 3M --runtime 0.3 --iodepth 1 --rw randwrite'.split(' '),
    );
    t.is(code, 0, err);
    t.deepEqual(await readdir(directory), ['new']);
    t.is((await stat(join(directory, 'new'))).size, 3 * 1024 ** 2);
  });
});

test.serial('an interrupt leaves no file', async (t) => {
  await inDirectory(async (directory) => {
    const args = [...NODE_ARGUMENTS, '--size', '1M', '--runtime', '60', '--iodepth', '8'];
    const child = spawn(process.execPath, args, { cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] });
    const ended = new Promise<number | null>((resolve) => {
      child.once('exit', resolve);
    });
    await new Promise((resolve) => child.stderr.once('data', resolve));
    child.kill('SIGTERM');
    t.is(await ended, 143);
    t.deepEqual(await readdir(directory), []);
  });
});

test.serial('without fio, rows have none, and stderr says why', async (t) => {
  await inDirectory(async (directory) => {
    const args = '--vs-fio --json --size 1M --runtime 0.3 --iodepth 1'.split(' ');
    const { code, out, err } = run(directory, args, directory);
    t.is(code, 0, err);
    t.regex(err, /fio is not installed/);
    t.is((JSON.parse(out) as Row[])[0]?.fio, null);
  });
});

const LOAD: FioLoad = {
  path: '/disk/a:b',
  sizeBytes: 1024 ** 3,
  rw: 'randread',
  blockBytes: 4096,
  depth: 32,
  seconds: 2,
  readPercent: 70,
  engine: 'libaio',
  uring: { sqpoll: true, iopoll: true, registered: true },
};

test("fio's command is the yardstick", (t) => {
  t.is(
    fioArguments(LOAD).join(' '),
    String.raw`--name=r --filename=/disk/a\:b --size=1073741824 --rw=randread --bs=4k --direct=1 --ioengine=libaio ` +
      '--iodepth=32 --norandommap --time_based --runtime=2 --iodepth_batch_submit=16 ' +
      '--iodepth_batch_complete_min=1 --iodepth_batch_complete_max=64',
  );
  t.false(fioArguments({ ...LOAD, depth: 1 }).some((argument) => argument.includes('batch')));
  t.true(fioArguments({ ...LOAD, seconds: 0.3 }).includes('--runtime=300ms'));
  const ioengines = (['io_uring', 'posix', 'threads', 'fs'] as const).map((engine) =>
    fioArguments({ ...LOAD, engine }).find((argument) => argument.startsWith('--ioengine=')),
  );
  t.deepEqual(ioengines, ['--ioengine=io_uring', '--ioengine=posixaio', '--ioengine=libaio', '--ioengine=libaio']);
  t.true(fioArguments({ ...LOAD, engine: 'io_uring' }).includes('--sqthread_poll=1'));
  t.false(fioArguments(LOAD).includes('--sqthread_poll=1'));
  t.true(fioArguments({ ...LOAD, rw: 'randrw' }).includes('--rwmixread=70'));
});

/** Of fio 3.33, random reads at depth 8 for half a second; trimmed. */
const REPORT = `fio: a line that is none of the report
{
  "fio version" : "fio-3.33",
  "jobs" : [
    {
      "jobname" : "r",
      "error" : 0,
      "read" : {
        "iops" : 71761.431412,
        "runtime" : 503,
        "total_ios" : 36096,
        "slat_ns" : { "mean" : 22160.529449, "N" : 36096 },
        "clat_ns" : {
          "mean" : 88079.994016,
          "N" : 36096,
          "percentile" : { "1.000000" : 63744, "50.000000" : 83456, "99.000000" : 134144, "99.900000" : 626688 }
        },
        "lat_ns" : { "mean" : 110240.523465, "N" : 36096 }
      },
      "write" : {
        "iops" : 0.000000,
        "runtime" : 0,
        "total_ios" : 0,
        "clat_ns" : { "mean" : 0.000000, "N" : 0 }
      },
      "job_runtime" : 502,
      "usr_cpu" : 0.000000,
      "sys_cpu" : 30.478088
    }
  ]
}
`;

test("fio's report is read", (t) => {
  const { figures, requests } = parseFioReport(REPORT);
  t.is(requests, 36_096);
  t.deepEqual(
    { ...figures, cpuUsPerRequest: 0 },
    { iops: 71761.431412, p50us: 83.456, p99us: 134.144, cpuUsPerRequest: 0 },
  );
  // 30.478088 % of 502 ms, for each of 36,096 requests.
  t.true(Math.abs(figures.cpuUsPerRequest - 4.2387) < 0.001);
});

test('of both directions: the sum, and the percentiles of the slower', (t) => {
  const report = JSON.parse(REPORT.slice(REPORT.indexOf('{'))) as { jobs: [Record<string, unknown>] };
  const percentile = { '50.000000': 90_000, '99.000000': 100_000 };
  report.jobs[0]['write'] = { iops: 1000, total_ios: 3904, clat_ns: { percentile } };
  const { figures, requests } = parseFioReport(JSON.stringify(report));
  t.is(requests, 40_000);
  t.is(figures.iops, 72761.431412);
  t.deepEqual([figures.p50us, figures.p99us], [90, 134.144]);
});

test('a report that is none, or of nothing, is refused', (t) => {
  t.throws(() => parseFioReport('fio: engine not found'), { message: /no report: fio: engine not found/ });
  t.throws(() => parseFioReport(REPORT.replace('"error" : 0', '"error" : 22')), { message: /error 22/ });
  t.throws(() => parseFioReport(REPORT.replace('"total_ios" : 36096', '"total_ios" : 0')), { message: /nothing/ });
});

withFio('fio runs beside a measurement, and its CPU time is that of all its threads', async (t) => {
  await inDirectory(async (directory) => {
    const path = join(directory, 'data');
    const common = ['--filename', path, '--size', '4M', '--runtime', '0.3', '--iodepth', '8', '--vs-fio'];
    const { code, out, err } = run(directory, [...common, '--rw', 'randrw']);
    t.is(code, 0, err);
    t.regex(out, /^engine +rw +bs +iodepth +IOPS .*fio IOPS.* x IOPS +x CPU$/m);
    t.regex(out, /^libaio: IOPS x \d+\.\d\d of fio \(geometric mean\), x \d+\.\d\d at least$/m);
    t.regex(out, /^fio --name=r --filename=.*data --size=4194304 --rw=randrw --bs=4k .*--iodepth=8 /m);
    const load = { ...LOAD, path, sizeBytes: 4 * 1024 ** 2, depth: 8, seconds: 0.5, engine: 'posix' } as const;
    const figures = await runFio(load, new AbortController().signal);
    t.true(figures.iops > 0 && figures.p50us > 0);
    // The thread of the job itself takes some 4 us; threads of the C library, which do the work, ten times that.
    t.true(figures.cpuUsPerRequest > 8, `${figures.cpuUsPerRequest} us`);
    const failing = runFio({ ...load, path: '/proc/none/data' }, new AbortController().signal);
    await t.throwsAsync(failing, { message: /fio failed: .*No such file/ });
  });
});

test('the text: medians, ratios to fio, their geometric mean, and what failed', (t) => {
  const figures = { p50us: 1, p99us: 2, cpuUsPerRequest: 3, drift: null };
  t.is(medians([9, 1, 5].map((iops) => ({ iops, ...figures }))).iops, 5);
  t.is(medians([9, 1].map((iops) => ({ iops, ...figures }))).iops, 5);
  const fio = { iops: 1000, p50us: 1, p99us: 2, cpuUsPerRequest: 6 };
  const row = {
    engine: 'libaio',
    rw: 'randread',
    bs: 4096,
    iodepth: 1,
    p50us: 1,
    p99us: 2,
    cpuUsPerRequest: 3,
  } as const;
  const nothing = { iops: null, p50us: null, p99us: null, cpuUsPerRequest: null, fio: null };
  const rows: Row[] = [
    { ...row, iops: 2000, fio },
    { ...row, iodepth: 8, iops: 500, fio },
    { ...row, ...nothing, engine: 'io_uring', error: 'it is forbidden here' },
  ];
  const text = formatText(rows, ['fio --name=r']);
  t.regex(text, /^libaio +randread +4k +1 +2,000 +1 +2 +3\.00 +1,000 +1 +2 +6\.00 +2\.00 +0\.50$/m);
  t.regex(text, /^libaio: IOPS x 1\.00 of fio \(geometric mean\), x 0\.50 at least$/m);
  t.regex(text, /^error: io_uring randread 4k 1: it is forbidden here$/m);
  t.true(text.endsWith('\nfio --name=r'));
});

test.serial('a loop that stands still shows as drift', async (t) => {
  const fromMs = performance.now();
  const meter = new DriftMeter();
  await new Promise((resolve) => {
    setTimeout(resolve, 20);
  });
  // Twice as long as it ran free, however long that was on a busy machine.
  const untilMs = performance.now() + 2 * (performance.now() - fromMs);
  while (performance.now() < untilMs);
  const { maxMs, p99Ms, ticksRatio } = meter.stop();
  t.true(maxMs >= 35 && p99Ms <= maxMs);
  t.true(ticksRatio < 0.6);
});

/** Completes each transfer in a later turn, with `resultOf` its number. */
class FakeTarget implements Target {
  started = 0;
  inFlight = 0;
  readonly seen: { isWrite: boolean; slot: number; offset: number }[] = [];
  readonly #resultOf: (count: number) => number;

  constructor(resultOf: (count: number) => number) {
    this.#resultOf = resultOf;
  }

  transfer(isWrite: boolean, slot: number, offset: number): Promise<number> {
    return new Promise((resolve) => {
      this.start(isWrite, slot, offset, {
        complete: (_, result) => {
          resolve(result);
        },
      });
    });
  }

  start(isWrite: boolean, slot: number, offset: number, handler: CompletionHandler): void {
    const result = this.#resultOf(this.started++);
    this.inFlight++;
    this.seen.push({ isWrite, slot, offset });
    setImmediate(() => {
      this.inFlight--;
      handler.complete(slot, result);
    });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

const FAKE_LOAD = {
  rw: 'read',
  blockBytes: 512,
  blocks: 10,
  depth: 4,
  seconds: 0.3,
  readPercent: 25,
  seed: 1,
} as const;

for (const form of ['promise', 'callback'] as const) {
  test(`what is asked for, ${form} form`, async (t) => {
    const sequential = new FakeTarget(() => 512);
    const figures = await measure(sequential, { ...FAKE_LOAD, form, drift: true });
    t.is(sequential.inFlight, 0);
    t.true(figures.iops > 0 && figures.drift !== null);
    const offsets = sequential.seen.slice(0, 12).map(({ offset }) => offset / 512);
    t.deepEqual(offsets, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
    t.deepEqual([...new Set(sequential.seen.map(({ slot }) => slot))], [0, 1, 2, 3]);
    t.false(sequential.seen.some(({ isWrite }) => isWrite));

    const mixed = new FakeTarget(() => 512);
    await measure(mixed, { ...FAKE_LOAD, rw: 'randrw', form, drift: false });
    const reads = mixed.seen.filter(({ isWrite }) => !isWrite).length / mixed.seen.length;
    t.true(mixed.seen.length < 200 || (reads > 0.1 && reads < 0.4), `${reads} of ${mixed.seen.length}`);
    t.true(mixed.seen.every(({ offset }) => offset >= 0 && offset < 5120 && offset % 512 === 0));
  });

  test(`MEASURE-1, MEASURE-2: a short or failed transfer ends all, ${form} form`, async (t) => {
    for (const [result, message] of [
      [511, /a transfer of 512 bytes ended after 511/],
      [-5, /EIO/],
    ] as const) {
      const target = new FakeTarget((count) => (count === 9 ? result : 512));
      await t.throwsAsync(measure(target, { ...FAKE_LOAD, seconds: 60, form, drift: true }), { message });
      t.is(target.inFlight, 0);
      t.true(target.started < 20);
    }
    const refused: Target = {
      transfer: () => Promise.reject(new Error('no')),
      start: () => {
        throw new Error('no');
      },
      close: () => Promise.resolve(),
    };
    await t.throwsAsync(measure(refused, { ...FAKE_LOAD, seconds: 60, form, drift: false }), { message: 'no' });
  });
}
