/**
 * Puts the engines that aiokv is compared with into `engines/node_modules`, when they are asked for and not there. They
 * are no dependency of the project: nothing else needs them, and where there is no binary for a platform they take a
 * C++ toolchain and many minutes.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PACKAGES } from './engines.ts';
import type { EngineName } from './options.ts';

const FOLDER = dirname(fileURLToPath(new URL('engines/package.json', import.meta.url)));

/** Installs what these engines need; see `installPackages`. */
export function installEngines(engines: readonly EngineName[], tell: (line: string) => void): void {
  const names = engines.flatMap((engine) => PACKAGES[engine] ?? []);
  installPackages(names, tell);
}

/** Says what it does through `tell`. What cannot be installed is not there afterwards, and that is all. */
export function installPackages(names: readonly string[], tell: (line: string) => void): void {
  if (names.every((name) => isPackageInstalled(name))) return;
  tell('Installing other engines into benchmarks/compare/engines (once; minutes where they compile).');
  const { status, stdout, stderr, error } = spawnSync(
    'npm',
    ['install', '--no-package-lock', '--no-audit', '--no-fund'],
    {
      cwd: FOLDER,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  if (status === 0) return;
  tell(`${stdout ?? ''}${stderr ?? ''}${error?.message ?? ''}`);
  tell('Installing failed: the engines that are missing are left out.');
}

export function isInstalled(engine: EngineName): boolean {
  const name = PACKAGES[engine];
  return name === undefined || isPackageInstalled(name);
}

export function isPackageInstalled(name: string): boolean {
  return existsSync(join(FOLDER, 'node_modules', name, 'package.json'));
}
