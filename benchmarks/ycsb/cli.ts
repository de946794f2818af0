/**
 * The program without the process: arguments in, text and an exit code out. Results go to stdout or to
 * exportfile; all else goes to stderr.
 */
import { writeFileSync } from 'node:fs';
import { parseCommandLine, usage } from './command-line.ts';
import { makeDatabase } from './databases.ts';
import { FORMATS } from './measurements/result-row.ts';
import { runPhase } from './phase.ts';
import { readSettings, unknownProperties } from './settings.ts';
import { SetupError } from './setup-error.ts';
import { messageOf } from './troubles.ts';

export interface Output {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

/** @returns the exit code */
export async function cli(args: readonly string[], output: Output, interrupt?: AbortSignal): Promise<0 | 1 | 2> {
  if (args.includes('--help') || args.includes('-h')) {
    output.out(usage());
    return 0;
  }
  try {
    return await benchmark(args, output, interrupt);
  } catch (error) {
    // An error with a code says what to do itself; anything else is a defect, and its stack is wanted.
    const explained = error instanceof SetupError || (error instanceof Error && 'code' in error);
    if (!explained) throw error;
    output.err(`ycsb: ${messageOf(error)}\n`);
    return 2;
  }
}

async function benchmark(args: readonly string[], output: Output, interrupt?: AbortSignal): Promise<0 | 1> {
  const log = (line: string): void => output.err(`${line}\n`);
  const { phase, database, properties } = parseCommandLine(args);
  const settings = readSettings(properties);
  for (const name of unknownProperties(properties)) log(`ycsb: the property ${name} is not known and means nothing`);
  const db = makeDatabase(database, properties, phase, log);
  // A file that cannot be written is better known before the run than after it.
  if (settings.exportfile !== null) writeFileSync(settings.exportfile, '');
  const request = { phase, settings, db, log };
  const { rows, troubles } = await runPhase(interrupt === undefined ? request : { ...request, interrupt });
  const text = FORMATS[settings.exporter](rows);
  if (settings.exportfile === null) output.out(text);
  else writeFileSync(settings.exportfile, text);
  if (troubles.summary() === '') return 0;
  log(`ycsb: ${troubles.summary()}`);
  return 1;
}
