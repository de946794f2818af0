/** Each workload of the regression guard runs, over the sources and as small as may be, and says what it has done. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { WORKLOADS, WRITES } from '../../benchmarks/regress/options.ts';
import type { Figures } from '../../benchmarks/regress/verdict.ts';

const WORKLOAD = fileURLToPath(new URL('../../benchmarks/regress/workload.mjs', import.meta.url));

function run(workload: string, directory: string): Figures | null {
  const task = { workload, directory, records: 2000, valueBytes: 1000, seconds: 0.05, burnNs: 0 };
  const child = spawnSync(process.execPath, [...process.execArgv, WORKLOAD, JSON.stringify(task)], {
    encoding: 'utf8',
  });
  if (child.status !== 0) throw new Error(`${workload}: ${child.stderr}`);
  return JSON.parse(child.stdout) as Figures | null;
}

test('each workload runs', (t) => {
  t.timeout(240_000);
  const directory = mkdtempSync(resolve('.tmp-workloads-'));
  try {
    const read = join(directory, 'read');
    t.is(run('prepare', read), null);
    for (const workload of WORKLOADS) {
      const figures = run(workload, WRITES.includes(workload) ? join(directory, workload) : read);
      t.true(figures !== null && figures.operations > 0 && figures.seconds > 0, workload);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
