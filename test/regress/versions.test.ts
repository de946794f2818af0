/**
 * The two trees that the regression guard compares are built. The comparison itself is test/timed/regress.test.ts, which finds
 * them built: it has the machine to itself, and a build needs no such thing.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { UsageError } from '../../benchmarks/common/arguments.ts';
import { buildVersions } from '../../benchmarks/regress/versions.ts';
import { inRepository } from '../helpers/skip.ts';
import { BASE, BUILDS } from './builds.ts';

inRepository('the last commit and this tree are built, once each', (t) => {
  t.timeout(300_000);
  const versions = buildVersions(BASE, BUILDS, (line) => t.log(line));
  for (const { directory, workload } of versions) {
    t.true(existsSync(join(directory, 'packages/kv/dist/index.js')));
    t.regex(readFileSync(workload, 'utf8'), /@aiokv\/kv/);
  }
  t.regex(versions[0].name, /^HEAD \([0-9a-f]{9}\)$/);
  t.is(versions[1].name, 'this tree');
  buildVersions(BASE, BUILDS, (line) => t.fail(`again: ${line}`));
});

test('a commit that is not there is refused', (t) => {
  t.throws(() => buildVersions('no-such-commit', BUILDS, () => undefined), { instanceOf: UsageError });
});
