/**
 * The wake-up in whole processes: who keeps whom alive, what idleness costs, where exceptions go, and that
 * workers have it, too. Each test runs a script in a process of its own, with both interfaces.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { isLoadable } from './loadable.ts';

const aio = new URL('../../packages/aio/src/index.ts', import.meta.url).href;
const loaders = (['koffi', 'ffi-napi'] as const).filter(isLoadable);

/** What every script starts with: an engine, a file of 16 blocks, a buffer, and a way to read. */
const PROLOGUE = `
  const { Completions, Opcode, allocateAligned, linuxPlatform } = await import('${aio}');
  const platform = linuxPlatform();
  const file = await platform.open(process.argv[1], { create: true });
  await file.preallocate(0, 65536);
  const engine = platform.createEngine({ slots: 16, depth: 16 });
  const buffer = allocateAligned(65536);
  const completions = new Completions(16);
  const read = (slot) => {
    engine.prepare(slot, Opcode.read, file.handle, buffer, slot * 4096, 4096, slot * 4096);
    if (engine.submit(Uint32Array.of(slot), 0, 1) !== 1) throw new Error('refused');
  };
`;

interface Ended {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number | null;
  /** It had to be ended, for it would not by itself. */
  readonly killed: boolean;
}

async function run(ffi: string, script: string, patienceMs = 60_000): Promise<Ended> {
  const directory = await mkdtemp(resolve('.tmp-wakeup-'));
  try {
    const args = [...process.execArgv, '--input-type=module', '-e', PROLOGUE + script, join(directory, 'data')];
    const child = spawn(process.execPath, args, {
      env: { ...process.env, AIOKV_FFI: ffi },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [stdout, stderr, killed] = ['', '', false];
    // Patience is counted from the first word of the script: loading takes long on a busy machine.
    child.stdout.once('data', () => {
      setTimeout(() => (killed = child.kill('SIGKILL')), patienceMs).unref();
    });
    child.stdout.on('data', (bytes: Buffer) => (stdout += bytes));
    child.stderr.on('data', (bytes: Buffer) => (stderr += bytes));
    const [code] = (await once(child, 'close')) as [number | null];
    return { stdout, stderr, code, killed: killed && code === null };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function each(title: string, body: (t: ExecutionContext, ffi: string) => Promise<void>): void {
  for (const ffi of loaders) test.serial(`${ffi}: ${title}`, (t) => body(t, ffi));
}

each('with nothing in flight the process ends by itself', async (t, ffi) => {
  const ended = await run(ffi, `console.log('open');`);
  t.like(ended, { stdout: 'open\n', code: 0, killed: false }, ended.stderr);
});

each('with something in flight it stays until that was reported', async (t, ffi) => {
  const ended = await run(
    ffi,
    `
    engine.onCompletion = () => {
      console.log('reaped', engine.reap(completions), completions.results[0]);
      engine.setActive(false);
    };
    engine.setActive(true);
    read(3);
    console.log('sent');`,
  );
  t.like(ended, { stdout: 'sent\nreaped 1 4096\n', code: 0, killed: false }, ended.stderr);
});

each('active it stays for ever, inactive it does not', async (t, ffi) => {
  const stays = await run(ffi, `engine.setActive(true); console.log('waits');`, 700);
  t.like(stays, { stdout: 'waits\n', killed: true }, stays.stderr);
  const ends = await run(ffi, `engine.setActive(true); engine.setActive(false); read(0); console.log('goes');`);
  t.like(ends, { stdout: 'goes\n', code: 0, killed: false }, ends.stderr);
});

each('being active and idle costs no processor time', async (t, ffi) => {
  const { stdout, stderr } = await run(
    ffi,
    `
    engine.setActive(true);
    await new Promise((done) => setTimeout(done, 300));
    const before = process.cpuUsage();
    await new Promise((done) => setTimeout(done, 1000));
    const { user, system } = process.cpuUsage(before);
    console.log(user + system);
    await engine.close();`,
  );
  const us = Number(stdout);
  t.true(us > 0 && us < 100_000, `${stdout} us in a second; ${stderr}`);
});

each(
  'what the callback throws is an uncaught exception, and the next completion is told all the same',
  async (t, ffi) => {
    const ended = await run(
      ffi,
      `
    process.on('uncaughtException', (error) => {
      console.log('uncaught', error.message);
      read(1);
    });
    let calls = 0;
    engine.onCompletion = () => {
      const count = engine.reap(completions);
      if (++calls === 1) throw new Error('first');
      console.log('then', count, completions.slots[0]);
      engine.setActive(false);
    };
    engine.setActive(true);
    read(0);`,
    );
    t.like(ended, { stdout: 'uncaught first\nthen 1 1\n', code: 0, killed: false }, ended.stderr);
  },
);

each('exiting with requests in flight is no crash (14)', async (t, ffi) => {
  const ended = await run(
    ffi,
    `for (let slot = 0; slot < 16; slot++) read(slot); console.log('out'); process.exit(7);`,
  );
  t.like(ended, { stdout: 'out\n', code: 7 }, ended.stderr);
});

each('thousands of requests in a row, each told by a wake-up', async (t, ffi) => {
  const ended = await run(
    ffi,
    `
    let [sent, reported] = [0, 0];
    engine.onCompletion = () => {
      const count = engine.reap(completions);
      reported += count;
      for (let i = 0; i < count && sent < 3000; i++, sent++) read(completions.slots[i]);
      if (reported === 3000) engine.setActive(false);
    };
    engine.setActive(true);
    for (; sent < 16; sent++) read(sent);
    process.on('exit', () => console.log(sent, reported));`,
  );
  t.like(ended, { stdout: '3000 3000\n', code: 0 }, ended.stderr);
});

test.serial('workers come, wait for the kernel, and go', async (t) => {
  const worker = `
    const { parentPort, workerData, Worker } = require('node:worker_threads');
    import('tsx/esm/api').then(async ({ register }) => {
      register();
      const { Queue, allocateAligned, linuxPlatform } = await import('${aio}');
      const platform = linuxPlatform();
      const file = await platform.open(workerData);
      const queue = new Queue(platform, { depth: 8, spinTurns: 0 });
      const buffers = Array.from({ length: 8 }, () => allocateAligned(4096));
      let bytes = 0;
      for (let round = 0; round < 50; round++) {
        const results = await Promise.all(buffers.map((buffer, i) => queue.read(file, buffer, { offset: i * 4096 })));
        bytes += results.reduce((sum, result) => sum + result, 0);
      }
      const { wakeups } = queue.statistics();
      await queue.close();
      await file.close();
      parentPort.postMessage([bytes, wakeups > 0]);
    });`;
  for (const ffi of loaders) {
    const ended = await run(
      ffi,
      `
      const { Worker } = await import('node:worker_threads');
      const { once } = await import('node:events');
      const start = () => new Worker(${JSON.stringify(worker)}, { eval: true, workerData: process.argv[1], execArgv: ['--conditions=@aiokv/source'] });
      for (let round = 0; round < 2; round++) {
        const workers = [start(), start()];
        await Promise.all(workers.map(async (worker) => {
          const [message] = await once(worker, 'message');
          const [code] = await once(worker, 'exit');
          console.log(message.join(), code);
        }));
      }
      await engine.close();`,
    );
    t.is(ended.stdout, `${50 * 8 * 4096},true 0\n`.repeat(4), ended.stderr);
    t.is(ended.code, 0, ended.stderr);
  }
});
