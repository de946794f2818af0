/**
 * Runs the suite once more over what is shipped: builds the packages, then runs the test files that know
 * the packages by their names only. A file that imports a package's inside would load its source beside
 * the build, and is left out.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { ROOT } from './setup.mjs';

/** Whether neither the file nor what it imports beside itself reaches into a package. */
function isPublic(file) {
  const source = readFileSync(file, 'utf8');
  if (source.includes('/packages/')) return false;
  const beside = [...source.matchAll(/from '(\.[^']+)'/g)].map((match) => resolve(dirname(file), match[1]));
  return beside.every(isPublic);
}

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
