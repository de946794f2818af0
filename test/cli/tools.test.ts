/** `bench`, `qualify`, `repl`, `completion`. */
import { spawnSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { wordsOf } from '../../packages/cli/src/text/words.ts';
import { skipWhere } from '../helpers/skip.ts';
import { aiokv, directoryOf, storeOf } from './harness.ts';

test('bench measures in a store of its own, which it removes', async (t) => {
  const directory = directoryOf(t);
  const flags = ['--records', '2000', '--value-bytes', '100', '--depth', '16'];
  const table = await aiokv(['bench', directory, ...flags]);
  t.is(table.code, 0);
  for (const name of ['load', 'random gets', 'flushed puts', 'scan'])
    t.regex(table.stdout, new RegExp(`^${name} +2,000 +[\\d,]+`, 'm'));
  const json = await aiokv(['bench', directory, ...flags, '--json']);
  const { phases } = JSON.parse(json.stdout) as { phases: { name: string; perSecond: number }[] };
  t.is(phases.length, 4);
  for (const { name, perSecond } of phases) t.true(perSecond > 0, name);
  t.deepEqual(readdirSync(directory), []);
  t.is((await aiokv(['bench', directory, '--records', 'many'])).code, 2);
  t.is((await aiokv(['bench', join(directory, 'nothing')])).code, 5);
});

test('qualify says what a directory is good for', async (t) => {
  const directory = directoryOf(t);
  const { code, stdout } = await aiokv(['qualify', directory]);
  t.true(stdout.startsWith(`${directory}: `));
  t.is(code, stdout.startsWith(`${directory}: unsuitable`) ? 1 : 0);
  t.deepEqual(readdirSync(directory), []);
  t.not((await aiokv(['qualify', join(directory, 'nothing')])).code, 0);
});

test('repl runs lines over one open store, and goes on after one that failed', async (t) => {
  const directory = await storeOf(t, { a: '1' });
  const script = [
    '# a remark',
    'get a',
    'put "key with blanks" \'{"a": 1}\'',
    'has b',
    'scan --limit 5 --jsonl',
    'put c',
    'nonsense',
    'scan "open',
    'get a --hlep',
    'count',
    'help',
    'exit',
    'put never 1',
  ].join('\n');
  const { code, stdout, stderr } = await aiokv(['repl', directory], { stdin: script });
  t.is(stdout.split('\n')[0], '10', 'get a, then has b');
  t.true(stdout.includes('{"key":"a","value":"1"}\n{"key":"key with blanks","value":"{\\"a\\": 1}"}\n2\n'));
  t.regex(stdout, /^stat get has .* exit$/m);
  t.regex(stderr, /the value is missing/);
  t.regex(stderr, /unknown command 'nonsense'/);
  t.regex(stderr, /a " is not closed/);
  t.is(code, 2, 'that of the last line that failed');
  t.is((await aiokv(['has', directory, 'never'])).stdout, '0\n');
  t.is((await aiokv(['repl', directory], { stdin: 'get a\n' })).code, 0);
  t.is((await aiokv(['repl', join(directory, 'nothing')])).code, 3);
});

test('repl runs no command that has no store, or one of its own', async (t) => {
  const directory = await storeOf(t, { a: '1' });
  for (const name of ['bench', 'qualify', 'load', 'import', 'repl', 'completion']) {
    const { code, stdout, stderr } = await aiokv(['repl', directory], { stdin: `${name} .\ncount\n` });
    t.is(code, 2, name);
    t.is(stdout, '1\n', name);
    t.regex(stderr, new RegExp(`${name} is no command for a line.*ERR_AIOKV_CLI_USAGE`));
  }
});

test('words of a line', (t) => {
  t.deepEqual(wordsOf('  put a\\ b "c d" \'e\\f\' "" x"y"z '), ['put', 'a b', 'c d', 'e\\f', '', 'xyz']);
  t.deepEqual(wordsOf('"a\\"b"'), ['a"b']);
  t.deepEqual(wordsOf(''), []);
  t.throws(() => wordsOf('a "b'), { code: 'ERR_AIOKV_CLI_USAGE' });
});

test('bash completes commands, flags and files', async (t) => {
  const directory = directoryOf(t);
  const { code, stdout } = await aiokv(['completion', 'bash']);
  t.is(code, 0);
  writeFileSync(join(directory, 'script'), stdout);
  const completed = (...words: string[]): string[] => {
    const line = `source ./script; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _aiokv; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout: found, stderr } = spawnSync('bash', ['-c', line, 'bash', ...words], {
      cwd: directory,
      encoding: 'utf8',
    });
    t.is(stderr, '');
    return found.split('\n').filter((each) => each !== '');
  };
  t.deepEqual(completed('aiokv', 'sc'), ['scan']);
  t.deepEqual(completed('aiokv', 'scan', 'dir', '--re'), ['--reverse']);
  t.deepEqual(completed('aiokv', 'load', 'scr'), ['script']);
  t.deepEqual(completed('aiokv', 'completion', 'f'), ['fish']);
  t.is((await aiokv(['completion', 'tcsh'])).code, 2);
});

for (const [shell, flags] of [
  ['zsh', ['-n']],
  ['fish', ['--no-execute']],
] as const) {
  const isThere = spawnSync(shell, ['--version']).status === 0;
  skipWhere(isThere ? null : `there is no ${shell}`)(`${shell} reads its completion`, async (t) => {
    const file = join(directoryOf(t), 'script');
    writeFileSync(file, (await aiokv(['completion', shell])).stdout);
    const { status, stderr } = spawnSync(shell, [...flags, file], { encoding: 'utf8' });
    t.is(stderr, '');
    t.is(status, 0);
  });
}

test('completions of zsh and fish have every command and flag', async (t) => {
  const zsh = await aiokv(['completion', 'zsh']);
  const fish = await aiokv(['completion', 'fish']);
  t.regex(zsh.stdout, /^#compdef aiokv\n/);
  t.regex(zsh.stdout, /^ {4}scan\) _arguments .*'--prefix\[keys that begin so\]:value:'/m);
  t.regex(
    fish.stdout,
    /^complete -c aiokv -n '__fish_seen_subcommand_from scan' -l prefix -r -d 'keys that begin so'$/m,
  );
});
