/**
 * A store in processes that lack something: addresses for WebAssembly (`ulimit -v`), WebAssembly and the compiler of V8
 * altogether (`--jitless`). Importing does not fail there, and the store works, over the plain form of the checksums.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { transpile } from './transpiled.ts';
import type { Transpiled } from './transpiled.ts';

const PROGRAM = `
import { open } from '@aiokv/kv';
let hasWasm = typeof WebAssembly === 'object';
try {
  if (hasWasm) new WebAssembly.Memory({ initial: 1 });
} catch {
  hasWasm = false;
}
const store = await open(process.argv[2]);
for (let i = 0; i < 300; i++) await store.put('key' + i, 'v'.repeat(i * 10), { durability: 'buffered' });
await store.close();
const again = await open(process.argv[2]);
let right = 0;
for (let i = 0; i < 300; i++) if (String(await again.get('key' + i)) === 'v'.repeat(i * 10)) right++;
await again.close();
console.log(JSON.stringify({ right, hasWasm }));
`;

let transpiled: Transpiled;

test.before(() => {
  transpiled = transpile();
  writeFileSync(join(transpiled.directory, 'program.mjs'), PROGRAM);
});

test.after.always(() => transpiled.remove());

function run(command: string): { status: number | null; stdout: string; stderr: string } {
  const data = mkdtempSync(join(transpiled.directory, 'data-'));
  try {
    return spawnSync('bash', ['-c', command.replace('PROGRAM', `program.mjs ${data}`)], {
      cwd: transpiled.directory,
      encoding: 'utf8',
      env: { ...process.env, NODE: process.execPath, NODE_OPTIONS: '' },
    });
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
}

for (const kib of [8_388_608, 4_194_304]) {
  test(`a store under ulimit -v ${kib}`, (t) => {
    const { stdout, stderr } = run(`ulimit -v ${kib} && exec "$NODE" PROGRAM`);
    t.is(stderr, '');
    t.deepEqual(JSON.parse(stdout), { right: 300, hasWasm: false });
  });
}

test('a store without a limit has WebAssembly', (t) => {
  t.deepEqual(JSON.parse(run('exec "$NODE" PROGRAM').stdout), { right: 300, hasWasm: true });
});

test('a store with --jitless', (t) => {
  const { stdout, stderr } = run(`exec "$NODE" --jitless PROGRAM`);
  t.is(stderr.replace(/^Warning: disabling flag .*\n/, ''), '');
  t.deepEqual(JSON.parse(stdout), { right: 300, hasWasm: false });
});

test('what was written with WebAssembly is read without it, and the other way round', (t) => {
  const reader = `
import { open } from '@aiokv/kv';
const store = await open(process.argv[2]);
console.log(String(await store.get('a')), String(await store.get('b')));
await store.put('b', 'plain', { durability: 'flushed' });
await store.close();`;
  writeFileSync(join(transpiled.directory, 'reader.mjs'), reader);
  const { stdout } = run(`
    set -- PROGRAM
    "$NODE" reader.mjs $2; "$NODE" --jitless reader.mjs $2; "$NODE" reader.mjs $2`);
  t.is(stdout, 'undefined undefined\nundefined plain\nundefined plain\n');
});
