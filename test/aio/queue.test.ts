/** The queue, over the simulated disk and over real files: what queue.ts and pipeline.ts number, and their edges. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import test from 'ava';
import { BufferPool, allocateAligned } from '@aiokv/aio';
import type { DirectFile } from '@aiokv/aio';
import { BLOCK, BLOCKS, onLinux, places } from './queue-place.ts';

for (const [name, at] of Object.entries(places)) {
  test(`${name}: more requests than depth and slots all come back, each with its own bytes`, (t) =>
    at(async ({ file, open }) => {
      const queue = open({ depth: 8, maxWaiting: 4 });
      const reads = Array.from({ length: 500 }, async (_, i) => {
        const buffer = allocateAligned(BLOCK);
        t.is(await queue.read(file, buffer, { offset: (i % BLOCKS) * BLOCK }), BLOCK);
        return buffer.bytes.every((byte) => byte === (i % BLOCKS) + 1);
      });
      t.true(queue.statistics().inFlight <= 8);
      t.true((await Promise.all(reads)).every(Boolean));
      t.is(queue.pending, 0);
      t.is(queue.statistics().completed, 500);
    }));

  test(`${name}: requests of one turn go down together`, (t) =>
    at(async ({ file, open }) => {
      const queue = open({ depth: 128, batchMin: 1000 });
      await Promise.all(
        Array.from({ length: 64 }, (_, n) => queue.read(file, allocateAligned(BLOCK), { offset: n * BLOCK })),
      );
      t.is(queue.statistics().submitCalls, 1);
      const eager = open({ depth: 128 });
      await Promise.all(
        Array.from({ length: 64 }, (_, n) => eager.read(file, allocateAligned(BLOCK), { offset: n * BLOCK })),
      );
      const { submitCalls } = eager.statistics();
      t.true(submitCalls > 1 && submitCalls <= 16, `${submitCalls} calls`);
    }));

  test(`${name}: the callback form refuses when full and tells in a later turn`, (t) =>
    at(async ({ file, open }) => {
      const queue = open({ depth: 2, maxWaiting: 1 });
      const told: [number, number][] = [];
      const buffers = Array.from({ length: 4 }, () => allocateAligned(BLOCK));
      await new Promise<void>((done) => {
        const handler = {
          complete(token: number, result: number): void {
            told.push([token, result]);
            if (told.length === 3) done();
          },
        };
        const accepted = buffers.map((buffer, i) =>
          queue.submitRead(file, buffer, 0, BLOCK, i * BLOCK, handler, 100 + i),
        );
        t.deepEqual(accepted, [true, true, true, false]);
        t.deepEqual(told, []);
        t.is(buffers[0]?.pins, 1);
      });
      t.deepEqual(
        told.sort(([a], [b]) => a - b),
        [
          [100, BLOCK],
          [101, BLOCK],
          [102, BLOCK],
        ],
      );
      t.is(buffers[0]?.pins, 0);
    }));

  test(`${name}: a request that is refused fails alone (PIPE-3)`, (t) =>
    at(async ({ file, open }) => {
      const queue = open({ depth: 16, batchMin: 1000 });
      const bad = { ...file, path: file.path, alignment: file.alignment, handle: 987_654 } as DirectFile;
      const results = await Promise.allSettled(
        Array.from({ length: 30 }, (_, n) =>
          queue.read(n % 3 === 1 ? bad : file, allocateAligned(BLOCK), { offset: n * BLOCK }),
        ),
      );
      results.forEach((result, n) => {
        if (n % 3 === 1) {
          t.is(result.status, 'rejected');
          t.is((result as PromiseRejectedResult).reason.code, 'EBADF');
          t.is((result as PromiseRejectedResult).reason.syscall, 'read');
        } else t.is((result as PromiseFulfilledResult<number>).value, BLOCK);
      });
    }));

  test(`${name}: the end of the file is a short read, not an error`, (t) =>
    at(async ({ file, open }) => {
      const queue = open();
      t.is(await queue.read(file, allocateAligned(4 * BLOCK), { offset: (BLOCKS - 1) * BLOCK }), BLOCK);
      t.is(await queue.read(file, allocateAligned(BLOCK), { offset: BLOCKS * BLOCK }), 0);
      t.is(queue.readSync(file, allocateAligned(BLOCK), { offset: BLOCKS * BLOCK }), 0);
    }));

  test(`${name}: what is misaligned or out of bounds is refused before submission`, (t) =>
    at(async ({ file, open }) => {
      const queue = open();
      const buffer = allocateAligned(2 * BLOCK);
      const { offset } = file.alignment;
      const message = new RegExp(`multiples? of ${offset}`);
      await t.throwsAsync(queue.read(file, buffer, { offset: 100 }), { code: 'ERR_AIOKV_ALIGNMENT', message });
      await t.throwsAsync(queue.read(file, buffer, { offset: 0, length: 100 }), {
        code: 'ERR_AIOKV_ALIGNMENT',
        message,
      });
      await t.throwsAsync(queue.read(file, buffer, { offset: 2 ** 40 + 1 }), { code: 'ERR_AIOKV_ALIGNMENT' });
      await t.throwsAsync(queue.write(file, buffer, { offset: 0, length: offset, bufferOffset: 3 }), {
        code: 'ERR_AIOKV_ALIGNMENT',
      });
      await t.throwsAsync(queue.read(file, buffer, { offset: -BLOCK }), { code: 'ERR_AIOKV_INVALID_ARGUMENT' });
      await t.throwsAsync(queue.read(file, buffer, { offset: 0, length: 3 * BLOCK }), {
        code: 'ERR_AIOKV_INVALID_ARGUMENT',
      });
      await t.throwsAsync(queue.read(file, buffer, { offset: Number.NaN }), { code: 'ERR_AIOKV_INVALID_ARGUMENT' });
      t.throws(() => queue.readSync(file, buffer, { offset: 100 }), { code: 'ERR_AIOKV_ALIGNMENT' });
      t.is(queue.statistics().accepted, 0);
    }));

  test(`${name}: a synchronous read leaves the others for later turns`, (t) =>
    at(async ({ file, open }) => {
      const queue = open();
      let inside = false;
      const others = Array.from({ length: 20 }, async (_, n) => {
        await queue.read(file, allocateAligned(BLOCK), { offset: n * BLOCK });
        t.false(inside);
      });
      inside = true;
      const buffer = allocateAligned(BLOCK);
      t.is(queue.readSync(file, buffer, { offset: 5 * BLOCK }), BLOCK);
      t.is(buffer.bytes[77], 6);
      inside = false;
      await Promise.all(others);
    }));

  test(`${name}: closing settles what was accepted and refuses the rest`, (t) =>
    at(async ({ file, open }) => {
      const queue = open({ depth: 4 });
      const reads = Array.from({ length: 40 }, (_, n) =>
        queue.read(file, allocateAligned(BLOCK), { offset: n * BLOCK }),
      );
      const closing = queue.close();
      await t.throwsAsync(queue.read(file, allocateAligned(BLOCK), { offset: 0 }), { code: 'ERR_AIOKV_CLOSED' });
      await closing;
      await queue.close();
      t.deepEqual([...new Set(await Promise.all(reads))], [BLOCK]);
    }));

  test(`${name}: a buffer in flight is not released`, (t) =>
    at(async ({ file, open }) => {
      const queue = open();
      const pool = new BufferPool(BLOCK, 1);
      const buffer = pool.lease();
      if (buffer === undefined) throw new Error('the pool has a buffer');
      const read = queue.read(file, buffer, { offset: 0 });
      t.throws(() => pool.release(buffer), { code: 'ERR_AIOKV_BUFFER_BUSY' });
      await read;
      pool.release(buffer);
      t.is(pool.available, 1);
    }));
}

test('linux: buffers that the caller forgot are not collected in flight', (t) =>
  onLinux(async ({ file, open }) => {
    const queue = open();
    const { gc } = globalThis;
    for (let round = 0; round < 30; round++) {
      const reads = Array.from({ length: 64 }, (_, n) =>
        queue.read(file, allocateAligned(BLOCK), { offset: n * BLOCK }),
      );
      gc?.();
      // Memory that was freed too early would be handed out again here and be overwritten.
      const others = Array.from({ length: 64 }, () => new Uint8Array(2 * BLOCK).fill(0xee));
      await Promise.all(reads);
      t.true(others.every((bytes) => bytes.every((byte) => byte === 0xee)));
    }
  }));

test('linux: the file is open for direct I/O', (t) =>
  onLinux(async ({ file }) => {
    const flags = /^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${file.handle}`, 'utf8'))?.[1];
    const O_DIRECT = process.arch === 'arm64' ? 0o200000 : 0o40000;
    t.true((Number.parseInt(flags ?? '0', 8) & O_DIRECT) !== 0);
    const { memory, offset, write } = file.alignment;
    for (const value of [memory, offset, write]) t.true(Number.isInteger(Math.log2(value)), String(value));
    t.true(write >= 4096 && write >= offset);
  }));

/** Runs a script in a process of its own over a fresh file; returns its output and status. */
function runScript(body: string): { stdout: string; stderr: string; status: number | null } {
  const script = `
    import { rmSync } from 'node:fs';
    import { Queue, allocateAligned, linuxPlatform } from '@aiokv/aio';
    const path = '.tmp-script-' + process.pid;
    const platform = linuxPlatform();
    const file = await platform.open(path, { create: true });
    process.on('exit', () => rmSync(path, { force: true }));
    await file.preallocate(0, ${BLOCKS * BLOCK});
    ${body}`;
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [...process.execArgv, '--input-type=module', '-e', script],
    {
      encoding: 'utf8',
      timeout: 20_000,
    },
  );
  return { stdout, stderr, status };
}

