/** `stat`: what a store says of itself, once or again and again. */
import type { Command } from 'commander';
import type { Clock } from '@aiokv/core';
import type { Store, StoreStatistics } from '@aiokv/kv';
import { addExamples, addStoreFlags, openFlagsOf } from '../flags.ts';
import type { StoreFlags } from '../flags.ts';
import type { Session } from '../session.ts';
import { countOf, parseSeconds, parseWhole, sizeOf } from '../text/numbers.ts';
import { tableOf } from '../text/width.ts';

interface StatFlags extends StoreFlags {
  readonly json?: true;
  readonly watch?: string | true;
  readonly count?: string;
}

export function addStat(program: Command, session: Session): void {
  const command = program
    .command('stat <directory>')
    .description('what a store takes, in space and memory')
    .option('--json', 'all statistics as JSON; with --watch a line each time')
    .option('--watch [seconds]', 'again and again, until Ctrl-C; 1 unless it is told')
    .option('--count <n>', 'with --watch: so many times')
    .action(async (directory: string, flags: StatFlags) => {
      const watchMs = watchMsOf(flags);
      const count = flags.count === undefined ? Infinity : parseWhole(flags.count, '--count', 1);
      await session.withStore(directory, openFlagsOf(flags), async (store) => {
        if (watchMs === null) await printOnce(session, store, flags.json === true);
        else await watch(session, store, { watchMs, count, isJson: flags.json === true });
      });
    });
  addStoreFlags(command);
  addExamples(command, [
    ['aiokv stat ./data', 'a table; in a pipe a line for each number'],
    ['aiokv stat ./data --json | jq .space', 'for programs'],
    ['aiokv stat ./data --watch', 'live: what the store does in the background'],
  ]);
}

function watchMsOf({ watch }: StatFlags): number | null {
  if (watch === undefined) return null;
  return watch === true ? 1000 : parseSeconds(watch, '--watch') * 1000;
}

async function printOnce(session: Session, store: Store, isJson: boolean): Promise<void> {
  const { output } = session;
  const statistics = store.statistics();
  if (isJson) await output.write(`${JSON.stringify(statistics, null, 2)}\n`);
  else if (output.isTerminal) await output.write(`${linesOf(session, statistics).join('\n')}\n`);
  else for (const [name, value] of numbersOf(statistics)) await output.write(`${name}\t${value}\n`);
}

/** Each number with its path, such as `space.liveBytes`. */
function numbersOf(value: object, path = ''): [string, string][] {
  return Object.entries(value).flatMap(([name, each]: [string, unknown]) => {
    if (Array.isArray(each)) return [];
    if (typeof each === 'object' && each !== null) return numbersOf(each, `${path}${name}.`);
    return [[path + name, String(each)] as [string, string]];
  });
}

function linesOf(
  { style }: Session,
  { space, memory, ...rest }: StoreStatistics,
  rates: Rates | null = null,
): string[] {
  const rows: [string, string][] = [
    ['file', sizeOf(space.fileBytes)],
    ['  live', `${sizeOf(space.liveBytes)}${partOf(space.liveBytes, space.fileBytes)}`],
    ['  dead', `${sizeOf(space.deadBytes)}${partOf(space.deadBytes, space.fileBytes)}`],
    ['  free', sizeOf(space.freeBytes + space.reservedBytes)],
    ['writes', `${countOf(rest.sequence)}, of these ${countOf(rest.checkpointSequence)} in the checkpoint`],
    ['memory', `${sizeOf(memoryOf(memory))} of ${sizeOf(memory.limitBytes)}`],
    ['  index', sizeOf(memory.pageBytes + memory.memtableBytes)],
    ['  values', `${sizeOf(memory.cacheBytes)}, ${countOf(rest.cache.values)} of them`],
    ['queue', `${rest.queue.inFlight} in flight, ${rest.queue.waiting} waiting`],
  ];
  if (rates !== null) {
    rows.push(['I/O', `${countOf(rates.requests)} requests/s`]);
    rows.push([
      'written',
      `log ${sizeOf(rates.logBytes)}/s, moved ${sizeOf(rates.movedBytes)}/s, index ${sizeOf(rates.indexBytes)}/s`,
    ]);
  }
  return tableOf(rows.map(([name, text]) => [style('bold', name.padEnd(8)), text]));
}

function memoryOf(memory: StoreStatistics['memory']): number {
  return Object.values(memory).reduce((sum, bytes) => sum + bytes, -memory.limitBytes);
}

function partOf(bytes: number, whole: number): string {
  return whole === 0 ? '' : ` (${Math.round((100 * bytes) / whole)}%)`;
}

/** In a second. */
interface Rates {
  readonly requests: number;
  readonly logBytes: number;
  readonly movedBytes: number;
  readonly indexBytes: number;
}

function ratesOf(before: StoreStatistics, now: StoreStatistics, elapsedMs: number): Rates {
  const rate = (one: number, other: number): number => (elapsedMs > 0 ? ((other - one) * 1000) / elapsedMs : 0);
  return {
    requests: rate(before.queue.completed, now.queue.completed),
    logBytes: rate(before.written.logBytes, now.written.logBytes),
    movedBytes: rate(before.written.movedBytes, now.written.movedBytes),
    indexBytes: rate(before.written.indexBytes, now.written.indexBytes),
  };
}

interface Watch {
  readonly watchMs: number;
  readonly count: number;
  readonly isJson: boolean;
}

/** On a terminal each view takes the place of the one before; elsewhere they follow one another. */
async function watch(session: Session, store: Store, { watchMs, count, isJson }: Watch): Promise<void> {
  const { output, environment } = session;
  const { clock, signal } = environment;
  let before = store.statistics();
  let beforeMs = clock.nowMs();
  let shownLines = 0;
  for (let i = 0; i < count && !signal.aborted; i++) {
    if (i > 0 && !(await pause(clock, watchMs, signal))) break;
    const now = store.statistics();
    const nowMs = clock.nowMs();
    if (isJson) await output.write(`${JSON.stringify(now)}\n`);
    else {
      const lines = linesOf(session, now, ratesOf(before, now, nowMs - beforeMs));
      // Up to the first line of the view before, and from there everything away.
      const again = output.isTerminal && shownLines > 0 ? `\u001b[${shownLines}A\u001b[J` : '';
      await output.write(`${again}${lines.join('\n')}\n${output.isTerminal ? '' : '\n'}`);
      shownLines = lines.length;
    }
    await output.flush();
    before = now;
    beforeMs = nowMs;
  }
}

/** @returns whether it lasted so long; a signal ends it, which is how a watch is meant to end */
function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (): void => {
      cancel();
      resolve(false);
    };
    const cancel = clock.after(ms, () => {
      signal.removeEventListener('abort', end);
      resolve(true);
    });
    signal.addEventListener('abort', end, { once: true });
  });
}
