/**
 * `npm run -s compare`: aiokv beside rocksdb, classic-level and lmdb. Each engine runs in a process and a memory cgroup
 * of its own, over a fresh directory, and the engines take turns over the rounds, each round beginning with another:
 * a disk is not the same from one minute to the next. Results go to stdout, everything else to stderr. README.md has
 * the options, how each engine is set, and what the figures mean.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { interrupted, runToExit } from '../common/exit.ts';
import { runChild } from '../common/run-child.ts';
import type { Task } from './child.ts';
import { CgroupError, MemoryCgroup, findCgroups } from '../meters/cgroup.ts';
import type { CgroupMount } from '../meters/cgroup.ts';
import { installStores, isInstalled } from '../stores/catalog.ts';
import { UsageError } from '../common/arguments.ts';
import { parseOptions, usage } from './options.ts';
import type { EngineName, Options, Phase } from './options.ts';
import { formatTable, rowsOf } from './report.ts';
import type { Failure, Figures, Row } from './report.ts';

const CHILD = fileURLToPath(new URL('child.ts', import.meta.url));

const tell = (line: string): void => {
  console.error(line);
};

class Comparison {
  readonly failures: Failure[] = [];
  readonly #options: Options;
  readonly #mount: CgroupMount | null;
  readonly #directory: string;
  readonly #figures: Record<Phase, Map<EngineName, (Figures | undefined)[]>> = {
    load: new Map(),
    read: new Map(),
    scan: new Map(),
  };
  readonly #skipped = new Set<EngineName>();

  constructor(options: Options, mount: CgroupMount | null) {
    this.#options = options;
    this.#mount = mount;
    this.#directory = resolve(options.directory);
  }

  async run(): Promise<Row[]> {
    const { engines, rounds, phase } = this.#options;
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < engines.length; i++) {
        const engine = engines[(i + round) % engines.length] as EngineName;
        if (!this.#skipped.has(engine)) await this.#turn(engine, round);
      }
    }
    const rows = rowsOf(this.#inOrder('load'), 'load');
    return phase === 'load' ? rows : [...rows, ...rowsOf(this.#inOrder(phase), phase)];
  }

  /** As they were asked for, whichever came first. */
  #inOrder(phase: Phase): Map<EngineName, (Figures | undefined)[]> {
    const { engines } = this.#options;
    return new Map(engines.map((engine) => [engine, this.#figures[phase].get(engine) ?? []]));
  }

  async #turn(engine: EngineName, round: number): Promise<void> {
    const directory = join(this.#directory, `${engine}-${round}`);
    mkdirSync(directory, { recursive: true });
    try {
      const { phase: last } = this.#options;
      const phases: readonly Phase[] = last === 'load' ? ['load'] : ['load', last];
      for (const phase of phases) {
        const figures = await this.#measure({ ...this.#options, engine, phase, directory, seed: round });
        const all = this.#figures[phase].get(engine) ?? [];
        all[round] = figures;
        this.#figures[phase].set(engine, all);
        tell(`round ${round + 1} of ${this.#options.rounds}, ${engine} ${phase}: ${lineOf(figures)}`);
      }
    } catch (error) {
      interrupted.signal.throwIfAborted();
      const message = (error as Error).message;
      tell(`round ${round + 1}, ${engine}: ${message}`);
      this.failures.push({ engine, phase: this.#options.phase, error: message });
      this.#skipped.add(engine);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }

  async #measure(task: Task): Promise<Figures> {
    const { memoryBytes, limitMinutes } = this.#options;
    if (this.#mount === null || memoryBytes === null) return runTask(task, null, limitMinutes);
    const cgroup = new MemoryCgroup(this.#mount, `aiokv-compare-${process.pid}`, memoryBytes);
    try {
      return await runTask(task, cgroup, limitMinutes);
    } finally {
      await cgroup.remove();
    }
  }
}

/** @throws Error when it fails, or takes too long */
async function runTask(task: Task, cgroup: MemoryCgroup | null, limitMinutes: number): Promise<Figures> {
  let out = '';
  await runChild({ file: CHILD, task, cgroup, limitMinutes, onLine: (line) => (out += line) });
  return { ...(JSON.parse(out) as Figures), peakCgroupBytes: cgroup?.peakBytes ?? null };
}

function lineOf({ perSecond, seconds, driftP99Ms, driftMaxMs, ownP99Ms, ownMaxMs }: Figures): string {
  const ms = (value: number): string => value.toFixed(1);
  return (
    `${Math.round(perSecond)} records/s in ${ms(seconds)} s, drift ${ms(driftP99Ms)} ms at p99 and ` +
    `${ms(driftMaxMs)} ms at most, ${ms(ownP99Ms)} and ${ms(ownMaxMs)} ms without waiting for a CPU`
  );
}

function cgroupsFor({ memoryBytes }: Options): CgroupMount | null {
  if (memoryBytes === null) return null;
  try {
    return findCgroups();
  } catch (error) {
    if (!(error instanceof CgroupError)) throw error;
    throw new UsageError(`${error.message}. Run as root, or measure without a limit of memory: --no-cgroup`, {
      cause: error,
    });
  }
}

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  if (options === 'help') {
    console.log(usage());
    return 0;
  }
  const mount = cgroupsFor(options);
  installStores(options.engines, tell);
  const missing = options.engines.filter((engine) => !isInstalled(engine));
  const engines = options.engines.filter((engine) => isInstalled(engine));
  const comparison = new Comparison({ ...options, engines }, mount);
  const isOurs = mkdirSync(options.directory, { recursive: true }) !== undefined;
  let rows: Row[];
  try {
    rows = await comparison.run();
  } finally {
    if (isOurs) rmSync(options.directory, { recursive: true, force: true });
  }
  const failures = [
    ...missing.map((engine) => ({ engine, phase: options.phase, error: 'not installed' })),
    ...comparison.failures,
  ];
  if (options.json) console.log(JSON.stringify({ rows, failures }, null, 2));
  else {
    console.log(formatTable(rows));
    for (const { engine, error } of failures) console.log(`${engine}: ${error}`);
  }
  return comparison.failures.length > 0 || rows.length === 0 ? 1 : 0;
}

await runToExit(main);
