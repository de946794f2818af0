#!/usr/bin/env node
/**
 * `aiokv-qualify`: prints what `qualifyFile()` finds out about a directory. Exits with 0 when it is good or
 * usable, with 1 when it is unsuitable, with 2 when it was called wrongly or nothing could be measured.
 */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { NOWAIT_KINDS, REQUEST_KINDS, qualifyFile } from './qualify.ts';
import type { Qualification, QualificationFigures } from './qualify.ts';

const USAGE = `usage: aiokv-qualify [directory] [--json]

Measures what Linux AIO can do in a directory (default: the working directory), with a temporary
file of 16 MiB that is removed. Exit code: 0 good or usable, 1 unsuitable, 2 not measured.`;

interface Arguments {
  readonly directory: string;
  readonly json: boolean;
  readonly help: boolean;
}

/** @throws TypeError for an unknown option; Error for a second directory */
function readArguments(): Arguments {
  const { values, positionals } = parseArgs({
    options: { json: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h', default: false } },
    allowPositionals: true,
  });
  const [directory = '.', ...others] = positionals;
  if (others.length > 0) throw new Error(`one directory at a time, not '${others.join("', '")}' as well`);
  return { directory: resolve(directory), json: values.json, help: values.help };
}

const HEADINGS = ['request', 'in io_submit', 'until done', 'share', 'blocks', 'IOPS, 1', 'IOPS, 16'];

function table({ requests }: QualificationFigures): string {
  const whole = (value: number): string => Math.round(value).toLocaleString('en');
  const rows = REQUEST_KINDS.map((kind) => {
    const { submitUs, totalUs, submitShare, blocks, iopsDepth1, iopsDepth16 } = requests[kind];
    const times = [`${submitUs.toFixed(1)} us`, `${totalUs.toFixed(1)} us`, `${whole(submitShare * 100)} %`];
    return [kind, ...times, blocks ? 'yes' : 'no', whole(iopsDepth1), whole(iopsDepth16)];
  });
  const lines = [HEADINGS, ...rows];
  const widths = HEADINGS.map((_, column) => Math.max(...lines.map((line) => (line[column] as string).length)));
  return lines
    .map((line) =>
      line
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[0] as number) : cell.padStart(widths[column] as number),
        )
        .join('   '),
    )
    .join('\n');
}

function report({ directory, verdict, advice, figures }: Qualification): string {
  const parts = [];
  if (figures !== null) {
    const { alignment, requestBytes, nowait, flush } = figures;
    parts.push(
      `O_DIRECT asks for: memory ${alignment.memory}, offset and length ${alignment.offset}, whole blocks ${alignment.write} bytes`,
      `requests of ${requestBytes} bytes; times for each of 16 that went down in one io_submit\n\n${table(figures)}`,
      `with RWF_NOWAIT\n${NOWAIT_KINDS.map((kind) => `  ${kind.padEnd(9)}  ${nowait[kind]}`).join('\n')}`,
      `write and fdatasync: median ${flush.medianMs.toFixed(2)} ms, longest ${flush.maxMs.toFixed(2)} ms, of ${flush.rounds}`,
    );
  }
  parts.push([`${directory}: ${verdict}`, ...advice.map((sentence) => `- ${sentence}`)].join('\n'));
  return parts.join('\n\n');
}

/** Returns the exit code. */
async function main(): Promise<number> {
  let given: Arguments;
  try {
    given = readArguments();
  } catch (error) {
    console.error(`${messageOf(error)}\n\n${USAGE}`);
    return 2;
  }
  if (given.help) {
    console.log(USAGE);
    return 0;
  }
  try {
    const qualification = await qualifyFile(given.directory);
    console.log(given.json ? JSON.stringify(qualification, null, 2) : report(qualification));
    return qualification.verdict === 'unsuitable' ? 1 : 0;
  } catch (error) {
    console.error(`aiokv-qualify: ${messageOf(error)}`);
    return 2;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

process.exitCode = await main();
