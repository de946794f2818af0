/**
 * The two versions that are compared, each built in a tree of its own beside the stores. A version is a git tree: that
 * of a commit, or that of the working directory with whatever is changed in it. A tree that was built before is taken
 * as it is; trees of other versions are removed.
 *
 * ```
 *   DIRECTORY/builds/TREE   git archive ─► scripts/setup.mjs ─► npm run build ─► workload.mjs copied in ─► .built
 * ```
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UsageError } from '../common/arguments.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const WORKLOAD = fileURLToPath(new URL('workload.mjs', import.meta.url));
const MOST_OUTPUT_BYTES = 2 ** 30;

export interface Version {
  /** For the report. */
  readonly name: string;
  /** Where it is built. */
  readonly directory: string;
  /** The copy of the workload that finds this version. */
  readonly workload: string;
}

/** @throws UsageError when there is no such version, or it cannot be built */
export function buildVersions(base: string, directory: string, tell: (line: string) => void): [Version, Version] {
  const commit = git(['rev-parse', '--verify', '--quiet', '--end-of-options', `${base}^{commit}`]);
  if (commit === null) throw new UsageError(`--base: git knows no commit '${base}' here`);
  const trees = [git(['rev-parse', `${commit}^{tree}`]), workingTree()] as const;
  const builds = join(directory, 'builds');
  mkdirSync(builds, { recursive: true });
  for (const name of readdirSync(builds)) {
    if (!trees.includes(name)) rmSync(join(builds, name), { recursive: true, force: true });
  }
  const [ours, theirs] = trees.map((tree, i) => {
    if (tree === null) throw new UsageError('git cannot read this repository');
    const name = i === 0 ? `${base} (${commit.slice(0, 9)})` : 'this tree';
    return build(tree, name, join(builds, tree), tell);
  }) as [Version, Version];
  return [ours, theirs];
}

/** The tree that a commit of everything here would have, made through an index of its own. */
function workingTree(): string | null {
  const index = join(tmpdir(), `aiokv-regress-${process.pid}.index`);
  try {
    const env = { GIT_INDEX_FILE: index };
    if (git(['read-tree', 'HEAD'], env) === null || git(['add', '--all'], env) === null) return null;
    return git(['write-tree'], env);
  } finally {
    rmSync(index, { force: true });
  }
}

function build(tree: string, name: string, directory: string, tell: (line: string) => void): Version {
  const version = { name, directory, workload: join(directory, 'regress-workload.mjs') };
  const stamp = join(directory, '.built');
  if (!existsSync(stamp)) {
    tell(`building ${name}`);
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });
    const { stdout } = run('git', ['archive', tree], ROOT);
    run('tar', ['-x'], directory, stdout);
    run(process.execPath, ['-e', "import('./scripts/setup.mjs').then((module) => module.setup())"], directory);
    run('npm', ['run', '-s', 'build'], directory);
    writeFileSync(stamp, '');
  }
  copyFileSync(WORKLOAD, version.workload);
  return version;
}

function run(command: string, args: readonly string[], cwd: string, input?: Buffer): { stdout: Buffer } {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, input, maxBuffer: MOST_OUTPUT_BYTES });
  if (status === 0) return { stdout };
  const text = error?.message ?? `${stdout.toString()}${stderr.toString()}`;
  throw new UsageError(`${command} ${args.join(' ')} failed in ${cwd}: ${text}`);
}

/** @returns what it prints, or null when it fails */
function git(args: readonly string[], env: Readonly<Record<string, string>> = {}): string | null {
  const { status, stdout } = spawnSync('git', args, { cwd: ROOT, encoding: 'utf8', env: { ...process.env, ...env } });
  return status === 0 ? stdout.trim() : null;
}
