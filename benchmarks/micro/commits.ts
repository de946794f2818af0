/**
 * Flushed puts, each awaited by its writer, beside the same in better-sqlite3 (WAL, synchronous=FULL) and classic-level
 * (`sync: true`). Engines take turns, each turn is a new process with new stores. Prints puts a second: the first 1,000 of a new
 * process and a new store, 10,000 more, and the first 1,000 of another new store in the same process; and microseconds of CPU a put
 * of the 10,000.
 *
 *   node --import=tsx --conditions=@aiokv/source benchmarks/micro/commits.ts [rounds] [writers]
 *
 * Default: 5 rounds, 1 writer. The directory is a temporary one under the working directory. The other engines are installed
 * into benchmarks/stores/packages; those that cannot be installed are left out.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { runMeasured } from '../common/measured-process.ts';
import { PACKAGES_FILE, installPackages, isPackageInstalled } from '../stores/install.ts';
import type { CommitFigures, CommitTask } from './commits-child.ts';

const [rounds = 5, writers = 1] = process.argv.slice(2).map(Number);
const ENGINES = ['aiokv', 'better-sqlite3', 'classic-level'] as const;
const enginesPath = PACKAGES_FILE;

installPackages(['better-sqlite3', 'classic-level'], console.error);
const engines = ENGINES.filter((engine) => engine === 'aiokv' || isPackageInstalled(engine));
const figures = new Map<string, CommitFigures[]>(engines.map((engine) => [engine, []]));
const directory = mkdtempSync(resolve('.tmp-commits-'));
try {
  for (let round = 0; round < rounds; round++) {
    for (const engine of engines) {
      const task: CommitTask = { engine, directory, enginesPath, writers };
      await runMeasured(new URL('commits-child.ts', import.meta.url), task, directory, (line) => {
        figures.get(engine)?.push(JSON.parse(line) as CommitFigures);
      });
    }
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}

function median(engine: string, of: (figures: CommitFigures) => number): number {
  const sorted = (figures.get(engine) ?? []).map(of).sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? NaN;
}

console.log(`${writers} writers, medians of ${rounds} rounds: puts/s, and how many times as many aiokv has`);
for (const engine of engines) {
  const cells = (['first', 'more', 'firstAgain'] as const).map((name) => {
    const rate = median(engine, (one) => one[name]);
    // Of neighbours in time, since a shared disk drifts.
    const ours = figures.get('aiokv') ?? [];
    const ratios = (figures.get(engine) ?? []).map((one, round) => (ours[round]?.[name] ?? NaN) / one[name]);
    const ratio = ratios.sort((a, b) => a - b)[ratios.length >> 1] ?? NaN;
    return `${name} ${Math.round(rate)} (${ratio.toFixed(2)})`;
  });
  console.log(engine.padEnd(15), cells.join('   '), `  CPU ${median(engine, (one) => one.cpuUs).toFixed(1)} us`);
}