test('linux: an idle queue lets the process end, one in flight keeps it', (t) => {
  const { stdout, stderr, status } = runScript(`
    const queue = new Queue(platform);
    await queue.read(file, allocateAligned(4096), { offset: 0 });
    void queue.read(file, allocateAligned(4096), { offset: 0 }).then((n) => console.log('read', n));`);
  t.is(status, 0, stderr);
  t.is(stdout.trim(), 'read 4096');
});

test('linux: an idle queue uses no processor time', (t) => {
  const { stdout, stderr } = runScript(`
    const queue = new Queue(platform);
    await queue.read(file, allocateAligned(4096), { offset: 0 });
    const before = process.cpuUsage();
    await new Promise((done) => setTimeout(done, 1000));
    const { user, system } = process.cpuUsage(before);
    console.log((user + system) / 1000);`);
  t.true(Number(stdout) < 50, `${stdout} ms of processor time in an idle second ${stderr}`);
});

test('linux: a handler that throws is an uncaught exception, and its neighbours are told (PIPE-4)', (t) => {
  const { stdout, stderr } = runScript(`
    process.on('uncaughtException', (error) => console.log('uncaught', error.message));
    const queue = new Queue(platform);
    const handler = { complete(token, result) { if (token === 1) throw new Error('from 1'); console.log(token, result); } };
    for (let i = 0; i < 3; i++) queue.submitRead(file, allocateAligned(4096), 0, 4096, i * 4096, handler, i);`);
  t.deepEqual(stdout.trim().split('\n').sort(), ['0 4096', '2 4096', 'uncaught from 1'], stderr);
});
