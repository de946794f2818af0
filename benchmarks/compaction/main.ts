/**
 * `npm run -s compaction`: what `compact` costs, and what it leaves, for a store that is half garbage. The summary goes to
 * stdout. README.md says what the figures mean.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Arguments, usageOf } from '../common/arguments.ts';
import type { Rule } from '../common/arguments.ts';
import { runToExit } from '../common/exit.ts';
import { runMeasured } from '../common/measured-process.ts';
import { formatRequirements, verdictOf } from '../common/requirements.ts';
import type { Requirement } from '../common/requirements.ts';
import type { Figures, Task } from './child.ts';

const RULES = {
  'value-bytes': { takes: 'number', describe: 'of each value; keys have 24', default: '1000' },
  bytes: { takes: 'size', describe: 'of keys and values that are left, as many as are garbage', default: '1G' },
  memory: { takes: 'size', describe: 'that the store is given, such as 256M; else what it takes by itself' },
  directory: { takes: 'path', describe: 'where the store lies meanwhile', default: '.tmp-compaction' },
  check: { describe: 'exit with 1 when something that is wanted was missed' },
  help: { describe: 'this text' },
} as const satisfies Readonly<Record<string, Rule>>;

const INTENT = [
  'Loads records in random order of keys, deletes half of them, and compacts the store. Exit code 0: measured; 1: the run',
  'failed, or --check found something missed; 2: the arguments are wrong.',
].join('\n');

const CHILD = new URL('child.ts', import.meta.url);
const KEY_BYTES = 24;
/** Values from here on count as long ones. */
const LONG_VALUE_BYTES = 512;

function requirementsOf({ valueBytes }: Task, figures: Figures): Requirement[] {
  const { liveBytes, seconds, afterBytes } = figures;
  const isLong = valueBytes >= LONG_VALUE_BYTES;
  const x = (bytes: number): string => `${(bytes / liveBytes).toFixed(2)} x`;
  return [
    {
      name: 'blocks of the directory over keys and values',
      measured: afterBytes / liveBytes,
      wanted: { atMost: isLong ? 1.1 : 1.55 },
      unit: 'x',
      note: `${x(figures.beforeBytes)} before, at most ${x(figures.mostBytes)}, the file is ${x(figures.fileBytes)} long`,
    },
    {
      name: 'keys and values in a second',
      measured: liveBytes / seconds / 1e6,
      wanted: { atLeast: isLong ? 90 : 20 },
      unit: 'MB/s',
      note: `${seconds.toFixed(1)} s, ${figures.cpuSeconds.toFixed(1)} s of CPU, written ${x(figures.writtenBytes)}`,
    },
  ];
}

async function main(args: readonly string[]): Promise<number> {
  const given = new Arguments(RULES, args);
  if (given.flag('help')) {
    console.log(usageOf('compaction', RULES, INTENT));
    return 0;
  }
  const directory = given.text('directory');
  const valueBytes = given.number('value-bytes', 16, 256 * 1024);
  const task: Task = {
    records: Math.ceil(given.size('bytes', 1) / (KEY_BYTES + valueBytes)),
    valueBytes,
    memoryBytes: given.isGiven('memory') ? given.size('memory', 1) : 0,
    directory: join(directory, 'store'),
  };
  const isOurs = mkdirSync(directory, { recursive: true }) !== undefined;
  let figures: Figures | null = null;
  try {
    await runMeasured(CHILD, task, directory, (line) => {
      figures = JSON.parse(line) as Figures;
    });
  } finally {
    rmSync(isOurs ? directory : task.directory, { recursive: true, force: true });
  }
  const requirements = requirementsOf(task, figures as unknown as Figures);
  const { scanBefore, scanAfter, driftP99Ms, driftMaxMs, rssBytes } = figures as unknown as Figures;
  console.log(formatRequirements(requirements));
  console.log(
    `A scan: ${Math.round(scanBefore)} records/s before, ${Math.round(scanAfter)} after. ` +
      `A timer of 1 ms drifted ${driftP99Ms.toFixed(1)} ms (p99), ${driftMaxMs.toFixed(1)} ms (max). ` +
      `RSS at most ${Math.round(rssBytes / 2 ** 20)} MiB.`,
  );
  return given.flag('check') && requirements.some((each) => verdictOf(each) === 'MISSED') ? 1 : 0;
}

await runToExit(main);
