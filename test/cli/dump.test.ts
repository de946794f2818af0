/** `dump` and `load`: what comes back, and what a damaged dump does not do. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, lstatSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { Random, writeXxh64 } from '@aiokv/core';
import { Interrupted } from '@aiokv/cli';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import test from 'ava';
import { ByteReader } from '../../packages/cli/src/io/byte-reader.ts';
import { writeTo } from '../../packages/cli/src/io/files.ts';
import { Output } from '../../packages/cli/src/io/output.ts';
import { DumpWriter, readDump } from '../../packages/cli/src/transfer/dump-format.ts';
import { Loader } from '../../packages/cli/src/transfer/loader.ts';
import { seedOf } from '../helpers/seed.ts';
import { aiokv, directoryOf, storeOf } from './harness.ts';

const MANY: Record<string, Uint8Array> = Object.fromEntries(
  Array.from({ length: 3000 }, (_, i) => [`key:${String(i).padStart(6, '0')}`, Buffer.alloc(i % 400, i)]),
);
MANY['long'] = Buffer.alloc(3 << 20, 7);
MANY['nul\0key'] = Buffer.from([0, 255]);

async function entriesIn(bytes: Buffer): Promise<number> {
  let entries = 0;
  const chunks = Readable.from([bytes], { objectMode: true }) as AsyncIterable<Buffer>;
  for await (const block of readDump(new ByteReader(chunks))) entries += block.length;
  return entries;
}

function dumpOf(count: number, valueBytes: number): Buffer {
  const writer = new DumpWriter();
  const parts = [writer.header];
  for (let i = 0; i < count; i++) {
    const block = writer.add(Buffer.from(`key ${i}`), Buffer.alloc(valueBytes, i));
    if (block !== null) parts.push(block);
  }
  return Buffer.concat([...parts, ...writer.end()]);
}

test('dump and load reproduce a store, through a pipe and through a file', async (t) => {
  const from = await storeOf(t, MANY);
  const directory = directoryOf(t);
  const file = join(directory, 'all.aiokv');
  const piped = await aiokv(['dump', from]);
  t.is(piped.code, 0);
  t.is((await aiokv(['dump', from, file])).code, 0);
  t.is((await aiokv(['load', join(directory, 'a')], { stdin: piped.bytes })).code, 0);
  t.is((await aiokv(['load', join(directory, 'b'), file])).code, 0);
  for (const name of ['a', 'b']) {
    const store = await open(join(directory, name), { createIfMissing: false });
    const found = new Map<string, Buffer>();
    for await (const [key, value] of store.iterator()) found.set(key.toString(), value);
    await store.close();
    t.is(found.size, Object.keys(MANY).length);
    for (const [key, value] of Object.entries(MANY)) t.true(found.get(key)?.equals(value), key);
  }
  t.deepEqual(readFileSync(file).subarray(0, 8).toString(), 'AIOKVDMP');
});

test('the bytes of a dump are those of the document', (t) => {
  const bytes = dumpOf(1, 2);
  const first = 32 + 32 + 8 + 5 + 2;
  t.is(bytes.length, first + 32 + 16);
  t.is(bytes.readUInt32LE(8), 1, 'version');
  const sum = Buffer.alloc(8);
  const view = new DataView(sum.buffer, sum.byteOffset, 8);
  writeXxh64(bytes.subarray(0, 24), view, 0);
  t.deepEqual(bytes.subarray(24, 32), sum);
  writeXxh64(bytes.subarray(40, first), view, 0);
  t.deepEqual(bytes.subarray(32, 40), sum);
  t.deepEqual(bytes.subarray(40, 48), bytes.subarray(24, 32));
  t.deepEqual(
    [48, 52, 56, 60].map((at) => bytes.readUInt32LE(at)),
    [15, 1, 1, 0],
  );
  t.deepEqual(
    [64, 68].map((at) => bytes.readUInt32LE(at)),
    [5, 2],
  );
  t.is(bytes.toString('latin1', 72, first), 'key 0\0\0');
  t.deepEqual(bytes.subarray(first + 8, first + 16), bytes.subarray(32, 40));
  t.deepEqual([bytes.readBigUInt64LE(first + 32), bytes.readBigUInt64LE(first + 40)], [1n, 7n]);
});

test('every byte that is changed, and every cut, is found (DUMP-1, DUMP-2)', async (t) => {
  const bytes = dumpOf(40, 20);
  t.is(await entriesIn(bytes), 40);
  const random = new Random(seedOf('AIOKV_CLI_SEED'));
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] as number) ^ (1 + Math.floor(random.float() * 255));
    const error = await t.throwsAsync(
      entriesIn(changed),
      { code: 'ERR_AIOKV_CLI_DUMP' },
      `byte ${at}, seed ${random.seed}`,
    );
    t.truthy((error as unknown as { remedy: string }).remedy);
    await t.throwsAsync(entriesIn(bytes.subarray(0, at)), { code: 'ERR_AIOKV_CLI_DUMP' }, `cut at ${at}`);
  }
  await t.throwsAsync(entriesIn(Buffer.concat([bytes, Buffer.alloc(1)])), { message: /bytes behind the end/ });
});

test('blocks that are missing, swapped or of another dump are found (DUMP-1)', async (t) => {
  const blockBytes = 32 + 4 * (8 + 5 + 60_000);
  const bytes = dumpOf(9, 60_000);
  const block = (of: Buffer, i: number): Buffer => of.subarray(32 + i * blockBytes, 32 + (i + 1) * blockBytes);
  const rest = bytes.subarray(32 + 2 * blockBytes);
  const header = bytes.subarray(0, 32);
  t.is(await entriesIn(Buffer.concat([header, block(bytes, 0), block(bytes, 1), rest])), 9);
  const wrong = { message: /the block before it is another one/ };
  await t.throwsAsync(entriesIn(Buffer.concat([header, block(bytes, 1), rest])), wrong);
  await t.throwsAsync(entriesIn(Buffer.concat([header, block(bytes, 1), block(bytes, 0), rest])), wrong);
  await t.throwsAsync(entriesIn(Buffer.concat([header, block(dumpOf(9, 60_000), 0), block(bytes, 1), rest])), wrong);
});

test('a length that cannot be takes no memory (DUMP-3), and a newer version is refused', async (t) => {
  const bytes = dumpOf(1, 1);
  const long = Buffer.from(bytes);
  long.writeUInt32LE(0xffff_fff0, 48);
  await t.throwsAsync(entriesIn(long), { message: /longer than any can be/ });
  const newer = Buffer.from(bytes);
  newer.writeUInt32LE(2, 8);
  await t.throwsAsync(entriesIn(newer), { message: /a newer aiokv wrote this dump/ });
  await t.throwsAsync(entriesIn(Buffer.from('{"key":"a"}')), { message: /no dump of aiokv/ });
});

test('load makes no store of what is no dump, and keeps what was good of a damaged one', async (t) => {
  const directory = directoryOf(t);
  const into = join(directory, 'store');
  t.is((await aiokv(['load', into], { stdin: 'no dump' })).code, 4);
  t.false(existsSync(into));
  t.is((await aiokv(['load', into, join(directory, 'nothing')])).code, 5);
  t.is((await aiokv(['load', into, directory])).code, 5, 'a directory');

  const bytes = dumpOf(9, 60_000);
  const cut = await aiokv(['load', into], { stdin: bytes.subarray(0, bytes.length - 20) });
  t.is(cut.code, 4);
  t.regex(cut.stderr, /before its end. The 9 entries before it are good \[ERR_AIOKV_CLI_DUMP\]\ntry: /);
  const again = await aiokv(['load', into], { stdin: bytes });
  t.is(again.code, 5);
  t.regex(again.stderr, /\[ERR_AIOKV_CLI_NOT_EMPTY\]\ntry: .*--merge/);
  t.is((await aiokv(['load', into, '--merge'], { stdin: bytes })).code, 0);
  t.is((await aiokv(['count', into])).stdout, '9\n');
});

test('dump does not replace a file unless it is told, leaves none that is not whole, and none for a terminal', async (t) => {
  const from = await storeOf(t, MANY);
  const directory = directoryOf(t);
  const file = join(directory, 'dump');
  writeFileSync(file, 'mine');
  const refused = await aiokv(['dump', from, file]);
  t.is(refused.code, 5);
  t.regex(refused.stderr, /\[ERR_AIOKV_CLI_FILE\]\ntry: .*--force/);
  t.is(readFileSync(file, 'utf8'), 'mine');
  t.is((await aiokv(['dump', from, file, '--force', '--prefix', 'key:00000'])).code, 0);
  t.is(await entriesIn(readFileSync(file)), 10);
  t.is((await aiokv(['dump', from, join(directory, 'no', 'dump')])).code, 5);
  t.is((await aiokv(['dump', from], { isTerminal: true })).code, 2);

  const ending = new AbortController();
  const { signal } = ending;
  setImmediate(() => ending.abort(new Interrupted()));
  const ended = await aiokv(['dump', from, join(directory, 'half')], { signal });
  t.is(ended.code, 130);
  t.deepEqual(readdirSync(directory), ['dump']);
});

test('FILE-1, FILE-2: a file that is replaced is there until the new one is whole, and a pipe stays', async (t) => {
  const directory = directoryOf(t);
  const [file, link, fifo] = ['file', 'link', 'fifo'].map((name) => join(directory, name)) as [string, string, string];
  writeFileSync(file, 'mine');
  symlinkSync('file', link);
  t.is(spawnSync('mkfifo', [fifo]).status, 0);
  const stdout = new Output(new Writable());
  const write = (path: string, work: (output: Output) => Promise<void>): Promise<void> =>
    writeTo(stdout, { path, isForced: true, isBinary: true }, work);
  const failing = async (output: Output): Promise<void> => {
    await output.write('half');
    throw new Error('a value cannot be read');
  };
  const read = once(spawn('cat', [fifo]), 'exit');
  for (const path of [file, link, fifo, join(directory, 'new')]) {
    await t.throwsAsync(write(path, failing), { message: 'a value cannot be read' }, path);
  }
  await read;
  t.deepEqual(readdirSync(directory).sort(), ['fifo', 'file', 'link']);
  t.is(readFileSync(file, 'utf8'), 'mine');
  await write(link, async (output) => void (await output.write('whole')));
  t.is(readFileSync(file, 'utf8'), 'whole');
  t.true(lstatSync(link).isSymbolicLink());
  t.deepEqual(readdirSync(directory).sort(), ['fifo', 'file', 'link']);
});

test('dump takes no memory for what its reader has not taken', async (t) => {
  const entries = Object.fromEntries(Array.from({ length: 400 }, (_, i) => [`key ${i}`, Buffer.alloc(50_000, i)]));
  const from = await storeOf(t, entries);
  const chunks: Buffer[] = [];
  let most = 0;
  const slow = new Writable({
    write(chunk: Buffer, _encoding, done) {
      most = Math.max(most, slow.writableLength);
      chunks.push(chunk);
      setImmediate(done);
    },
  });
  t.is((await aiokv(['dump', from], { stdout: slow })).code, 0);
  t.true(most < 1_000_000, `${most} bytes waited`);
  const whole = Buffer.concat(chunks);
  t.is(await entriesIn(whole), 400);
});

test('a loader waits for the store: a few batches are under way, and the first failure is told', async (t) => {
  const settle: { resolve(): void; reject(error: Error): void }[] = [];
  let isFlushed = false;
  const store = {
    batch: () => new Promise<void>((resolve, reject) => void settle.push({ resolve, reject })),
    flush: async () => void (isFlushed = true),
  } as unknown as Store;
  const loader = new Loader(store);
  const waits: Promise<void>[] = [];
  const fill = (): void => {
    for (let i = 0; i < 256; i++) {
      const wait = loader.put(Buffer.from('key'), Buffer.from('value'));
      if (wait !== null) waits.push(wait);
    }
  };
  for (let batch = 0; batch < 4; batch++) {
    fill();
    await waits[batch];
  }
  t.is(settle.length, 4);
  fill();
  let isOver = false;
  const fifth = waits[4]?.then(() => (isOver = true));
  await new Promise((resolve) => setImmediate(resolve));
  t.is(settle.length, 4, 'the fifth waits');
  t.false(isOver);
  settle[2]?.resolve();
  await fifth;
  t.is(settle.length, 5);
  settle[0]?.reject(new Error('the device is full'));
  for (const each of settle) each.resolve();
  await t.throwsAsync(loader.end(), { message: 'the device is full' });
  t.false(isFlushed);
});
