/**
 * `npm run -s memory-load`: a load in random order of keys with little memory, then cold gets, each in a process of its
 * own. What each step reached, and the summary, go to stdout; what each second brought goes to stderr. README.md has the
 * options and what the figures mean.
 */
import { appendFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { drawHtml } from '../common/drawing.ts';
import { runToExit } from '../common/exit.ts';
import { installStores, isInstalled } from '../stores/catalog.ts';
import { PACKAGES_FILE } from '../stores/install.ts';
import { runMeasured } from '../common/measured-process.ts';
import { formatRequirements, verdictOf } from '../common/requirements.ts';
import type { PhaseTask } from './child.ts';
import type { Line } from './lines.ts';
import { parseOptions, usage } from './options.ts';
import type { Options } from './options.ts';
import { columnOf, lineText, requirementsOf, taskText } from './report.ts';

const CHILD = new URL('child.ts', import.meta.url);
const PACKAGES = dirname(PACKAGES_FILE);

async function measure({ task, report, beside }: Options, lines: Line[]): Promise<void> {
  const file = `${report}.jsonl`;
  writeFileSync(file, `${JSON.stringify({ kind: 'run', task })}\n`);
  const isOurs = mkdirSync(task.directory, { recursive: true }) !== undefined;
  const store = join(task.directory, 'store');
  try {
    for (const phase of ['load', 'read', 'beside'] as const) {
      if (phase === 'beside') {
        if (beside === null) break;
        installStores([beside], console.error);
        if (!isInstalled(beside)) throw new Error(`${beside} cannot be installed`);
        rmSync(store, { recursive: true, force: true });
        console.log(`The same load by ${beside}:`);
      }
      const phaseTask: PhaseTask = { ...task, directory: store, phase, packages: PACKAGES };
      await runMeasured(CHILD, phaseTask, task.directory, (text) => {
        appendFileSync(file, `${text}\n`);
        const line = JSON.parse(text) as Line;
        lines.push(line);
        if (line.kind === 'second') console.error(lineText(line));
        else console.log(lineText(line));
      });
    }
  } finally {
    rmSync(isOurs ? task.directory : store, { recursive: true, force: true });
  }
}

/** @returns whether anything that is wanted was missed */
function conclude({ task, report }: Options, lines: readonly Line[]): boolean {
  const requirements = requirementsOf(task, lines);
  const text = formatRequirements(requirements);
  const told = lines.filter(({ kind }) => kind !== 'second').map(lineText);
  console.log(`\n${text}\n\nCurves: ${report}.html`);
  const column = columnOf(task, lines, taskText(task), `${told.join('\n')}\n\n${text}`);
  writeFileSync(`${report}.html`, drawHtml('A load with little memory', [column]));
  return requirements.some((requirement) => verdictOf(requirement) === 'MISSED');
}

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  if (options === 'help') {
    console.log(usage());
    return 0;
  }
  console.log(taskText(options.task));
  const lines: Line[] = [];
  let isMissed = false;
  try {
    await measure(options, lines);
  } finally {
    isMissed = conclude(options, lines);
  }
  return isMissed && options.isChecked ? 1 : 0;
}

await runToExit(main);
