/**
 * Tests that not every machine can run. One that cannot is skipped, is counted as that, and its title says why; it
 * never passes without having looked at anything.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import type { Implementation } from 'ava';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

type Declare = (title: string, implementation: Implementation<[]>) => void;

/**
 * `test`, where `why` is null; otherwise its like that skips the test for this reason.
 *
 * @param declare another of ava's functions, such as `test.serial`
 */
export function skipWhere(why: string | null, declare: Declare = test): Declare {
  if (why === null) return declare;
  return (title) => {
    test.skip(`${title}: ${why}`, () => undefined);
  };
}

/** For tests that need git and the history. */
export const inRepository: Declare = skipWhere(
  spawnSync('git', ['rev-parse', 'HEAD'], { cwd: ROOT }).status === 0 ? null : 'this is no git repository',
);
