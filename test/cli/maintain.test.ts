/** `verify` and `compact`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Interrupted } from '@aiokv/cli';
import { open } from '@aiokv/kv';
import test from 'ava';
import { aiokv, directoryOf, storeOf } from './harness.ts';

/** A store whose records are in a checkpoint, with some of them damaged on the disk. */
async function damagedStore(directory: string, damagedKeys: readonly number[]): Promise<void> {
  // In small segments: an opening reads the last one, and refuses a log that is damaged before its end.
  const store = await open(directory, { segmentBytes: 64 << 10 });
  const valueOf = (i: number): Buffer => Buffer.from(`value ${String(i).padStart(4, '0')} of a record `.repeat(8));
  for (let i = 0; i < 1000; i++)
    await store.put(`key ${String(i).padStart(4, '0')}`, valueOf(i), { durability: 'buffered' });
  await store.checkpoint();
  await store.close();
  const file = join(directory, 'data.aiokv');
  const bytes = readFileSync(file);
  for (const i of damagedKeys) {
    const at = bytes.indexOf(valueOf(i));
    if (at < 0) throw new Error(`the value of ${i} is not in the file`);
    bytes[at + 40] = (bytes[at + 40] as number) ^ 1;
  }
  writeFileSync(file, bytes);
}

test('verify reads everything, and says so', async (t) => {
  const directory = await storeOf(t, { a: '1', b: 'x'.repeat(1000) });
  t.like(await aiokv(['verify', directory]), { code: 0, stdout: '2 entries are good, 1003 B; 0 are damaged\n' });
  t.like(await aiokv(['verify', await storeOf(t, {})]), {
    code: 0,
    stdout: '0 entries are good, 0 B; 0 are damaged\n',
  });
  t.is((await aiokv(['verify', join(directoryOf(t), 'nothing')])).code, 3);
});

test('verify names every damaged value and goes on', async (t) => {
  const directory = join(directoryOf(t), 'store');
  await damagedStore(directory, [0, 7, 8, 299]);
  const { code, stdout } = await aiokv(['verify', directory]);
  t.is(code, 4);
  const lines = stdout.split('\n').slice(0, -1);
  t.deepEqual(
    lines.slice(0, -1).map((line) => line.slice(0, 8)),
    ['key 0000', 'key 0007', 'key 0008', 'key 0299'],
  );
  t.regex(lines.at(-1) as string, /^996 entries are good, .* 4 are damaged$/);
  const scan = await aiokv(['scan', directory]);
  t.is(scan.code, 4);
  t.regex(scan.stderr, /\[ERR_AIOKV_CORRUPT\]\ntry: .*`aiokv verify`/);
});

test('compact tells the size before and after, and a signal ends it', async (t) => {
  const directory = await storeOf(t, { a: '1' });
  t.regex((await aiokv(['compact', directory])).stdout, /^\d+\t\d+\n$/);
  t.regex((await aiokv(['compact', directory], { isTerminal: true })).stdout, /^[\d.]+ \w+ before, [\d.]+ \w+ now\n$/);
  const ending = new AbortController();
  ending.abort(new Interrupted());
  t.is((await aiokv(['compact', directory], { signal: ending.signal })).code, 130);
  t.is((await aiokv(['compact'])).code, 2);
  t.is((await aiokv(['get', directory, 'a'])).stdout, '1');
});
