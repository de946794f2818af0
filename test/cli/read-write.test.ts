/** `get`, `has`, `scan`, `keys`, `count`, `put`, `del`: good input and bad, on a terminal and in a pipe. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createCodec } from '@aiokv/core';
import { open } from '@aiokv/kv';
import test from 'ava';
import { aiokv, directoryOf, fill, storeOf } from './harness.ts';

const FRUIT = { apple: 'red', banana: 'yellow', cherry: 'dark red', 'veg:leek': 'green' };

test('put makes no store unless it is told, and get gives the bytes again', async (t) => {
  const directory = join(directoryOf(t), 'new');
  const refused = await aiokv(['put', directory, 'key', 'value']);
  t.is(refused.code, 3);
  t.regex(refused.stderr, /\[ERR_AIOKV_NOT_FOUND\]\ntry: .*put --create/);
  t.false(existsSync(directory));

  t.is((await aiokv(['put', directory, 'key', 'value', '--create'])).code, 0);
  const bytes = Buffer.from([0, 255, 10, 13, 27]);
  t.is((await aiokv(['put', directory, 'bytes'], { stdin: bytes })).code, 0);
  t.deepEqual((await aiokv(['get', directory, 'key'])).stdout, 'value');
  t.deepEqual((await aiokv(['get', directory, 'bytes'])).bytes, bytes);
  t.is((await aiokv(['get', directory, 'bytes', '--hex'])).code, 2, 'a key that is no hexadecimal number');
  t.is((await aiokv(['get', directory, '6279746573', '--hex'])).stdout, '00ff0a0d1b\n');
});

test('put says when a key is there already, and takes no value from a terminal', async (t) => {
  const directory = await storeOf(t, FRUIT);
  const there = await aiokv(['put', directory, 'apple', 'green', '--if-absent']);
  t.is(there.code, 1);
  t.regex(there.stderr, /\[ERR_AIOKV_CONDITION_FAILED\]/);
  t.is((await aiokv(['put', directory, 'plum', 'blue', '--if-absent', '--durability', 'written'])).code, 0);
  t.is((await aiokv(['put', directory, 'plum', 'blue', '--durability', 'perhaps'])).code, 2);
  t.is((await aiokv(['put', directory, 'k'.repeat(5000), 'v'])).code, 2, 'a key that is too long');
  t.is((await aiokv(['put', directory, '0x6b', '0x00FF', '--hex'])).code, 0);
  t.is((await aiokv(['put', directory, 'm', '{"a":[1,2]}', '--msgpack'])).code, 0);
  t.is((await aiokv(['put', directory, 'm', '{a}', '--msgpack'])).code, 4);
  const store = await open(directory);
  t.is(String(await store.get('apple')), 'red');
  t.deepEqual(await store.get('k'), Buffer.from([0, 255]));
  t.deepEqual(createCodec().decode((await store.get('m')) as Buffer), { a: [1, 2] });
  await store.close();
});

test('get of several keys tells which are missing', async (t) => {
  const directory = await storeOf(t, FRUIT);
  const { code, stdout, stderr } = await aiokv(['get', directory, 'apple', 'nothing', 'cherry']);
  t.is(code, 1);
  t.is(stdout, 'apple\tred\ncherry\tdark red\n');
  t.is(stderr, 'aiokv: no such key: nothing\n');
  const json = await aiokv(['get', directory, 'apple', 'banana', '--json']);
  t.is(json.code, 0);
  t.deepEqual(JSON.parse(json.stdout), [
    { key: 'apple', value: 'red' },
    { key: 'banana', value: 'yellow' },
  ]);
  const missing = await aiokv(['get', directory, 'nothing']);
  t.deepEqual([missing.code, missing.stdout], [1, '']);
});

test('has answers for each key', async (t) => {
  const directory = await storeOf(t, FRUIT);
  t.like(await aiokv(['has', directory, 'apple', 'nothing']), { code: 1, stdout: '1\n0\n' });
  t.like(await aiokv(['has', directory, 'apple', 'cherry'], { isTerminal: true }), { code: 0, stdout: 'yes\nyes\n' });
  t.is((await aiokv(['has', directory])).code, 2);
});

test('scan, keys and count take ranges', async (t) => {
  const directory = await storeOf(t, FRUIT);
  const lines = async (...args: string[]): Promise<string[]> => {
    const { code, stdout } = await aiokv([args[0] as string, directory, ...args.slice(1)]);
    t.is(code, 0);
    return stdout.split('\n').slice(0, -1);
  };
  t.deepEqual(await lines('scan'), ['apple\tred', 'banana\tyellow', 'cherry\tdark red', 'veg:leek\tgreen']);
  t.deepEqual(await lines('keys'), ['apple', 'banana', 'cherry', 'veg:leek']);
  t.deepEqual(await lines('scan', '--keys-only', '--from', 'banana', '--to', 'cherry'), ['banana']);
  t.deepEqual(await lines('keys', '--prefix', 'veg:'), ['veg:leek']);
  t.deepEqual(await lines('keys', '--prefix', 'b', '--from', 'a', '--to', 'z'), ['banana']);
  t.deepEqual(await lines('keys', '--prefix', 'b', '--from', 'c', '--to', 'z'), []);
  t.deepEqual(await lines('keys', '--reverse', '--limit', '2'), ['veg:leek', 'cherry']);
  t.deepEqual(await lines('keys', '--limit', '0'), []);
  t.deepEqual(await lines('keys', '--hex', '--prefix', '62'), ['62616e616e61']);
  t.deepEqual(await lines('count'), ['4']);
  t.deepEqual(await lines('count', '--to', 'c'), ['2']);
  for (const wrong of [
    ['--limit', '-1'],
    ['--limit', 'all'],
    ['--from', 'z', '--to', 'a'],
    ['--memory', 'much'],
    ['--json', '--csv'],
  ]) {
    const { code, stderr } = await aiokv(['scan', directory, ...wrong]);
    t.is(code, 2, wrong.join(' '));
    t.regex(stderr, /\[ERR_AIOKV_CLI_USAGE\]\ntry: /);
  }
});

test('a prefix that ends in the highest byte ends where no key is behind it', async (t) => {
  const directory = await storeOf(t, {});
  const store = await open(directory);
  for (const key of [[1], [1, 255], [1, 255, 7], [2], [255], [255, 255]]) await store.put(Uint8Array.from(key), '');
  await store.close();
  const keys = async (prefix: string) =>
    (await aiokv(['keys', directory, '--hex', '--prefix', prefix])).stdout.split('\n').slice(0, -1);
  t.deepEqual(await keys('01ff'), ['01ff', '01ff07']);
  t.deepEqual(await keys('ff'), ['ff', 'ffff']);
  t.is((await keys('')).length, 6);
});

test('formats are the same bytes again, or are refused', async (t) => {
  const directory = await storeOf(t, { text: 'a,"b"\nc', bytes: Uint8Array.of(0xff, 0x00), empty: '' });
  const jsonl = await aiokv(['scan', directory, '--jsonl']);
  t.deepEqual(
    jsonl.stdout
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as unknown),
    [
      { key: 'bytes', value: { $hex: 'ff00' } },
      { key: 'empty', value: '' },
      { key: 'text', value: 'a,"b"\nc' },
    ],
  );
  t.like(await aiokv(['scan', directory, '--csv', '--from', 'e']), {
    code: 0,
    stdout: 'key,value\nempty,""\ntext,"a,""b""\nc"\n',
  });
  const refused = await aiokv(['scan', directory, '--csv']);
  t.is(refused.code, 4);
  t.regex(refused.stderr, /bytes is not UTF-8.*\[ERR_AIOKV_CLI_INPUT\]\ntry: add --hex/);
  t.like(await aiokv(['scan', directory, '--csv', '--hex', '--limit', '1']), {
    stdout: 'key,value\n6279746573,ff00\n',
  });
  t.like(await aiokv(['keys', directory, '--json', '--limit', '0']), { stdout: '[]\n' });
  t.like(await aiokv(['keys', directory, '--csv', '--limit', '1']), { stdout: 'key\nbytes\n' });
});

test('values of MessagePack are shown as JSON', async (t) => {
  const codec = createCodec();
  const value = codec.encode({ name: 'Ada', bytes: Uint8Array.of(1, 2), big: 2n ** 60n, none: null });
  const directory = await storeOf(t, { ada: value, wrong: Uint8Array.of(0x93, 1) });
  const shown = { name: 'Ada', bytes: { $hex: '0102' }, big: '1152921504606846976', none: null };
  const one = await aiokv(['get', directory, 'ada', '--msgpack']);
  t.deepEqual(JSON.parse(one.stdout), shown);
  const lines = await aiokv(['scan', directory, '--msgpack', '--jsonl', '--limit', '1']);
  t.deepEqual(JSON.parse(lines.stdout), { key: 'ada', value: shown });
  const refused = await aiokv(['scan', directory, '--msgpack']);
  t.is(refused.code, 4);
  t.regex(refused.stderr, /the value of wrong is not MessagePack/);
});

test('a terminal gets columns that fit, and nothing that it would obey', async (t) => {
  const directory = await storeOf(t, {
    long: 'x'.repeat(10_000),
    sly: '\u001b[2J\u202egone\r\n',
    wide: '漢字'.repeat(100),
    short: 'v',
    raw: Uint8Array.of(1, 0xff),
  });
  const { stdout } = await aiokv(['scan', directory], { isTerminal: true });
  const lines = stdout.split('\n').slice(0, -1);
  t.is(lines.length, 5);
  for (const line of lines) t.true(line.length <= 80, line);
  t.regex(lines[0] as string, /^long {22}x+… \(10,000 B\)$/);
  t.is(lines[1], `raw${' '.repeat(23)}0x01ff`);
  t.is(lines[3], `sly${' '.repeat(23)}\\u001b[2J\\u202egone\\r\\n`);
  t.regex(lines[4] as string, /^wide {22}(?:漢字)+漢?… \(600 B\)$/);
  const full = await aiokv(['get', directory, 'long'], { isTerminal: true });
  t.is(full.stdout, `${'x'.repeat(10_000)}\n`);
  const coloured = await aiokv(['keys', directory, '--limit', '1'], { isTerminal: true, variables: {} });
  t.is(coloured.stdout, '\u001b[36mlong\u001b[39m\n');
});

test('del removes keys, and ranges only with --yes', async (t) => {
  const directory = await storeOf(t, FRUIT);
  t.is((await aiokv(['del', directory, 'apple', 'nothing'])).code, 0);
  const refused = await aiokv(['del', directory, '--prefix', 'b']);
  t.is(refused.code, 2);
  t.regex(refused.stderr, /only with --yes/);
  t.is((await aiokv(['del', directory])).code, 2);
  t.is((await aiokv(['del', directory, '--yes'])).code, 2, 'all keys need a range that says so');
  t.is((await aiokv(['del', directory, 'x', '--prefix', 'b', '--yes'])).code, 2);
  t.is((await aiokv(['del', directory, '--prefix', 'b', '--yes'])).code, 0);
  t.is((await aiokv(['keys', directory])).stdout, 'cherry\nveg:leek\n');
});

test('what is no store is refused', async (t) => {
  const directory = directoryOf(t);
  await fill(join(directory, 'store'), FRUIT);
  const other = await aiokv(['scan', directory]);
  t.is(other.code, 3);
  t.regex(other.stderr, /\[ERR_AIOKV_NOT_A_STORE\]\ntry: /);
  const store = await open(join(directory, 'store'));
  const locked = await aiokv(['scan', join(directory, 'store')]);
  t.is(locked.code, 3);
  t.regex(locked.stderr, /\[ERR_AIOKV_LOCKED\]\ntry: stop the program that has the store open/);
  t.notRegex(locked.stderr, /^\s+at /m, 'no stack');
  const verbose = await aiokv(['scan', join(directory, 'store'), '--verbose']);
  t.regex(verbose.stderr, /^\s+at /m);
  await store.close();
});
