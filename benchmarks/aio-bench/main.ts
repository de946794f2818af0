/**
 * `npm run -s aio-bench`: requests a second, latencies and CPU time of a queue on this machine's own disk, with each
 * engine and beside fio. Results go to stdout, everything else to stderr. README.md has the options and what the
 * figures mean.
 */
import { provideFile } from './data-file.ts';
import type { DataFile } from './data-file.ts';
import { openTarget } from './engines.ts';
import type { Target } from './engines.ts';
import { fioArguments, isFioInstalled, runFio } from './fio.ts';
import type { FioFigures, FioLoad } from './fio.ts';
import { measure } from './load.ts';
import type { Figures } from './load.ts';
import { UsageError, formatSize, parseOptions, usage } from './options.ts';
import type { BenchEngine, Options, Workload } from './options.ts';
import { fioMedians, formatJson, formatText, medians } from './report.ts';
import type { Row } from './report.ts';

const tell = (line: string): void => {
  console.error(line);
};
const interrupted = new AbortController();

/** What the rows of all engines have in common. */
interface Load {
  readonly rw: Workload;
  readonly blockBytes: number;
  readonly depth: number;
}

class Bench {
  hasFailed = false;
  readonly fioCommands = new Map<string, string>();
  readonly #options: Options;
  readonly #file: DataFile;
  readonly #withFio: boolean;
  /** Each measurement has offsets of its own, so that no cache below has seen them. */
  #seed = 0;

  constructor(options: Options, file: DataFile, withFio: boolean) {
    this.#options = options;
    this.#file = file;
    this.#withFio = withFio;
  }

  /** All rounds of all engines for one load, in turn: a disk is not the same from one minute to the next. */
  async rows(load: Load): Promise<Row[]> {
    const entries = this.#options.engine.map((engine) => new Entry(engine));
    for (let round = 1; round <= this.#options.rounds; round++) {
      for (const entry of entries) {
        if (entry.error !== undefined) continue;
        await this.#ours(entry, load, round);
        if (this.#withFio && entry.error === undefined) await this.#fio(entry, load);
      }
    }
    return entries.map((entry) => rowOf(entry, load, this.#options.drift));
  }

  async #ours(entry: Entry, load: Load, round: number): Promise<void> {
    const { engine } = entry;
    const { blockBytes, depth, rw } = load;
    const options = this.#options;
    const title = `${engine} ${rw} ${formatSize(blockBytes)} iodepth ${depth}, round ${round} of ${options.rounds}`;
    const file = { path: this.#file.path, isWritten: rw.includes('write') || rw === 'randrw' };
    let target: Target;
    try {
      target = await openTarget(engine, file, blockBytes, depth, options);
    } catch (error) {
      this.#failed(entry, title, error);
      return;
    }
    try {
      const figures = await measure(target, {
        ...load,
        blocks: Math.floor(options.sizeBytes / blockBytes),
        seconds: options.runtimeSeconds,
        readPercent: options.readPercent,
        form: options.form,
        seed: this.#seed++,
        drift: options.drift,
      });
      entry.ours.push(figures);
      tell(`${title}: ${Math.round(figures.iops)} IOPS`);
    } catch (error) {
      this.hasFailed = true;
      this.#failed(entry, title, error);
    } finally {
      await target.close();
    }
  }

  async #fio(entry: Entry, { rw, blockBytes, depth }: Load): Promise<void> {
    const { engine } = entry;
    const { sizeBytes, runtimeSeconds: seconds, readPercent, uring } = this.#options;
    const { path } = this.#file;
    const load: FioLoad = { path, sizeBytes, rw, blockBytes, depth, seconds, readPercent, engine, uring };
    try {
      const figures = await runFio(load, interrupted.signal);
      entry.fio.push(figures);
      tell(`  fio: ${Math.round(figures.iops)} IOPS`);
      const withoutDepth = fioArguments({ ...load, depth: 0 }).join(' ');
      this.fioCommands.set(withoutDepth, `fio ${fioArguments(load).join(' ')}`);
    } catch (error) {
      this.hasFailed = true;
      tell(`  ${messageOf(error)}`);
    }
  }

  #failed(entry: Entry, title: string, error: unknown): void {
    entry.error = messageOf(error);
    tell(`${title}: ${entry.error}`);
  }
}

/** What becomes a row. */
class Entry {
  readonly engine: BenchEngine;
  readonly ours: Figures[] = [];
  readonly fio: FioFigures[] = [];
  error: string | undefined;

  constructor(engine: BenchEngine) {
    this.engine = engine;
  }
}

function rowOf({ engine, ours, fio, error }: Entry, { rw, blockBytes, depth }: Load, withDrift: boolean): Row {
  const name = { engine, rw, bs: blockBytes, iodepth: depth };
  if (error !== undefined) {
    return { ...name, iops: null, p50us: null, p99us: null, cpuUsPerRequest: null, fio: null, error };
  }
  const { drift, ...figures } = medians(ours);
  return { ...name, ...figures, fio: fioMedians(fio), ...(withDrift ? { drift } : {}) };
}

async function bench(options: Options): Promise<number> {
  const withFio = options.vsFio && (await isFioInstalled());
  if (options.vsFio && !withFio) tell('fio is not installed: measuring without it');
  const file = await provideFile(options, tell);
  try {
    const run = new Bench(options, file, withFio);
    const rows: Row[] = [];
    for (const rw of options.rw) {
      for (const blockBytes of options.bs) {
        for (const depth of options.iodepth) rows.push(...(await run.rows({ rw, blockBytes, depth })));
      }
    }
    console.log(options.json ? formatJson(rows) : formatText(rows, [...run.fioCommands.values()]));
    return run.hasFailed || rows.every(({ error }) => error !== undefined) ? 1 : 0;
  } finally {
    file.remove();
  }
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  if (options === 'help') {
    process.stdout.write(usage());
    return 0;
  }
  return bench(options);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  process.once(signal, () => {
    interrupted.abort();
    // What the file was made of goes with the process.
    process.exit(code);
  });
}
try {
  process.exitCode = await main();
} catch (error) {
  const isUsage = error instanceof UsageError;
  tell(`aio-bench: ${messageOf(error)}`);
  process.exitCode = isUsage ? 2 : 1;
}
