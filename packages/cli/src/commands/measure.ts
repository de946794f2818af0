/**
 * `bench` and `qualify`: what a store does on this disk, and what the disk can do. Both write to a place of their own, which
 * they remove.
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { Random } from '@aiokv/core';
import { qualifyFile } from '@aiokv/aio';
import type { Qualification } from '@aiokv/aio';
import type { Store } from '@aiokv/kv';
import { EXIT } from '../errors.ts';
import { addExamples, addStoreFlags, openFlagsOf } from '../flags.ts';
import type { StoreFlags } from '../flags.ts';
import type { Session } from '../session.ts';
import { countOf, parseSize, parseWhole } from '../text/numbers.ts';
import { tableOf } from '../text/width.ts';
import { Loader } from '../transfer/loader.ts';
import { walkEntries } from '../walk.ts';

export function addMeasureCommands(program: Command, session: Session): void {
  addBench(program, session);
  addQualify(program, session);
}

interface BenchFlags extends StoreFlags {
  readonly records: string;
  readonly valueBytes: string;
  readonly depth: string;
  readonly json?: true;
}

interface Workload {
  readonly records: number;
  readonly valueBytes: number;
  readonly depth: number;
}

interface Figures {
  readonly name: string;
  readonly operations: number;
  readonly perSecond: number;
  /** In microseconds; null where operations have no time of their own. */
  readonly p50Us: number | null;
  readonly p99Us: number | null;
}

/** Flushed puts are slow: a part of the records is enough. */
const MOST_PUTS = 20_000;
const MOST_GETS = 200_000;

function addBench(program: Command, session: Session): void {
  const command = program
    .command('bench [directory]')
    .description(
      'a short benchmark in a directory (the working directory unless it is told), in a store that is removed',
    )
    .option('--records <n>', 'records to load', '100000')
    .option('--value-bytes <size>', 'bytes of a value', '1000')
    .option('--depth <n>', 'operations under way at once', '128')
    .option('--json', 'for programs')
    .action(async (directory: string | undefined, flags: BenchFlags) => {
      const workload = {
        records: parseWhole(flags.records, '--records', 1),
        valueBytes: parseSize(flags.valueBytes, '--value-bytes'),
        depth: parseWhole(flags.depth, '--depth', 1),
      };
      await bench(session, directory ?? '.', flags, workload);
    });
  addStoreFlags(command);
  addExamples(command, [
    ['aiokv bench /data', 'some seconds: load, gets, flushed puts, a scan'],
    ['aiokv bench /data --records 1000000 --memory 64M', 'more than fits into memory'],
  ]);
}

async function bench(session: Session, directory: string, flags: StoreFlags, workload: Workload): Promise<void> {
  const place = await mkdtemp(join(resolve(directory), '.aiokv-bench-'));
  try {
    const figures = await session.withStore(place, openFlagsOf(flags, true), (store) =>
      phases(session, store, workload),
    );
    if ((flags as BenchFlags).json === true) {
      await session.output.write(`${JSON.stringify({ ...workload, phases: figures }, null, 2)}\n`);
      return;
    }
    const heading = ['', 'operations', 'a second', 'p50 us', 'p99 us'];
    const cell = (us: number | null): string => (us === null ? '' : countOf(us));
    const rows = figures.map((each) => [
      each.name,
      countOf(each.operations),
      countOf(each.perSecond),
      cell(each.p50Us),
      cell(each.p99Us),
    ]);
    await session.output.write(`${tableOf([heading, ...rows], [1, 2, 3, 4]).join('\n')}\n`);
  } finally {
    await rm(place, { recursive: true, force: true });
  }
}

