/**
 * Runs the suite once more over what is shipped: builds the packages, then runs the test files that know
 * the packages by their names only. A file that imports a package's inside, itself or through a helper, would
 * load its source beside the build, every class twice, and is left out; so are the timed tests.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ROOT, setup } from './setup.mjs';
import { stripAll } from './strip-types/stripped.mjs';

setup();
await stripAll();
const files = readdirSync(join(ROOT, 'test'), { recursive: true })
  .filter((name) => name.endsWith('.test.ts') && !name.startsWith('timed/'))
  .map((name) => join(ROOT, 'test', name))
  .filter((file) => isPublic(file));

run('typescript/bin/tsc', ['-b']);
run('ava/entrypoints/cli.mjs', [...files, ...process.argv.slice(2)], { AIOKV_DIST: '1' });

function isPublic(file, seen = new Set()) {
  if (seen.has(file)) return true;
  seen.add(file);
  const text = readFileSync(file, 'utf8');
  // A script that a test turns into JavaScript names its helpers as they are called then.
  const helpers = [...text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']*)'/g)].map(([, path]) =>
    join(dirname(file), path.replace(/\.js$/, '.ts')),
  );
  // What a command line imports, in another directory, is none.
  const there = helpers.filter((helper) => existsSync(helper));
  return !text.includes('/packages/') && there.every((helper) => isPublic(helper, seen));
}

function run(script, args, env = {}) {
  const { status } = spawnSync(process.execPath, [join(ROOT, 'node_modules', script), ...args], {
    cwd: ROOT,
    stdio: 'inherit',
    env: { ...process.env, ...env },
  });
  if (status !== 0) process.exit(status ?? 1);
}
