/**
 * Installs what the project needs, unless that was done for this lockfile before. Needs Node and npm only:
 * pnpm comes through npx. A machine without a C++ toolchain goes without `ffi-napi`, which is optional, and
 * uses `koffi`.
 *
 * It says what it does on stderr, so that the output of what follows stays clean.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
export const PNPM = 'pnpm@10.34.9';
const STAMP = join(ROOT, 'node_modules', '.aiokv-setup');

export function setup() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    console.error(`aiokv needs Node 20.19 or newer, this is ${process.versions.node}.`);
    process.exit(1);
  }
  const wanted = createHash('sha256')
    .update(readFileSync(join(ROOT, 'pnpm-lock.yaml')))
    .digest('hex');
  if (existsSync(STAMP) && readFileSync(STAMP, 'utf8') === wanted) return;
  console.error(`Setting up: installing dependencies with ${PNPM} (once).`);
  const { status, stdout, stderr, error } = spawnSync(
    'npx',
    ['-y', PNPM, 'install', '--frozen-lockfile', '--reporter=append-only'],
    {
      cwd: ROOT,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      // Without a terminal pnpm asks nothing and may remove a node_modules of another installer.
      env: { ...process.env, CI: 'true' },
    },
  );
  if (status !== 0) {
    console.error(`${stdout ?? ''}${stderr ?? ''}${error?.message ?? ''}`);
    console.error('Setting up failed. npm must be on the PATH and its registry within reach; then try again.');
    process.exit(1);
  }
  writeFileSync(STAMP, wanted);
  console.error(
    `Set up. The foreign-function interface is ${hasFfiNapi() ? 'ffi-napi' : 'koffi (no C++ toolchain, so no ffi-napi)'}.`,
  );
}

function hasFfiNapi() {
  const probe =
    "import('./packages/aio/node_modules/ffi-napi/lib/ffi.js').then(() => process.exit(0), () => process.exit(1))";
  return spawnSync(process.execPath, ['-e', probe], { cwd: ROOT, stdio: 'ignore' }).status === 0;
}

// Before a check: a lockfile that a pull has changed is installed first.
if (process.argv[1] === import.meta.filename) setup();
