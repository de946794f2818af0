/**
 * Runs the suite once more over what is shipped: builds the packages, then runs the test files that know
 * the packages by their names only. A file that imports a package's inside would load its source beside
 * the build, and is left out.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './setup.mjs';

const isPublic = (file) => !readFileSync(file, 'utf8').includes('/packages/');
const files = readdirSync(join(ROOT, 'test'), { recursive: true })
  .filter((name) => name.endsWith('.test.ts'))
  .map((name) => join(ROOT, 'test', name))
  .filter(isPublic);

const run = (script, args, env = {}) => {
  const { status } = spawnSync(process.execPath, [join(ROOT, 'node_modules', script), ...args], {
    cwd: ROOT,
    stdio: 'inherit',
    env: { ...process.env, ...env },
  });
  if (status !== 0) process.exit(status ?? 1);
};

run('typescript/bin/tsc', ['-b']);
run('ava/entrypoints/cli.mjs', [...files, ...process.argv.slice(2)], { AIOKV_DIST: '1' });
