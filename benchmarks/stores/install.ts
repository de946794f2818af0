/**
 * Puts the stores that aiokv is compared with into `packages/node_modules`, when they are asked for and not there. They
 * are no dependency of the project: nothing else needs them, and where there is no binary for a platform they take a
 * C++ toolchain and many minutes.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The package.json that they are installed for. */
export const PACKAGES_FILE = fileURLToPath(new URL('packages/package.json', import.meta.url));
/** The project's own tests depend on some of them, too. */
const MODULES = [
  join(dirname(PACKAGES_FILE), 'node_modules'),
  fileURLToPath(new URL('../../node_modules', import.meta.url)),
];

/** Loads one of them; without them this file works for those that are ours. */
export const load = createRequire(PACKAGES_FILE);

/** Says what it does through `tell`. What cannot be installed is not there afterwards, and that is all. */
export function installPackages(names: readonly string[], tell: (line: string) => void): void {
  if (names.every((name) => isPackageInstalled(name))) return;
  tell('Installing other stores into benchmarks/stores/packages (once; minutes where they compile).');
  const { status, stdout, stderr, error } = spawnSync(
    'npm',
    ['install', '--no-package-lock', '--no-audit', '--no-fund'],
    {
      cwd: dirname(PACKAGES_FILE),
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  if (status === 0) return;
  tell(`${stdout ?? ''}${stderr ?? ''}${error?.message ?? ''}`);
  tell('Installing failed: the stores that are missing are left out.');
}

export function isPackageInstalled(name: string): boolean {
  return versionOfPackage(name) !== null;
}

/** Null where it is not installed. */
export function versionOfPackage(name: string): string | null {
  const file = MODULES.map((folder) => join(folder, name, 'package.json')).find((path) => existsSync(path));
  return file === undefined ? null : (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
