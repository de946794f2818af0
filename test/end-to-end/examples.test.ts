/** The examples run as their first lines say, print what they should, and leave nothing behind. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { Random } from '@aiokv/core';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Always the same. */
function randomBytes(count: number): Buffer {
  return Buffer.from(new Random(count).fill(new Uint8Array(count)).buffer);
}

interface Example {
  /** What it is called with; default: the directory. */
  readonly args?: (directory: string) => string[];
  /** What it prints, line by line. */
  readonly lines: readonly RegExp[];
  /** What it leaves in the directory; default: nothing. */
  readonly leaves?: readonly string[];
}

const EXAMPLES: Readonly<Record<string, Example>> = {
  'embed.ts': {
    lines: [
      /^oslo: 709037$/,
      /^bergen: undefined$/,
      /^trondheim: 212660, mjøsa: 369$/,
      /^range: city:trondheim 212660$/,
      /^range: city:oslo 709037$/,
      /^after reopening: 369$/,
    ],
  },
  'aio-random-reads.ts': {
    lines: [/^19200 reads at depth 64, 0 wrong$/, /^[1-9]\d* reads\/s$/, /^[1-9]\d*\.\d reads in a submission$/],
  },
  'level.ts': {
    lines: [/^s2 is of bob, s9 of undefined$/, /^ended: s1, s3$/, /^left: s2$/],
  },
  'msgpack-values.ts': {
    lines: [
      /^1972: Dahl, Dijkstra, Hoare$/,
      /^book:1972: Structured Programming$/,
      /^book:1978: The C Programming Language$/,
    ],
  },
  'sum.ts': {
    args: (directory) => ['--path', join(directory, 'testfile')],
    lines: [/^Successfully calculated that the sum of integers from 0 to 999 is 499500$/],
    leaves: ['testfile'],
  },
  'deadline.ts': {
    lines: [
      /^with time to spare: from the disk \(4096 bytes\)$/,
      /^behind a backlog: the fallback \(withdrawn\), before the backlog is done$/,
      /^in flight: the fallback \(completed, 33554432 bytes too late\)$/,
    ],
  },
  'worker-per-context.ts': {
    lines: [/^4 workers, 4096 blocks: the checksums add up to [1-9]\d+$/, /^as they should$/],
  },
};
/** Those that have a test of their own below. */
const OTHERS = ['copy.ts', 'scrub.ts'];

function run(name: string, ...args: string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [...process.execArgv, join(ROOT, 'examples', name), ...args],
    { encoding: 'utf8', timeout: 60_000 },
  );
  return { status, stdout, stderr };
}

function directoryOf(t: ExecutionContext): string {
  const directory = mkdtempSync(resolve('.tmp-examples-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

test('every example is checked here', (t) => {
  const examples = readdirSync(join(ROOT, 'examples')).filter((name) => name.endsWith('.ts'));
  t.deepEqual(examples.sort(), [...Object.keys(EXAMPLES), ...OTHERS].sort());
  for (const name of examples) t.true(readFileSync(join(ROOT, 'examples', name), 'utf8').includes(`examples/${name}`));
});

for (const [name, { args = (directory: string) => [directory], lines, leaves = [] }] of Object.entries(EXAMPLES)) {
  test(`examples/${name}`, (t) => {
    const directory = directoryOf(t);
    const { status, stdout, stderr } = run(name, ...args(directory));
    t.is(status, 0, stderr);
    const printed = stdout.trimEnd().split('\n');
    t.is(printed.length, lines.length, stdout);
    lines.forEach((line, i) => t.regex(printed[i] as string, line));
    t.deepEqual(readdirSync(directory), leaves);
  });
}

test('examples/sum.ts reaps as it is told to, and says what cannot be', (t) => {
  const directory = directoryOf(t);
  const path = ['--path', join(directory, 'testfile')];
  const sum = run('sum.ts', ...path, '--file_size=50', '--concurrent_requests=8', '--min_nr=4', '--max_nr=6');
  t.is(sum.status, 0, sum.stderr);
  t.is(sum.stdout, 'Successfully calculated that the sum of integers from 0 to 49 is 1225\n');
  const refused: [string[], RegExp][] = [
    [['--min_nr=3', '--max_nr=2'], /^--min_nr 3 is more than --max_nr 2\b/],
    [['--min_nr=9', '--max_nr=9', '--concurrent_requests=8'], /^--min_nr 9 is more than --concurrent_requests 8\b/],
    [['--file_size=none'], /^--file_size is a whole number from 1, not 'none'$/m],
  ];
  for (const [flags, message] of refused) {
    const { status, stderr } = run('sum.ts', ...path, ...flags);
    t.is(status, 2);
    t.regex(stderr, message);
  }
});

for (const sizeBytes of [0, 1, 4096, 5_000_001]) {
  test(`examples/copy.ts, ${sizeBytes} bytes`, (t) => {
    const directory = directoryOf(t);
    const [source, target] = [join(directory, 'source'), join(directory, 'target')];
    const bytes = randomBytes(sizeBytes);
    writeFileSync(source, bytes);
    const { status, stdout, stderr } = run('copy.ts', source, target);
    t.is(status, 0, stderr);
    t.regex(stdout, new RegExp(`^${sizeBytes} bytes copied, \\d+\\.\\d MB/s\n$`));
    t.true(readFileSync(target).equals(bytes));

    const again = run('copy.ts', source, target);
    t.not(again.status, 0);
    t.regex(again.stderr, /EEXIST/);
    t.true(readFileSync(target).equals(bytes));
    t.deepEqual(readdirSync(directory), ['source', 'target']);
  });
}

test('examples/scrub.ts', (t) => {
  const directory = directoryOf(t);
  const path = join(directory, 'file');
  const bytes = randomBytes(20 * 65536 + 1000);
  writeFileSync(path, bytes);
  const withoutList = run('scrub.ts', path);
  t.is(withoutList.status, 2);
  t.regex(withoutList.stderr, /^usage: .*--write-list/);
  const listing = run('scrub.ts', path, '--write-list');
  t.is(listing.status, 0, listing.stderr);
  t.is(listing.stdout, '21 blocks listed\n');
  const clean = run('scrub.ts', path);
  t.is(clean.status, 0, clean.stderr);
  t.is(clean.stdout, '21 blocks read, 0 damaged\n');

  for (const at of [65536 * 3 + 7, bytes.length - 1]) bytes[at] = (bytes[at] as number) ^ 1;
  writeFileSync(path, bytes);
  const damaged = run('scrub.ts', path);
  t.is(damaged.status, 1, damaged.stderr);
  t.deepEqual(damaged.stdout.trimEnd().split('\n'), [
    'block 3, from byte 196608: other bytes than before',
    'block 20, from byte 1310720: other bytes than before',
    '21 blocks read, 2 damaged',
  ]);
  writeFileSync(path, bytes.subarray(0, 65536 * 20));
  const cut = run('scrub.ts', path);
  t.is(cut.status, 1);
  t.regex(cut.stdout, /^the file has 1310720 bytes and had 1311720$/m);
});
