/**
 * The packages and some scripts of this folder as plain JavaScript in a directory of their own, for tests that start
 * many processes or workers: a worker loads them from there several times faster than through a loader.
 *
 * ```
 *   .tmp-tree-…/  package.json   worker-reader.js …
 *                 node_modules/  @aiokv/core  @aiokv/aio  koffi ► …
 * ```
 *
 * What is in it is the source, or what is shipped where the suite runs over that.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const PACKAGES = join(HERE, '..', '..', 'packages');
const OPTIONS = {
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  tsconfigRaw: { compilerOptions: { useDefineForClassFields: true, verbatimModuleSyntax: true } },
} as const;

export interface Ended {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** A command line to which that of Node is appended, such as `['prlimit', '--fsize=65536']`. */
  readonly prefix?: readonly string[];
  /** After that it is killed; default a minute and a half. */
  readonly patienceMs?: number;
}

export class PlainTree {
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** @param scripts names of files beside this one, without their extension */
  static async make(scripts: readonly string[]): Promise<PlainTree> {
    const directory = await mkdtemp(resolve('.tmp-tree-'));
    await writeFile(join(directory, 'package.json'), '{ "type": "module" }');
    for (const name of ['core', 'aio']) await copyPackage(name, join(directory, 'node_modules'));
    const entryPoints = scripts.map((script) => join(HERE, `${script}.ts`));
    await build({ ...OPTIONS, entryPoints, outdir: directory });
    return new PlainTree(directory);
  }

  /** Runs one of the scripts, with `--expose-gc`, in the directory of the tree. */
  async run(script: string, args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    const { env = {}, prefix = [], patienceMs = 90_000 } = options;
    const node = [process.execPath, '--expose-gc', join(this.directory, `${script}.js`), ...args];
    const [command, ...rest] = [...prefix, ...node] as [string, ...string[]];
    const { NODE_OPTIONS: _, ...inherited } = process.env;
    const child = spawn(command, rest, {
      cwd: this.directory,
      env: { ...inherited, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (bytes: Buffer) => (stdout += bytes));
    child.stderr.on('data', (bytes: Buffer) => (stderr += bytes));
    const timer = setTimeout(() => child.kill('SIGKILL'), patienceMs);
    const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    clearTimeout(timer);
    return { stdout, stderr, code, signal };
  }

  async remove(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}

async function copyPackage(name: string, modules: string): Promise<void> {
  const target = join(modules, '@aiokv', name);
  const from = join(PACKAGES, name);
  if (process.env['AIOKV_DIST'] === '1') await cp(join(from, 'dist'), target, { recursive: true });
  else {
    // One file, which a process or a worker loads faster than sixty.
    const entryPoints = [join(from, 'src/index.ts')];
    await build({ ...OPTIONS, entryPoints, bundle: true, packages: 'external', outdir: target });
  }
  await writeFile(join(target, 'package.json'), '{ "type": "module", "exports": "./index.js" }');
  // What the package depends on, and can be had here.
  for (const dependency of await readdir(join(from, 'node_modules')).catch(() => [])) {
    if (dependency.startsWith('@') || dependency.startsWith('.')) continue;
    await symlink(join(from, 'node_modules', dependency), join(modules, dependency));
  }
}
