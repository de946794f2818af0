/**
 * `npm run -s bench`: the field of stores, and the engines of the queue beside fio, as one run that can be interrupted
 * and gone on with. Each turn is a process of its own over a fresh directory; stores take turns within a round, and each
 * round begins with another. README.md has the options and what the figures mean.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UsageError } from '../common/arguments.ts';
import { interrupted, runToExit } from '../common/exit.ts';
import { runChild } from '../common/run-child.ts';
import { MemoryCgroup, findCgroups } from '../meters/cgroup.ts';
import { gapOf, installStores, isInstalled, settingsOf, versionOf } from '../stores/catalog.ts';
import { DURABILITY_CLASSES } from '../stores/store.ts';
import type { Task } from './child.ts';
import { machineOf } from './machine.ts';
import { parseOptions, usage } from './options.ts';
import type { Options } from './options.ts';
import { stepsOf } from './plan.ts';
import type { BenchStoreName, PlannedTurn, Step } from './plan.ts';
import { FORMAT, FORMAT_VERSION, readResult, writeResult } from './result.ts';
import type { BenchResult, DepthRow, PhaseResult, StoreInfo, Turn } from './result.ts';

const CHILD = fileURLToPath(new URL('child.ts', import.meta.url));
const AIO_BENCH = fileURLToPath(new URL('../aio-bench/main.ts', import.meta.url));
const LIMIT_MINUTES = 30;

const tell = (line: string): void => {
  console.error(line);
};

class Bench {
  readonly #options: Options;
  readonly #directory: string;
  readonly #missing: ReadonlySet<BenchStoreName>;
  /** Seconds that a step of a kind took, to tell how long the rest will take. */
  readonly #took = new Map<string, number>();
  readonly #startMs = performance.now();
  readonly #secondsBefore: number;
  #result: BenchResult;

  constructor(options: Options, result: BenchResult) {
    this.#options = options;
    this.#result = result;
    this.#directory = resolve(options.directory);
    this.#secondsBefore = result.seconds;
    this.#missing = new Set(result.stores.filter(({ version }) => version === null).map(({ name }) => name));
    for (const turn of result.turns) this.#took.set(kindOf(turn), turn.seconds);
  }

  /** @returns whether all went well */
  async run(): Promise<boolean> {
    const steps = stepsOf(this.#options.plan).filter(
      (step) => step.kind !== 'turn' || !this.#missing.has(step.turn.store),
    );
    if (this.#result.driver === null) await this.#driver();
    for (const [i, step] of steps.entries()) {
      if (this.#isDone(step)) continue;
      const left = this.#secondsOf(steps.slice(i));
      if (!this.#fits(step)) {
        this.#add({ skipped: [...this.#result.skipped, `${idOf(step)}: no time left`] });
        continue;
      }
      tell(`[${i + 1} of ${steps.length}] ${idOf(step)}${left === null ? '' : `, ${clock(left)} left`}`);
      const startMs = performance.now();
      if (step.kind === 'depths') await this.#depths(step.round);
      else await this.#turn(step.turn);
      this.#took.set(kindOf(step), (performance.now() - startMs) / 1000);
    }
    this.#add({ isComplete: true });
    return this.#result.turns.every(
      ({ error, phases }) =>
        error === undefined && phases.every(({ failures, mismatches }) => failures + mismatches === 0),
    );
  }

  #isDone(step: Step): boolean {
    const { depths, turns, skipped } = this.#result;
    if (skipped.some((text) => text.startsWith(`${idOf(step)}:`))) return true;
    if (step.kind === 'depths') return depths.some(({ round }) => round === step.round);
    return turns.some(({ id }) => id === step.turn.id);
  }

  /** The first round is never left out. */
  #fits(step: Step): boolean {
    const { budgetSeconds } = this.#options.plan.scale;
    const round = step.kind === 'depths' ? step.round : step.turn.round;
    if (budgetSeconds === null || round === 0) return true;
    return this.#seconds() + (this.#took.get(kindOf(step)) ?? 0) <= budgetSeconds;
  }

  #seconds(): number {
    return this.#secondsBefore + (performance.now() - this.#startMs) / 1000;
  }

  /** Of the steps that are not done; null while nothing like them was seen. */
  #secondsOf(steps: readonly Step[]): number | null {
    const known = [...this.#took.values()];
    if (known.length === 0) return null;
    const mean = known.reduce((sum, seconds) => sum + seconds, 0) / known.length;
    return steps
      .filter((step) => !this.#isDone(step))
      .reduce((sum, step) => sum + (this.#took.get(kindOf(step)) ?? mean), 0);
  }

  #add(change: Partial<BenchResult>): void {
    this.#result = { ...this.#result, ...change, seconds: this.#seconds() };
    writeResult(this.#options.out, this.#result);
  }

  async #driver(): Promise<void> {
    const [driver] = await this.#child(null, this.#directory);
    if (driver === undefined) throw new Error('the driver gave no figures');
    this.#add({ driver });
    tell(`the driver alone: ${Math.round(driver.operationsPerSecond).toLocaleString('en-US')} operations/s`);
  }

  async #depths(round: number): Promise<void> {
    const { depths, depthFileBytes, secondsOfPhase } = this.#options.plan.scale;
    const common = [
      '--json',
      '--iodepth',
      depths.join(','),
      '--runtime',
      String(secondsOfPhase),
      '--size',
      String(depthFileBytes),
    ];
    const rows = await aioBench(['--engine', 'libaio,io_uring,threads,fs', ...common]);
    const withFio =
      this.#result.machine.fio === null ? [] : await aioBench(['--engine', 'libaio', '--vs-fio', ...common]);
    const fio = withFio.flatMap(({ iodepth, fio }) =>
      fio === null ? [] : [{ engine: 'fio', iodepth, round, ...fio }],
    );
    const ours = rows.map(({ engine, iodepth, iops, p50us, p99us, cpuUsPerRequest, error }): DepthRow => {
      const row = { engine, iodepth, round, iops, p50us, p99us, cpuUsPerRequest };
      return error === undefined ? row : { ...row, error };
    });
    const all: DepthRow[] = [...ours, ...fio];
    this.#add({ depths: [...this.#result.depths, ...all] });
  }

  async #turn(planned: PlannedTurn): Promise<void> {
    const { id, store, durability, fields, fieldBytes, round } = planned;
    const directory = join(this.#directory, id.replaceAll('/', '-'));
    mkdirSync(directory, { recursive: true });
    const startMs = performance.now();
    const phases: PhaseResult[] = [];
    let error: string | undefined;
    try {
      await this.#child(planned, directory, phases);
    } catch (cause) {
      interrupted.signal.throwIfAborted();
      error = (cause as Error).message;
      tell(`${id}: ${error}`);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
    const wrong = phases.reduce((sum, { failures, mismatches }) => sum + failures + mismatches, 0);
    if (wrong > 0) tell(`${id}: ${wrong} operations failed or gave values that were not written`);
    const seconds = (performance.now() - startMs) / 1000;
    const recordBytes = fields * fieldBytes;
    const turn: Turn = { id, store, durability, recordBytes, round, seconds, phases };
    this.#add({ turns: [...this.#result.turns, error === undefined ? turn : { ...turn, error }] });
  }

  async #child(turn: PlannedTurn | null, directory: string, phases: PhaseResult[] = []): Promise<PhaseResult[]> {
    const { plan, spoil } = this.#options;
    const { scale, memoryBytes } = plan;
    const seed = plan.seed + 1000 * (turn?.round ?? 0);
    const task: Task = { turn, scale, directory, seed, isSpoiled: turn !== null && turn.store === spoil };
    const onLine = (line: string): void => {
      phases.push(JSON.parse(line) as PhaseResult);
    };
    const cgroup =
      memoryBytes === null ? null : new MemoryCgroup(findCgroups(), `aiokv-bench-${process.pid}`, memoryBytes);
    try {
      await runChild({ file: CHILD, task, cgroup, limitMinutes: LIMIT_MINUTES, onLine });
    } finally {
      await cgroup?.remove();
    }
    return phases;
  }
}

