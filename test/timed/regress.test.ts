/**
 * The regression guard as a whole: this tree against its last commit, small, with and without a planted slowdown. In a whole
 * suite test/regress/versions.test.ts has built both before.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { fromSource } from '../helpers/from-source.ts';
import { inRepository } from '../helpers/skip.ts';
import { BASE, BUILDS } from '../regress/builds.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const NODE_ARGUMENTS = fromSource('benchmarks/regress/main.ts');
/** One of each kind: reads of a store that is shared, and writes into one of its own. That each of them runs is a test by itself. */
const COMPARED = ['get', 'load-writers'];
/** As little as shows a factor of two: a loss of a few percent takes minutes on a quiet machine. */
const SMALL = ['--rounds', '5', '--records', '2000', '--seconds', '0.1', '--tolerance', '60'];

interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

inRepository('the last commit against itself passes, with a planted slowdown it fails', (t) => {
  t.timeout(480_000);
  const run = (args: readonly string[], burnNs = 0): Ran =>
    spawnSync(process.execPath, [...NODE_ARGUMENTS, '--base', BASE, '--directory', BUILDS, ...args], {
      cwd: ROOT,
      encoding: 'utf8',
      env: { ...process.env, AIOKV_REGRESS_BURN_NS: String(burnNs) },
    });
  const equal = run([...SMALL, '--only', COMPARED.join()]);
  t.is(equal.status, 0, equal.stdout + equal.stderr);
  const rowsOfAll = COMPARED.map((workload) => `${workload} .*\\n`).join('');
  t.regex(equal.stdout, new RegExp(`^${rowsOfAll}\\nNo proven loss`, 'm'));
  const planted = run([...SMALL, '--only', 'get', '--json'], 500_000);
  t.is(planted.status, 1, planted.stdout + planted.stderr);
  const { rows } = JSON.parse(planted.stdout) as { rows: { workload: string; verdict: string }[] };
  t.deepEqual(
    rows.map(({ workload, verdict }) => [workload, verdict]),
    [['get', 'LOSS']],
  );
  t.regex(planted.stderr, /^get: 5 rounds, LOSS$/m);
});

test('what it cannot compare with is refused with exit code 2', (t) => {
  for (const [args, message] of [
    [['--base', 'no-such-commit'], /no-such-commit/],
    [['--bases', 'main'], /--help/],
  ] as const) {
    const { status, stderr } = spawnSync(process.execPath, [...NODE_ARGUMENTS, ...args], {
      cwd: ROOT,
      encoding: 'utf8',
    });
    t.is(status, 2, stderr);
    t.regex(stderr, message);
  }
});
