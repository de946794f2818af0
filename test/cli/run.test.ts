/** What holds for every command: help, exit codes, streams that end early, signals. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { ManualClock } from '@aiokv/core';
import { Interrupted } from '@aiokv/cli';
import { open } from '@aiokv/kv';
import test from 'ava';
import { fromSource } from '../helpers/from-source.ts';
import { skipWhere } from '../helpers/skip.ts';
import { aiokv, storeOf } from './harness.ts';

const fromRoot = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const BIN = fromSource('packages/cli/src/bin.ts');

const COMMANDS = 'stat get has scan keys count put del dump load import export verify compact bench qualify repl'.split(
  ' ',
);

test('help lists the commands, and each teaches by examples', async (t) => {
  const { code, stdout } = await aiokv(['--help']);
  t.is(code, 0);
  t.regex(stdout, /Exit codes: 0 done/);
  for (const name of COMMANDS) {
    t.regex(stdout, new RegExp(`^  ${name} `, 'm'));
    const help = await aiokv([name, '--help']);
    t.is(help.code, 0);
    t.regex(help.stdout, new RegExp(`Examples:\n  \\$ aiokv ${name} `));
  }
});

test('the version is that of the package', async (t) => {
  const { version } = JSON.parse(readFileSync(fromRoot('packages/cli/package.json'), 'utf8')) as { version: string };
  t.like(await aiokv(['--version']), { code: 0, stdout: `${version}\n` });
});

test('a wrong call has exit code 2 and says what would be right', async (t) => {
  t.is((await aiokv([])).code, 2);
  const wrong = await aiokv(['scna', 'x']);
  t.is(wrong.code, 2);
  t.regex(
    wrong.stderr,
    /^aiokv: unknown command 'scna'\n\(Did you mean scan\?\) \[ERR_AIOKV_CLI_USAGE\]\ntry: `aiokv --help`/,
  );
  const flag = await aiokv(['scan', 'x', '--revers']);
  t.is(flag.code, 2);
  t.regex(flag.stderr, /Did you mean --reverse\?[^]*`aiokv scan --help`/);
});

test('stat is a table on a terminal, lines in a pipe, and JSON', async (t) => {
  const directory = await storeOf(t, { a: '1', b: '2' });
  const table = await aiokv(['stat', directory], { isTerminal: true });
  t.regex(table.stdout, /^writes +2, of these 0 in the checkpoint$/m);
  const lines = await aiokv(['stat', directory]);
  t.regex(lines.stdout, /^sequence\t2$/m);
  t.regex(lines.stdout, /^space\.liveBytes\t\d+$/m);
  const json = await aiokv(['stat', directory, '--json']);
  t.like(JSON.parse(json.stdout), { sequence: 2, iterators: 0 });
});

test('stat --watch draws over itself on a terminal, and ends with a signal', async (t) => {
  const directory = await storeOf(t, { a: '1' });
  const clock = new ManualClock();
  const ending = new AbortController();
  let views = 0;
  const outcome = await aiokv(['stat', directory, '--watch', '2'], {
    isTerminal: true,
    clock,
    signal: ending.signal,
    onOutput() {
      views++;
      if (views === 3) ending.abort(new Interrupted());
      // When the command waits for it.
      else setImmediate(() => clock.advance(2000));
    },
  });
  t.is(outcome.code, 0, 'it is how a watch ends');
  t.is(views, 3);
  t.is(outcome.stdout.split('\u001b[J').length - 1, 2);
  const lines = await aiokv(['stat', directory, '--watch', '0.05', '--count', '2', '--json']);
  t.is(lines.stdout.split('\n').length - 1, 2);
  t.is((await aiokv(['stat', directory, '--watch', 'often'])).code, 2);
  t.is((await aiokv(['stat', directory, '--watch', '--count', '0'])).code, 2);
});

test('a reader that goes away ends a scan quietly, and the store is closed', async (t) => {
  const directory = await storeOf(t, { a: 'x'.repeat(200_000), b: 'x'.repeat(200_000), c: 'x'.repeat(200_000) });
  let chunks = 0;
  const gone = new Writable({
    write(_chunk, _encoding, done) {
      chunks++;
      done(chunks > 1 ? Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }) : null);
    },
  });
  t.like(await aiokv(['scan', directory], { stdout: gone }), { code: 0, stderr: '' });
  const full = new Writable({
    write(_chunk, _encoding, done) {
      done(Object.assign(new Error('write ENOSPC'), { code: 'ENOSPC' }));
    },
  });
  const failed = await aiokv(['scan', directory], { stdout: full });
  t.is(failed.code, 5);
  t.regex(failed.stderr, /write ENOSPC \[ENOSPC\]/);
  const store = await open(directory);
  await store.close();
});

test('a slow reader is waited for', async (t) => {
  const entries = Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`key ${i}`, Buffer.alloc(50_000, i)]));
  const directory = await storeOf(t, entries);
  let waiting = 0;
  let most = 0;
  let bytes = 0;
  const slow = new Writable({
    highWaterMark: 1,
    write(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      most = Math.max(most, slow.writableLength);
      waiting++;
      setImmediate(done);
    },
  });
  t.is((await aiokv(['scan', directory], { stdout: slow })).code, 0);
  t.true(bytes > 3_000_000);
  t.true(waiting > 20);
  t.true(most < 400_000, `${most} bytes waited`);
});

test('a signal ends a command, with its exit code and a closed store', async (t) => {
  const directory = await storeOf(t, { a: '1' });
  const ending = new AbortController();
  ending.abort(new Interrupted('SIGTERM'));
  t.like(await aiokv(['scan', directory], { signal: ending.signal }), { code: 143, stderr: '' });
  const store = await open(directory);
  await store.close();
});

test('progress is told on a terminal only', async (t) => {
  const entries = Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`key ${i}`, '']));
  const directory = await storeOf(t, entries);
  let now = 0;
  // Each look at the clock is a second later.
  const clock = { nowMs: () => (now += 1000), after: () => () => undefined };
  const shown = await aiokv(['verify', directory], { isTerminal: true, clock });
  t.regex(shown.stderr, /verifying {2}.*2,816 entries.*\/s/);
  t.true(shown.stderr.endsWith('\r\u001b[K'), 'the line is taken away');
  t.is((await aiokv(['verify', directory], { clock })).stderr, '');
});

test('the command itself: in a pipe that is closed early', async (t) => {
  const entries = Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`key ${i}`, 'x'.repeat(200)]));
  const directory = await storeOf(t, entries);
  const line = `"$0" ${BIN.map((part) => `'${part}'`).join(' ')} scan '${directory}' | head -n 1; echo "\${PIPESTATUS[0]}"`;
  const { stdout, stderr } = spawnSync('bash', ['-c', line, process.execPath], { encoding: 'utf8' });
  t.is(stderr, '');
  t.is(stdout, `key 0\t${'x'.repeat(200)}\n0\n`);
});

const hasScript = spawnSync('script', ['--version']).status === 0;

skipWhere(hasScript ? null : 'there is no script of util-linux')(
  'the command itself: in a pseudo-terminal',
  async (t) => {
    const directory = await storeOf(t, { a: '1', b: '\u001b[31m' });
    const command = [process.execPath, ...BIN, 'scan', directory].map((part) => `'${part}'`).join(' ');
    const env = { ...process.env, TERM: 'xterm' };
    delete (env as Record<string, string | undefined>)['NO_COLOR'];
    const child = spawn('script', ['-qec', command, '/dev/null'], { env });
    let stdout = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    // Its stdin stays open until it has ended: at the end of it `script` does not wait for a command that is slow.
    const [status] = (await once(child, 'close')) as [number];
    t.is(status, 0);
    // Behind the progress of an opening that took its time.
    const lines = (stdout.split('\u001b[K').at(-1) as string).replaceAll('\r', '').split('\n');
    t.is(lines[0], `\u001b[36ma${' '.repeat(23)}\u001b[39m  1`);
    t.is(lines[1], `\u001b[36mb${' '.repeat(23)}\u001b[39m  \\u001b[31m`);
  },
);

skipWhere(hasScript ? null : 'there is no script of util-linux')('repl: in a pseudo-terminal', async (t) => {
  const directory = await storeOf(t, { a: '1' });
  const command = [process.execPath, ...BIN, 'repl', directory].map((part) => `'${part}'`).join(' ');
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    env: { ...process.env, NO_COLOR: '1', TERM: 'dumb' },
  });
  let stdout = '';
  let prompts = 0;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    // Each line is typed when it is asked for.
    for (; prompts < stdout.split('aiokv> ').length - 1; prompts++) {
      child.stdin.write(['put b "two words"\r', 'get c\r', 'scan\r', 'exit\r'][prompts] ?? '');
    }
  });
  const [status] = (await once(child, 'close')) as [number];
  t.is(status, 0, 'what failed was seen');
  t.regex(stdout, /aiokv: no such key: c/);
  t.regex(stdout, /^a {25}1\r$/m);
  t.regex(stdout, /^b {25}two words\r$/m);
});
