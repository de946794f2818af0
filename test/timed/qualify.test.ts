/** What `qualifyFile()` says of this disk and of made-up ones, and that it leaves nothing behind. */
import { spawnSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { AiokvError, MIB } from '@aiokv/core';
import { linuxPlatform, qualifyFile, requireForeignInterface } from '@aiokv/aio';
import type { DirectFile, Platform, Qualification, QualificationFigures, RequestFigures, Verdict } from '@aiokv/aio';
import { NOWAIT_KINDS, REQUEST_KINDS, judge, qualifyOn } from '../../packages/aio/src/qualify.ts';
import { isLoadable } from '../aio/loadable.ts';

const CLI = fileURLToPath(new URL('../../packages/aio/src/qualify-cli.ts', import.meta.url));

function directoryOf(t: ExecutionContext): string {
  const directory = mkdtempSync(resolve('.tmp-qualify-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function checkFigures(t: ExecutionContext, { figures }: Qualification): void {
  if (figures === null) return t.fail('nothing was measured');
  t.is(figures.requestBytes, Math.max(4096, figures.alignment.write));
  for (const kind of REQUEST_KINDS) {
    const { submitUs, totalUs, aloneUs, submitShare, doneAtReturn, iopsDepth1, iopsDepth16 } = figures.requests[kind];
    t.true(submitUs > 0 && submitUs <= totalUs, `${kind}: ${submitUs} us of ${totalUs} us`);
    t.true(submitShare > 0 && submitShare <= 1 && doneAtReturn >= 0 && doneAtReturn <= 1, kind);
    t.true(aloneUs > 0 && iopsDepth1 > 0 && iopsDepth16 > 0, kind);
    t.true(Number.isFinite(iopsDepth1) && Number.isFinite(iopsDepth16), kind);
  }
  t.true(figures.flush.rounds > 0 && figures.flush.medianMs > 0 && figures.flush.maxMs >= figures.flush.medianMs);
}

for (const ffi of ['ffi-napi', 'koffi'] as const) {
  const title = `this disk takes reads and overwrites without blocking, and blocks on appends (${ffi})`;
  (isLoadable(ffi) ? test.serial : test.skip)(title, async (t) => {
    const directory = directoryOf(t);
    const qualification = await qualifyFile(directory, { ffi });
    checkFigures(t, qualification);
    const { requests, nowait } = qualification.figures as QualificationFigures;
    t.false(requests.read.blocks, JSON.stringify(requests.read));
    t.false(requests.overwrite.blocks, JSON.stringify(requests.overwrite));
    t.true(requests.append.blocks, JSON.stringify(requests.append));
    // A disk that is busy may refuse what it does not refuse otherwise.
    t.regex(nowait.read, /works|would block/);
    t.regex(nowait.overwrite, /works|would block/);
    t.is(nowait.append, 'would block (EAGAIN)');
    t.not(qualification.verdict, 'unsuitable');
    t.true(qualification.advice.some((sentence) => /preallocate and write everything once/.test(sentence)));
    t.deepEqual(readdirSync(directory), []);
  });
}

test.serial('the size can be chosen, the options are checked', async (t) => {
  const directory = directoryOf(t);
  checkFigures(t, await qualifyFile(directory, { sizeBytes: MIB }));
  await t.throwsAsync(qualifyFile(directory, { sizeBytes: 1 }), { code: 'ERR_AIOKV_INVALID_OPTION' });
  await t.throwsAsync(qualifyFile(directory, { size: MIB } as object), { code: 'ERR_AIOKV_INVALID_OPTION' });
  t.deepEqual(readdirSync(directory), []);
});

test('a directory that is not there is Node’s own error', async (t) => {
  const directory = directoryOf(t);
  await t.throwsAsync(qualifyFile(join(directory, 'missing')), { code: 'ENOENT' });
  writeFileSync(join(directory, 'file'), '');
  await t.throwsAsync(qualifyFile(join(directory, 'file')), { code: 'ENOTDIR' });
});

test('where O_DIRECT is refused the directory is unsuitable, and what was made is removed', async (t) => {
  const directory = directoryOf(t);
  const platform: Platform = {
    ...linuxPlatform(),
    open: (path) => {
      writeFileSync(path, '');
      return Promise.reject(new AiokvError('ERR_AIOKV_NO_DIRECT_IO', 'the file system refuses direct I/O'));
    },
  };
  const { verdict, advice, figures } = await qualifyOn(platform, requireForeignInterface(), directory, MIB);
  t.is(verdict, 'unsuitable');
  t.is(figures, null);
  t.regex(advice[0] as string, /refuses O_DIRECT.*another directory|refuses O_DIRECT.*threads/);
  t.deepEqual(readdirSync(directory), []);
});

/** A file as it is, but for what `changed` says. */
function altered(file: DirectFile, changed: Partial<DirectFile>): DirectFile {
  return {
    path: file.path,
    isDirect: file.isDirect,
    handle: file.handle,
    alignment: file.alignment,
    sizeBytes: () => file.sizeBytes(),
    preallocate: (...range) => file.preallocate(...range),
    punchHole: (...range) => file.punchHole(...range),
    truncate: (sizeBytes) => file.truncate(sizeBytes),
    transferOnThread: (...transfer) => file.transferOnThread(...transfer),
    sync: () => file.sync(),
    lock: () => file.lock(),
    linkTo: (path) => file.linkTo(path),
    close: () => file.close(),
    ...changed,
  };
}

function platformThatAlters(change: (file: DirectFile) => Partial<DirectFile>): Platform {
  const platform = linuxPlatform();
  return {
    ...platform,
    open: async (path, options) => {
      const file = await platform.open(path, options);
      return altered(file, change(file));
    },
  };
}

test('a failing request is an error, and the file is removed all the same', async (t) => {
  const directory = directoryOf(t);
  const descriptors: number[] = [];
  t.teardown(() => descriptors.forEach(closeSync));
  const writeOnly = platformThatAlters(({ path }) => {
    descriptors.push(openSync(path, constants.O_WRONLY));
    return { handle: descriptors.at(-1) as number };
  });
  await t.throwsAsync(qualifyOn(writeOnly, requireForeignInterface(), directory, MIB), { code: 'EBADF' });
  t.is(descriptors.length, 1);
  const full = platformThatAlters(() => ({ transferOnThread: () => Promise.resolve(512) }));
  await t.throwsAsync(qualifyOn(full, requireForeignInterface(), directory, MIB), { code: 'ENOSPC' });
  t.deepEqual(readdirSync(directory), []);
});

test('through the page cache, io_submit does the I/O itself', async (t) => {
  const directory = directoryOf(t);
  const platform = linuxPlatform();
  const buffered: Platform = {
    ...platform,
    open: (path, options) => platform.open(path, { ...options, direct: 'never' }),
  };
  const qualification = await qualifyOn(buffered, requireForeignInterface(), directory, MIB);
  checkFigures(t, qualification);
  t.is(qualification.verdict, 'unsuitable');
  t.true(qualification.figures?.requests.read.blocks);
  t.true(qualification.figures?.requests.overwrite.blocks);
  t.regex(qualification.advice[0] as string, /gains nothing/);
  t.deepEqual(readdirSync(directory), []);
});

const SMOOTH: RequestFigures = {
  submitUs: 3,
  totalUs: 10,
  submitShare: 0.3,
  doneAtReturn: 0,
  aloneUs: 80,
  blocks: false,
  iopsDepth1: 12_000,
  iopsDepth16: 90_000,
};
const IDEAL: QualificationFigures = {
  alignment: { memory: 512, offset: 512, write: 4096 },
  requestBytes: 4096,
  requests: { read: SMOOTH, overwrite: SMOOTH, preallocated: SMOOTH, hole: SMOOTH, append: SMOOTH },
  nowait: { read: 'works', overwrite: 'works', hole: 'works', append: 'works' },
  flush: { rounds: 20, medianMs: 1, maxMs: 2 },
};
const BLOCKING = { ...SMOOTH, blocks: true };

test('verdict and advice follow from the figures', (t) => {
  t.deepEqual(judge(IDEAL), { verdict: 'good', advice: [] });
  const cases: [Partial<QualificationFigures>, Verdict, RegExp[]][] = [
    [{ requests: { ...IDEAL.requests, append: BLOCKING, hole: BLOCKING } }, 'good', [/\(hole, append\).*neverBlock/]],
    [{ requests: { ...IDEAL.requests, preallocated: BLOCKING } }, 'good', [/\(preallocated\)/]],
    [{ nowait: { ...IDEAL.nowait, append: 'would block (EAGAIN)' } }, 'good', [/\(append\)/]],
    [{ requests: { ...IDEAL.requests, overwrite: BLOCKING } }, 'usable', [/each overwrite.*neverBlock/]],
    [{ requests: { ...IDEAL.requests, overwrite: BLOCKING, read: BLOCKING } }, 'unsuitable', [/nothing.*'threads'/]],
    [{ flush: { rounds: 20, medianMs: 34.4, maxMs: 90 } }, 'good', [/34 ms/]],
    [{ requests: { ...IDEAL.requests, read: { ...SMOOTH, iopsDepth16: 13_000 } } }, 'good', [/one at a time/]],
    [{ nowait: { ...IDEAL.nowait, read: 'not supported (EOPNOTSUPP)' } }, 'usable', [/\(read\).*threads/]],
    [{ nowait: { ...IDEAL.nowait, hole: 'not supported (EOPNOTSUPP)' } }, 'good', [/\(hole\).*threads/]],
  ];
  for (const [changes, verdict, patterns] of cases) {
    const judged = judge({ ...IDEAL, ...changes });
    t.is(judged.verdict, verdict, JSON.stringify(changes));
    t.is(judged.advice.length, patterns.length, judged.advice.join('\n'));
    patterns.forEach((pattern, i) => t.regex(judged.advice[i] as string, pattern));
  }
});

test.serial('it works in a worker, and in one that is ended meanwhile', async (t) => {
  const directory = directoryOf(t);
  // A worker inherits no loader, which is why it registers tsx by itself.
  const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    import('tsx/esm/api').then(({ register }) => register()).then(() => import(workerData.module)).then(({ qualifyFile }) => {
      const measured = qualifyFile(workerData.directory);
      parentPort.postMessage('begun');
      return measured;
    }).then(({ verdict }) => parentPort.postMessage(verdict));
  `;
  const module = new URL('../../packages/aio/src/qualify.ts', import.meta.url).href;
  const begin = () =>
    new Worker(code, { eval: true, workerData: { directory, module }, execArgv: ['--conditions=@aiokv/source'] });
  const told: unknown[] = [];
  const patient = begin();
  patient.on('message', (message) => told.push(message));
  t.is(await new Promise((done) => patient.once('exit', done)), 0);
  t.is(told[0], 'begun');
  t.true(told[1] === 'good' || told[1] === 'usable', String(told[1]));
  t.deepEqual(readdirSync(directory), []);

  const ended = begin();
  await new Promise((done) => ended.once('message', done));
  await new Promise((done) => setTimeout(done, 50));
  t.is(await ended.terminate(), 1);
  t.deepEqual(readdirSync(directory), []);
  checkFigures(t, await qualifyFile(directory, { sizeBytes: MIB }));
});

function runCli(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...process.execArgv, CLI, ...args], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status, stdout, stderr };
}

test.serial('the command line prints a table, or JSON', (t) => {
  const directory = directoryOf(t);
  const table = runCli(directory);
  t.is(table.status, 0, table.stderr);
  for (const kind of REQUEST_KINDS)
    t.regex(table.stdout, new RegExp(`^${kind} +[\\d.]+ us +[\\d.]+ us +\\d+ % +(yes|no) `, 'm'));
  for (const kind of NOWAIT_KINDS)
    t.regex(table.stdout, new RegExp(`^  ${kind} +(works|would block|not supported)`, 'm'));
  t.regex(table.stdout, /: (good|usable)$/m);
  const json = runCli(directory, '--json');
  t.is(json.status, 0, json.stderr);
  checkFigures(t, JSON.parse(json.stdout) as Qualification);
  t.deepEqual(readdirSync(directory), []);
});

test('wrong usage is told from an unsuitable directory', (t) => {
  for (const args of [['--what'], ['a', 'b']]) {
    const { status, stdout, stderr } = runCli(...args);
    t.is(status, 2);
    t.is(stdout, '');
    t.regex(stderr, /usage: aiokv-qualify \[directory\] \[--json\]/);
  }
  const missing = runCli(join(directoryOf(t), 'missing'));
  t.is(missing.status, 2);
  t.regex(missing.stderr, /^aiokv-qualify: ENOENT/m);
  const help = runCli('--help');
  t.is(help.status, 0);
  t.regex(help.stdout, /^usage:/);
});
