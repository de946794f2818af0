/**
 * `npm run -s space`: what overwriting costs over time. Each preset runs in a process of its own over a fresh directory,
 * one after another. Its lines are kept as they come, so that a run that was cut short leaves its curves, too. The
 * summary goes to stdout, everything else to stderr. README.md has the options and what the figures mean.
 */
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { UsageError } from '../common/arguments.ts';
import { drawHtml } from '../common/drawing.ts';
import { runToExit } from '../common/exit.ts';
import { runMeasured } from '../common/measured-process.ts';
import { verdictOf } from '../common/requirements.ts';
import { parseOptions, usage } from './options.ts';
import type { Options } from './options.ts';
import { columnOf, phaseLine, runText, sampleLine } from './report.ts';
import { Run, requirementsOf, runsOf } from './run.ts';
import type { Line, Phase, Sample, Start } from './sampler.ts';

const CHILD = new URL('child.ts', import.meta.url);

async function measure(run: Run, keep: (line: string) => void): Promise<void> {
  const { task } = run;
  keep(JSON.stringify({ kind: 'run', task } satisfies Start));
  mkdirSync(task.directory, { recursive: true });
  try {
    await runMeasured(CHILD, task, `${task.directory}/..`, (text) => {
      keep(text);
      const line = JSON.parse(text) as Exclude<Line, Start>;
      run.add(line);
      tell(line);
    });
  } finally {
    rmSync(task.directory, { recursive: true, force: true });
  }
}

function tell(line: Sample | Phase): void {
  console.error(line.kind === 'sample' ? sampleLine(line) : phaseLine(line));
}

async function measureAll({ tasks, report, directory }: Options, runs: Run[]): Promise<void> {
  const lines = `${report}.jsonl`;
  writeFileSync(lines, '');
  const isOurs = mkdirSync(directory, { recursive: true }) !== undefined;
  try {
    for (const task of tasks) {
      const run = new Run(task);
      runs.push(run);
      await measure(run, (line) => {
        appendFileSync(lines, `${line}\n`);
      });
    }
  } finally {
    if (isOurs) rmSync(directory, { recursive: true, force: true });
  }
}

/** @returns whether anything that is wanted was missed */
function conclude(runs: readonly Run[], { report, beside: path }: Options): boolean {
  const beside = path === null ? [] : readRuns(path);
  let isMissed = false;
  const columns = runs.map((run) => {
    const other = beside.find(({ task }) => task.preset === run.task.preset) ?? null;
    const requirements = requirementsOf(run, other);
    isMissed ||= requirements.some((requirement) => verdictOf(requirement) === 'MISSED');
    const text = runText(run, requirements);
    console.log(`${text}\n`);
    return columnOf(run, text);
  });
  writeFileSync(`${report}.html`, drawHtml('Space, bytes written and latencies over time', columns));
  console.log(`Curves: ${report}.html`);
  return isMissed;
}

function readRuns(path: string): Run[] {
  try {
    return runsOf(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new UsageError(`${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
}

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  if (options === 'help') {
    console.log(usage());
    return 0;
  }
  if (options.beside !== null) readRuns(options.beside);
  const runs: Run[] = options.drawn.flatMap(readRuns);
  let isMissed = false;
  try {
    if (runs.length === 0) await measureAll(options, runs);
  } finally {
    isMissed = conclude(runs, options);
  }
  return isMissed && options.isChecked ? 1 : 0;
}

await runToExit(main);
