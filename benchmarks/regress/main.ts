/**
 * `npm run -s bench:regress -- --base REV`: whether this tree has lost speed against a commit. Both are built to `dist`
 * on the same disk, and run the same workloads in processes of their own, in turns. The table goes to stdout, everything
 * else to stderr. README.md has the options and what the figures mean; verdict.ts has what is made of them.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { interrupted, runToExit } from '../common/exit.ts';
import { WRITES, parseOptions, usage } from './options.ts';
import type { Options, Workload } from './options.ts';
import { formatTable, judge } from './verdict.ts';
import type { Figures, Row } from './verdict.ts';
import { buildVersions } from './versions.ts';
import type { Version } from './versions.ts';

const tell = (line: string): void => {
  console.error(line);
};
/** Nanoseconds that the workload burns for each operation of this tree: with it the comparison itself is tested. */
const BURN_NS = Number(process.env['AIOKV_REGRESS_BURN_NS'] ?? 0);

class Regression {
  readonly #options: Options;
  readonly #versions: readonly [Version, Version];
  readonly #directory: string;

  constructor(options: Options, versions: readonly [Version, Version]) {
    this.#options = options;
    this.#versions = versions;
    this.#directory = join(resolve(options.directory), `stores-${process.pid}`);
  }

  async run(): Promise<Row[]> {
    const { workloads } = this.#options;
    const rows: Row[] = [];
    mkdirSync(this.#directory, { recursive: true });
    try {
      if (workloads.some((workload) => !WRITES.includes(workload))) {
        tell('writing the stores that are read');
        for (const i of [0, 1] as const) await this.#runChild(i, 'prepare', this.#storeOf(i));
      }
      for (const workload of workloads) rows.push(await this.#compare(workload));
    } finally {
      rmSync(this.#directory, { recursive: true, force: true });
    }
    return rows;
  }

  async #compare(workload: Workload): Promise<Row> {
    const { rounds } = this.#options;
    const figures: readonly [Figures[], Figures[]] = [[], []];
    for (let run = 0; run <= 2 * rounds; run++) {
      const i = (run % 2) as 0 | 1;
      figures[i].push(await this.#measure(i, workload));
    }
    const row = judge(workload, ...figures, this.#options);
    tell(`${workload}: ${rounds} rounds, ${row.verdict}`);
    return row;
  }

  async #measure(i: 0 | 1, workload: Workload): Promise<Figures> {
    if (!WRITES.includes(workload)) return this.#runChild(i, workload, this.#storeOf(i));
    const directory = join(this.#directory, workload);
    try {
      return await this.#runChild(i, workload, directory);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }

  #storeOf(i: 0 | 1): string {
    return join(this.#directory, `read-${i}`);
  }

  async #runChild(i: 0 | 1, workload: Workload | 'prepare', directory: string): Promise<Figures> {
    const { records, valueBytes, seconds } = this.#options;
    const version = this.#versions[i];
    const task = { workload, directory, records, valueBytes, seconds, burnNs: i === 1 ? BURN_NS : 0 };
    // Without the arguments of this process: the loader that runs this file would be measured, too.
    const child = spawn(process.execPath, [version.workload, JSON.stringify(task)], {
      cwd: version.directory,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const end = (): void => {
      child.kill('SIGKILL');
    };
    interrupted.signal.addEventListener('abort', end);
    let out = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
    });
    const [code, signal] = await new Promise<[number | null, string | null]>((done, failed) => {
      child.once('error', failed);
      child.once('close', (...ended) => done(ended));
    });
    interrupted.signal.removeEventListener('abort', end);
    interrupted.signal.throwIfAborted();
    if (code !== 0) throw new Error(`${workload} of ${version.name} ended with ${signal ?? `code ${code}`}`);
    return JSON.parse(out) as Figures;
  }
}

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  if (options === 'help') {
    console.log(usage());
    return 0;
  }
  const versions = buildVersions(options.base, resolve(options.directory), tell);
  const rows = await new Regression(options, versions).run();
  const isLost = rows.some(({ verdict }) => verdict === 'LOSS');
  if (options.json) console.log(JSON.stringify({ base: versions[0].name, rows }, null, 2));
  else console.log(`${formatTable(rows)}\n\n${conclusion(rows, options, versions[0])}`);
  return isLost ? 1 : 0;
}

function conclusion(rows: readonly Row[], { cpuTolerance, rounds }: Options, base: Version): string {
  const named = (verdict: Row['verdict']): string =>
    rows
      .filter((row) => row.verdict === verdict)
      .map(({ workload }) => workload)
      .join(', ');
  const hidden = rows.filter(({ cpu }) => cpu.noise > cpuTolerance).map(({ workload }) => workload);
  return [
    named('LOSS') === '' ? `No proven loss against ${base.name}.` : `Lost against ${base.name}: ${named('LOSS')}.`,
    ...(named('not proven') === '' ? [] : [`Slower, but within the noise: ${named('not proven')}.`]),
    ...(hidden.length === 0
      ? []
      : [
          `The noise hides a loss of ${cpuTolerance * 100} % of CPU: ${hidden.join(', ')}. Take more than ${rounds} rounds.`,
        ]),
  ].join('\n');
}

await runToExit(main);
