/** The examples run as their first lines say, print what they should, and leave nothing behind. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** What each prints, line by line. */
const EXPECTED: Readonly<Record<string, readonly RegExp[]>> = {
  'embed.ts': [
    /^oslo: 709037$/,
    /^bergen: undefined$/,
    /^trondheim: 212660, mjøsa: 369$/,
    /^range: city:trondheim 212660$/,
    /^range: city:oslo 709037$/,
    /^after reopening: 369$/,
  ],
  'aio-random-reads.ts': [
    /^19200 reads at depth 64, 0 wrong$/,
    /^[1-9]\d* reads\/s$/,
    /^[1-9]\d*\.\d reads in a submission$/,
  ],
  'msgpack-values.ts': [
    /^1972: Dahl, Dijkstra, Hoare$/,
    /^book:1972: Structured Programming$/,
    /^book:1978: The C Programming Language$/,
  ],
};

test('every example is checked here', (t) => {
  const examples = readdirSync(join(ROOT, 'examples')).filter((name) => name.endsWith('.ts'));
  t.deepEqual(examples.sort(), Object.keys(EXPECTED).sort());
  for (const name of examples) t.true(readFileSync(join(ROOT, 'examples', name), 'utf8').includes(`examples/${name}`));
});

for (const [name, lines] of Object.entries(EXPECTED)) {
  test(`examples/${name}`, (t) => {
    const directory = mkdtempSync(resolve('.tmp-examples-'));
    try {
      const { status, stdout, stderr } = spawnSync(
        process.execPath,
        [...process.execArgv, join(ROOT, 'examples', name), directory],
        { encoding: 'utf8', timeout: 60_000 },
      );
      t.is(status, 0, stderr);
      const printed = stdout.trimEnd().split('\n');
      t.is(printed.length, lines.length, stdout);
      lines.forEach((line, i) => t.regex(printed[i] as string, line));
      t.deepEqual(readdirSync(directory), [], 'nothing is left behind');
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
}