interface AioBenchRow extends Omit<DepthRow, 'round'> {
  readonly fio: Readonly<Record<'iops' | 'p50us' | 'p99us' | 'cpuUsPerRequest', number>> | null;
}

/** @throws Error when it failed */
async function aioBench(args: readonly string[]): Promise<AioBenchRow[]> {
  const child = spawn(process.execPath, [...process.execArgv, AIO_BENCH, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    signal: interrupted.signal,
  });
  let [out, errors] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  const code = await new Promise((done, failed) => {
    child.once('error', failed);
    child.once('close', done);
  });
  // With 1 some engine failed, and its row says why.
  if (code !== 0 && out === '') throw new Error(`aio-bench ended with code ${String(code)}: ${errors}`);
  return JSON.parse(out) as AioBenchRow[];
}

function idOf(step: Step): string {
  return step.kind === 'depths' ? `${step.round + 1}/engines over depth` : step.turn.id;
}

/** Alike in every round. */
function kindOf(step: Step | Turn): string {
  return ('kind' in step ? idOf(step) : step.id).replace(/^\d+\//, '');
}

function clock(seconds: number): string {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
}

function infoOf(name: BenchStoreName): StoreInfo {
  const classes = DURABILITY_CLASSES.map((durability) => {
    const gap = gapOf(name, durability);
    return [durability, { settings: settingsOf(name, durability), ...(gap === null ? {} : { gap }) }] as const;
  });
  return { name, version: versionOf(name), classes: Object.fromEntries(classes) as unknown as StoreInfo['classes'] };
}

/** What is there and belongs to the same plan, or a new one. @throws UsageError */
function begun({ out, plan, directory }: Options): BenchResult {
  if (existsSync(out)) {
    const result = readResult(out);
    if (result.isComplete) throw new UsageError(`${out} is a complete result: give another --out`);
    if (JSON.stringify(result.plan) !== JSON.stringify(plan)) {
      throw new UsageError(`${out} is a result of other options: give another --out, or those`);
    }
    tell(`going on with ${out}: ${result.turns.length} turns are there`);
    return result;
  }
  return {
    format: FORMAT,
    version: FORMAT_VERSION,
    isComplete: false,
    command: `npm run -s bench -- ${process.argv.slice(2).join(' ')}`.trim(),
    startedAt: new Date().toISOString(),
    seconds: 0,
    machine: machineOf(directory),
    stores: plan.stores.map(infoOf),
    plan,
    driver: null,
    depths: [],
    turns: [],
    skipped: [],
  };
}

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  if (options === 'help') {
    console.log(usage());
    return 0;
  }
  if (options.plan.memoryBytes !== null) findCgroups();
  installStores(options.plan.stores, tell);
  const isOurs = mkdirSync(options.directory, { recursive: true }) !== undefined;
  try {
    const result = begun(options);
    for (const name of options.plan.stores) if (!isInstalled(name)) tell(`${name} is not installed: it will be a gap`);
    const isGood = await new Bench(options, result).run();
    tell(`The result is ${options.out}. As a page: npm run -s report -- ${options.out}`);
    return isGood ? 0 : 1;
  } finally {
    if (isOurs) rmSync(options.directory, { recursive: true, force: true });
  }
}

await runToExit(main);