async function phases(session: Session, store: Store, { records, valueBytes, depth }: Workload): Promise<Figures[]> {
  const random = new Random(1);
  const value = randomBytes(valueBytes);
  const keyOf = (number: number): Buffer => Buffer.from(`key:${String(number).padStart(12, '0')}`);
  const anyKey = (): Buffer => keyOf(Math.floor(random.float() * records));
  const figures: Figures[] = [];
  figures.push(
    await timed(session, 'load', records, async (tell) => {
      const loader = new Loader(store);
      for (let i = 0; i < records; i++) {
        const wait = loader.put(keyOf(i), value);
        if (wait === null) continue;
        await wait;
        tell(i);
      }
      await loader.end();
    }),
  );
  const gets = Math.min(MOST_GETS, records);
  figures.push(await atDepth(session, { name: 'random gets', operations: gets, depth }, () => store.get(anyKey())));
  const puts = Math.min(MOST_PUTS, records);
  figures.push(
    await atDepth(session, { name: 'flushed puts', operations: puts, depth }, () =>
      store.put(anyKey(), value, { durability: 'flushed' }),
    ),
  );
  figures.push(
    await timed(session, 'scan', records, async (tell) => {
      let seen = 0;
      await walkEntries(session, store, {}, () => {
        seen++;
        tell(seen);
        return null;
      });
    }),
  );
  return figures;
}

async function timed(
  session: Session,
  name: string,
  operations: number,
  work: (tell: (done: number) => void) => Promise<void>,
): Promise<Figures> {
  const { clock } = session.environment;
  const progress = session.progress(name);
  const beganMs = clock.nowMs();
  try {
    await work((done) => {
      progress.tell({ done, total: operations, unit: 'entries' });
      session.checkSignal();
    });
  } finally {
    progress.end();
  }
  return { name, operations, perSecond: rateOf(operations, clock.nowMs() - beganMs), p50Us: null, p99Us: null };
}

/** So many operations at once, each followed by the next one. */
async function atDepth(
  session: Session,
  { name, operations, depth }: { readonly name: string; readonly operations: number; readonly depth: number },
  operate: () => Promise<unknown>,
): Promise<Figures> {
  const { clock } = session.environment;
  const progress = session.progress(name);
  const latencies = new Float64Array(operations);
  const beganMs = clock.nowMs();
  let begun = 0;
  let done = 0;
  const worker = async (): Promise<void> => {
    while (begun < operations) {
      begun++;
      const fromMs = clock.nowMs();
      await operate();
      latencies[done++] = (clock.nowMs() - fromMs) * 1000;
      if ((done & 255) === 0) progress.tell({ done, total: operations, unit: 'entries' });
      session.checkSignal();
    }
  };
  try {
    await Promise.all(Array.from({ length: depth }, worker));
  } finally {
    progress.end();
  }
  const perSecond = rateOf(operations, clock.nowMs() - beganMs);
  latencies.sort();
  const at = (part: number): number => latencies[Math.floor(part * (operations - 1))] as number;
  return { name, operations, perSecond, p50Us: at(0.5), p99Us: at(0.99) };
}

function rateOf(operations: number, ms: number): number {
  return ms > 0 ? (operations * 1000) / ms : 0;
}

function addQualify(program: Command, session: Session): void {
  const command = program
    .command('qualify [directory]')
    .description('what a directory can do for direct asynchronous I/O; exit code 1 if it is unsuitable')
    .option('--json', 'all figures as JSON')
    .action(async (directory: string | undefined, flags: { readonly json?: true }) => {
      const found = await qualifyFile(resolve(directory ?? '.'));
      await session.output.write(
        flags.json === true ? `${JSON.stringify(found, null, 2)}\n` : `${linesOf(session, found).join('\n')}\n`,
      );
      if (found.verdict === 'unsuitable') session.exitCode = EXIT.no;
    });
  addExamples(command, [['aiokv qualify /data', 'a few seconds, with a file of 16 MiB that is removed']]);
}

function linesOf({ style }: Session, { directory, verdict, advice, figures }: Qualification): string[] {
  const lines = [`${directory}: ${style('bold', verdict)}`, ...advice.map((sentence) => `- ${sentence}`)];
  if (figures === null) return lines;
  const heading = ['', 'us', 'in io_submit', 'blocks', 'IOPS at 1', 'at 16'];
  const rows = Object.entries(figures.requests).map(([name, each]) => [
    name,
    each.totalUs.toFixed(1),
    `${Math.round(100 * each.submitShare)}%`,
    each.blocks ? 'yes' : 'no',
    countOf(each.iopsDepth1),
    countOf(each.iopsDepth16),
  ]);
  const table = tableOf([heading, ...rows], [1, 2, 3, 4, 5]);
  return [...lines, '', ...table, '', `write and fdatasync: median ${figures.flush.medianMs.toFixed(2)} ms`];
}
