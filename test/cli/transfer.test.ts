/** `import` and `export`: JSON lines, CSV, LevelDB, LMDB, a dump, and what is none of them. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { createCodec } from '@aiokv/core';
import { Interrupted } from '@aiokv/cli';
import { open } from '@aiokv/kv';
import test from 'ava';
import { ClassicLevel } from 'classic-level';
import { open as openLmdb } from 'lmdb';
import { packageNamed } from '../../packages/cli/src/transfer/databases.ts';
import { aiokv, directoryOf, storeOf } from './harness.ts';

const ODD = { text: 'a,"b"\n\u2028c', bytes: Uint8Array.of(0xff, 0), empty: '', 'key,"q"': '{"a":1}', ümlaut: '漢' };

async function contentOf(directory: string): Promise<string> {
  return (await aiokv(['scan', directory, '--hex'])).stdout;
}

test('what export writes import takes, as the same bytes (PRINT-1, RECORD-1)', async (t) => {
  const from = await storeOf(t, ODD);
  const directory = directoryOf(t);
  const content = await contentOf(from);
  for (const [name, flags] of [
    ['plain.jsonl', []],
    ['hex.jsonl', ['--hex']],
    ['hex.csv', ['--hex']],
  ] as const) {
    const file = join(directory, name);
    t.is((await aiokv(['export', from, file, ...flags])).code, 0, name);
    t.is((await aiokv(['import', join(directory, `of ${name}`), file, ...flags])).code, 0, name);
    t.is(await contentOf(join(directory, `of ${name}`)), content, name);
  }
  const piped = await aiokv(['export', from]);
  t.is((await aiokv(['import', join(directory, 'piped')], { stdin: piped.bytes })).code, 0);
  t.is(await contentOf(join(directory, 'piped')), content);
  const csv = await aiokv(['export', from, '--csv']);
  t.is(csv.code, 4, 'bytes are no text');
  const dumped = await aiokv(['dump', from]);
  t.is((await aiokv(['import', join(directory, 'dumped'), '--dump'], { stdin: dumped.bytes })).code, 0);
  t.is(await contentOf(join(directory, 'dumped')), content);
  t.is((await aiokv(['export', from, join(directory, 'plain.jsonl')])).code, 5, 'the file is there');
  t.is((await aiokv(['export', from, join(directory, 'half.csv')])).code, 4);
  t.false(existsSync(join(directory, 'half.csv')), 'half a file is removed');
});

test('import takes the key and the value from fields', async (t) => {
  const directory = directoryOf(t);
  const users = '\ufeff{"id":7,"name":"Ada","big":12345678901234567890}\r\n\n{"id":"b","name":{"first":"Bob"}}';
  const whole = join(directory, 'whole');
  t.is((await aiokv(['import', whole, '--key', 'id'], { stdin: users })).code, 0);
  t.is(
    (await aiokv(['scan', whole])).stdout,
    '7\t{"id":7,"name":"Ada","big":12345678901234567890}\nb\t{"id":"b","name":{"first":"Bob"}}\n',
  );
  const names = join(directory, 'names');
  t.is((await aiokv(['import', names, '--key', 'id', '--value', 'name'], { stdin: users })).code, 0);
  t.is((await aiokv(['scan', names])).stdout, '7\tAda\nb\t{"first":"Bob"}\n');
  const packed = join(directory, 'packed');
  t.is((await aiokv(['import', packed, '--key', 'id', '--value', 'name', '--msgpack'], { stdin: users })).code, 0);
  const store = await open(packed);
  t.deepEqual(createCodec().decode((await store.get('b')) as Buffer), { first: 'Bob' });
  await store.close();
});

test('lines that are cut anywhere are lines', async (t) => {
  const directory = directoryOf(t);
  const lines = Array.from({ length: 50 }, (_, i) => JSON.stringify({ key: `k${i}`, value: 'é漢'.repeat(i) }));
  const bytes = Buffer.from(lines.join('\n'));
  for (const size of [1, 7, 64]) {
    const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
      bytes.subarray(i * size, (i + 1) * size),
    );
    const into = join(directory, String(size));
    t.is((await aiokv(['import', into], { stdin: Readable.from(chunks, { objectMode: false }) })).code, 0);
    t.is((await aiokv(['get', into, 'k49'])).stdout, 'é漢'.repeat(49));
    t.is((await aiokv(['count', into])).stdout, '50\n');
  }
});

test('what cannot be imported is told with its line, and what is before it stays', async (t) => {
  const directory = directoryOf(t);
  const wrong = async (stdin: string, flags: readonly string[], message: RegExp): Promise<void> => {
    const outcome = await aiokv(['import', join(directory, 'store'), ...flags], { stdin });
    t.is(outcome.code, 4);
    t.regex(outcome.stderr, message);
    t.regex(outcome.stderr, /\[ERR_AIOKV_CLI_INPUT\]\ntry: /);
  };
  await wrong('\n{"key":', [], /stdin, line 2: it is no JSON/);
  await wrong('[1]', [], /stdin, line 1: it is no object/);
  await wrong('{"key":"a","other":"1"}', [], /there is no field 'value' in it[^]*it has key, other/);
  await wrong('{"key":null,"value":"1"}', [], /the key is null/);
  await wrong('{"key":"6","value":"00"}', ['--hex'], /the key '6' is not hexadecimal/);
  await wrong('a,b\n1,2\n3\n', ['--csv', '--key', 'a'], /CSV|Record/i);
  t.is((await aiokv(['import', join(directory, 'store'), '--csv', '--jsonl'])).code, 2);
  t.is((await aiokv(['import', join(directory, 'store'), join(directory, 'x.unknown')])).code, 2);
  t.is((await aiokv(['import', join(directory, 'store'), join(directory, 'x.jsonl')])).code, 5);
  t.is((await aiokv(['import', join(directory, 'store'), directory])).code, 2);
  t.false(existsSync(join(directory, 'store')), 'none of them made a store');
  const many = Array.from({ length: 20_000 }, (_, i) => `{"key":"k${i}","value":"v"}`).join('\n');
  const stdin = Readable.from([Buffer.from(`${many}\n`), Buffer.from('wrong\n')], { objectMode: false });
  t.is((await aiokv(['import', join(directory, 'store')], { stdin })).code, 4);
  t.is((await aiokv(['has', join(directory, 'store'), 'k0'])).code, 0);
});

test('CSV with quotes, tabs and columns', async (t) => {
  const directory = directoryOf(t);
  writeFileSync(join(directory, 'a.csv'), '\ufeffemail,name,n\nada@x,"Ada, ""L""",1\n\nbob@x,"two\nlines",2\n');
  writeFileSync(join(directory, 'b.tsv'), 'key\tvalue\na\t1\n');
  const into = join(directory, 'store');
  t.is((await aiokv(['import', into, join(directory, 'a.csv'), '--key', 'email', '--value', 'name'])).code, 0);
  t.is((await aiokv(['import', into, join(directory, 'b.tsv')])).code, 0);
  t.is((await aiokv(['scan', into])).stdout, 'a\t1\nada@x\tAda, "L"\nbob@x\ttwo\nlines\n');
  const whole = join(directory, 'whole');
  t.is((await aiokv(['import', whole, join(directory, 'a.csv'), '--key', 'email', '--limit', '1'])).code, 2);
  t.is((await aiokv(['import', whole, join(directory, 'a.csv'), '--key', 'email'])).code, 0);
  t.is((await aiokv(['get', whole, 'ada@x'])).stdout, '{"email":"ada@x","name":"Ada, \\"L\\"","n":"1"}');
});

test('a directory of LevelDB', async (t) => {
  const directory = directoryOf(t);
  const from = join(directory, 'level');
  const level = new ClassicLevel<string, Uint8Array>(from, { valueEncoding: 'view' });
  await level.batch(
    Array.from({ length: 700 }, (_, i) => ({ type: 'put', key: `key ${i}`, value: Uint8Array.of(i, 255) })),
  );
  const busy = await aiokv(['import', join(directory, 'busy'), from]);
  t.is(busy.code, 5);
  t.regex(busy.stderr, /cannot be opened as a database of LevelDB: .*\[ERR_AIOKV_CLI_FILE\]/);
  await level.close();
  const into = join(directory, 'store');
  t.is((await aiokv(['import', into, from])).code, 0);
  t.is((await aiokv(['count', into])).stdout, '700\n');
  t.deepEqual((await aiokv(['get', into, 'key 3'])).bytes, Buffer.from([3, 255]));
  t.is((await aiokv(['import', into, join(directory, 'nothing'), '--level'])).code, 5);
});

test('an environment of LMDB, and a named database of it', async (t) => {
  const directory = directoryOf(t);
  const from = join(directory, 'lmdb');
  mkdirSync(from);
  const root = openLmdb({ path: from, encoding: 'binary', keyEncoding: 'binary' });
  const named = root.openDB({ name: 'users', encoding: 'binary', keyEncoding: 'binary' });
  for (let i = 0; i < 700; i++) await named.put(Buffer.from(`key ${i}`), Buffer.from([i & 255, 255]));
  await root.close();
  const into = join(directory, 'store');
  t.is((await aiokv(['import', into, from, '--database', 'users'])).code, 0);
  t.is((await aiokv(['count', into])).stdout, '700\n');
  t.deepEqual((await aiokv(['get', into, 'key 3'])).bytes, Buffer.from([3, 255]));
  t.is((await aiokv(['import', into, join(directory, 'nothing'), '--lmdb'])).code, 5);
});

test('a package that is missing is named, with how to install it', (t) => {
  t.throws(() => packageNamed('aiokv-no-such-package'), {
    code: 'ERR_AIOKV_CLI_PACKAGE',
    message: /needs the package aiokv-no-such-package/,
  });
});

test('a signal ends an import to which nothing comes', async (t) => {
  const directory = join(directoryOf(t), 'store');
  const ending = new AbortController();
  let asked = 0;
  const silent = new Readable({
    read() {
      asked++;
      if (asked === 1) this.push('{"key":"a","value":"1"}\n');
      else setImmediate(() => ending.abort(new Interrupted()));
    },
  });
  const { code, stderr } = await aiokv(['import', directory], { stdin: silent, signal: ending.signal });
  t.deepEqual([code, stderr], [130, '']);
  t.is(
    (await aiokv(['load', directory], { stdin: new Readable({ read: () => undefined }), signal: ending.signal })).code,
    130,
  );
  const store = await open(directory);
  await store.close();
});
