/**
 * Measures what a directory can do for Linux AIO: requests of 4 KiB to a temporary file in it, through the raw layer, with
 * a clock around `io_submit`.
 *
 * ```
 *   the file:   │ written       │ preallocated  │ hole          │ append ──►
 *               0               1/4             1/2             3/4 = its size at first
 *   requests:     overwrite, read, fdatasync
 * ```
 *
 * Whether a kind of request blocks: one `io_submit` sends 16 of them, and the completions are counted right after it
 * returns. The last request was sent a few microseconds before. If it has completed, too, the call has waited for it
 * (QUALIFY-1). A call that waits for all but the last is found by its duration: it takes a good
 * part of what as many requests one after another take (QUALIFY-2). The share of the call in the whole is reported and
 * not judged: on a fast device it is large without any waiting, for preparing 16 requests takes longer than they
 * do. Offsets are shuffled, except of appends, for the kernel would merge neighbours into one request.
 *
 * QUALIFY-1. At least half of the batches were complete when `io_submit` returned.
 * QUALIFY-2. The median request spent more in `io_submit` than half of the time that one request alone takes, and
 *     more than processing can account for (`PROCESSING_US`).
 *
 * It blocks the thread for each batch, since that is what it measures. Queues do not use what it finds.
 */
import { randomBytes } from 'node:crypto';
import { ftruncate, promises as fs } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  AiokvError,
  MIB,
  Random,
  SystemCallError,
  alignDown,
  alignUp,
  assert,
  integer,
  nextTurn,
  oneOf,
  resolveOptions,
  resolvePath,
} from '@aiokv/core';
import { Opcode } from './engine.ts';
import { requireForeignInterface } from './ffi/load.ts';
import type { ForeignInterface, ForeignInterfaceName } from './ffi/port.ts';
import { linuxPlatform } from './linux.ts';
import type { Alignment, DirectFile, Platform } from './platform.ts';
import { Bench, DEPTH, randomBuffer } from './qualify-bench.ts';
import { IocbCommand } from './raw/iocb.ts';

/** In the order of measurement: each leaves the file as the next one needs it. */
export const REQUEST_KINDS = ['read', 'overwrite', 'preallocated', 'hole', 'append'] as const;
export type RequestKind = (typeof REQUEST_KINDS)[number];
export const NOWAIT_KINDS = ['read', 'overwrite', 'hole', 'append'] as const;
export type NowaitKind = (typeof NOWAIT_KINDS)[number];
export type NowaitOutcome = 'works' | 'would block (EAGAIN)' | 'not supported (EOPNOTSUPP)';

/** One kind of request. Times are medians, in microseconds. */
export interface RequestFigures {
  /** Time inside of `io_submit`, of a batch of 16, for each request. */
  readonly submitUs: number;
  /** Time from the call of `io_submit` until the whole batch was done, for each request. */
  readonly totalUs: number;
  /** Of the time of all batches, what was spent inside of `io_submit`; 0 to 1. */
  readonly submitShare: number;
  /** Of the batches, those that were complete when `io_submit` returned; 0 to 1. */
  readonly doneAtReturn: number;
  /** Time of a request alone, from the call of `io_submit` until it was done. */
  readonly aloneUs: number;
  /** Whether `io_submit` waits for the I/O. */
  readonly blocks: boolean;
  /** Requests in a second, one at a time. */
  readonly iopsDepth1: number;
  /** Requests in a second, 16 at a time, each 16 after the last are done. */
  readonly iopsDepth16: number;
}

export interface QualificationFigures {
  /** What O_DIRECT asks for here, in bytes. */
  readonly alignment: Alignment;
  /** The length of every request: 4 KiB, or `alignment.write` where that is more. */
  readonly requestBytes: number;
  readonly requests: Readonly<Record<RequestKind, RequestFigures>>;
  /** How a request with RWF_NOWAIT ends. */
  readonly nowait: Readonly<Record<NowaitKind, NowaitOutcome>>;
  /** A write of one block and the `fdatasync` after it. */
  readonly flush: { readonly rounds: number; readonly medianMs: number; readonly maxMs: number };
}

/** `'unsuitable'`: Linux AIO gains nothing there. `'usable'`: it does, if `advice` is followed. */
export type Verdict = 'good' | 'usable' | 'unsuitable';

export interface Qualification {
  readonly directory: string;
  readonly verdict: Verdict;
  /** What to do, in sentences. When the directory is unsuitable, the reason comes first. */
  readonly advice: readonly string[];
  /** Null where there is no O_DIRECT: nothing was measured then. */
  readonly figures: QualificationFigures | null;
}

export interface QualifyOptions {
  /** Size of the temporary file, in bytes, from 1 MiB; default 16 MiB. More gives steadier figures. */
  readonly sizeBytes?: number;
  /** Which foreign-function interface; default: as `linuxPlatform`. */
  readonly ffi?: ForeignInterfaceName;
}

const setSize = promisify(ftruncate);
const { EAGAIN, EINVAL, ENOSPC, EOPNOTSUPP } = constants.errno;
/** Of the requests of a region, every fourth is for depth 1. */
const LEAST_REQUESTS = 4 * DEPTH;
/** For one kind at one depth. Ten of these, the flushes and the making of the file take some 5 s at most. */
const BUDGET_MS = 300;
const FLUSH_ROUNDS = 20;
const FLUSH_BUDGET_MS = 1000;
const NOWAIT_ATTEMPTS = 3;
/** The slowest known machines need so long to submit a request that does not wait; others 2 to 5. */
const PROCESSING_US = 20;
const SLOW_FLUSH_MS = 20;
/** If depth 16 brings fewer times the requests of depth 1, depth gains nothing. */
const LEAST_GAIN = 1.5;

const qualifyShape = {
  sizeBytes: integer(MIB, 1024 * MIB, 16 * MIB),
  ffi: oneOf(['ffi-napi', 'koffi', 'default'], 'default'),
};

/**
 * Measures a directory with a temporary file in it, in at most some 5 seconds. The name of the file is removed
 * before anything is measured.
 *
 * It blocks the thread for each batch of 16 requests and each flush, with turns of the loop in between. So qualify a
 * directory before a server starts, not while it runs.
 *
 * @throws Node's own error when no file can be made there (ENOENT, EACCES, …)
 * @throws AiokvError ERR_AIOKV_NO_CONTEXT, ERR_AIOKV_FFI_UNAVAILABLE, ERR_AIOKV_ENGINE_UNAVAILABLE;
 *   SystemCallError when a request fails (ENOSPC, EIO, …); AiokvTypeError ERR_AIOKV_INVALID_OPTION,
 *   ERR_AIOKV_INVALID_ARGUMENT
 */
export async function qualifyFile(directory: string | URL, options?: QualifyOptions): Promise<Qualification> {
  const { sizeBytes, ffi } = resolveOptions<{ sizeBytes: number; ffi: ForeignInterfaceName | 'default' }>(
    'qualifyFile',
    qualifyShape,
    options,
  );
  const absolute = resolvePath('qualifyFile: the directory', directory);
  const name = ffi === 'default' ? undefined : ffi;
  const platform = linuxPlatform(name === undefined ? {} : { ffi: name });
  return qualifyOn(platform, requireForeignInterface(name), absolute, sizeBytes);
}

/** As `qualifyFile`, with files opened by `platform`, whose handles are descriptors. */
export async function qualifyOn(
  platform: Platform,
  ffi: ForeignInterface,
  directory: string,
  sizeBytes: number,
): Promise<Qualification> {
  const path = join(directory, `.aiokv-qualify-${process.pid}-${randomBytes(8).toString('hex')}`);
  let figures: QualificationFigures;
  try {
    let file: DirectFile;
    try {
      file = await platform.open(path, { create: true, exclusive: true });
    } finally {
      // The name goes before anything is measured: nothing stays behind, however this process ends.
      await fs.rm(path, { force: true });
    }
    try {
      figures = await measure(ffi, file, sizeBytes);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (!(error instanceof AiokvError && error.code === 'ERR_AIOKV_NO_DIRECT_IO')) throw error;
    const advice = [
      'The file system refuses O_DIRECT: choose a directory on ext4, xfs or btrfs, or open files with ' +
        "direct: 'prefer' and the queue with engine: 'threads'.",
    ];
    return { directory, verdict: 'unsuitable', advice, figures: null };
  }
  return { directory, ...judge(figures), figures };
}

const IN_PLACE = ['read', 'overwrite'] as const;
const INTO_NOTHING = ['preallocated', 'hole', 'append'] as const;

/** What the figures mean for someone who wants to use the directory. */
export function judge(figures: QualificationFigures): { verdict: Verdict; advice: string[] } {
  const { requests, nowait, flush } = figures;
  const inPlace = IN_PLACE.filter((kind) => requests[kind].blocks);
  const intoNothing = INTO_NOTHING.filter((kind) => requests[kind].blocks || refusesToBlock(nowait, kind));
  const withoutNowait = NOWAIT_KINDS.filter((kind) => nowait[kind] === 'not supported (EOPNOTSUPP)');
  const advice: string[] = [];
  if (inPlace.length === 2) {
    advice.push(
      'io_submit carries out reads and overwrites itself, so that Linux AIO gains nothing here: ' +
        (requests.read.aloneUs < PROCESSING_US
          ? 'this is memory or nearly so, and plain reads and writes do as well.'
          : "open the queue with engine: 'threads', or choose another directory."),
    );
  } else if (inPlace.length === 1) {
    advice.push(`io_submit waits for each ${inPlace[0]}: open the queue with neverBlock: true or engine: 'threads'.`);
  }
  if (intoNothing.length > 0 && inPlace.length < 2) {
    advice.push(
      `Writes to where nothing was written before may wait inside of io_submit (${intoNothing.join(', ')}): ` +
        'preallocate and write everything once before relying on asynchronous writes, or open the queue with ' +
        'neverBlock: true.',
    );
  }
  if (withoutNowait.length > 0 && inPlace.length < 2) {
    advice.push(
      `RWF_NOWAIT is not supported (${withoutNowait.join(', ')}): with neverBlock: true these transfers go to threads.`,
    );
  }
  const { iopsDepth1, iopsDepth16 } = requests.read;
  if (!requests.read.blocks && iopsDepth16 < LEAST_GAIN * iopsDepth1) {
    advice.push('16 reads at a time are hardly faster than one: the device serves one at a time, or is busy.');
  }
  if (flush.medianMs > SLOW_FLUSH_MS) {
    advice.push(`A flush takes ${flush.medianMs.toFixed(0)} ms: let many writes share one fdatasync.`);
  }
  if (inPlace.length === 2) return { verdict: 'unsuitable', advice };
  const isHampered = inPlace.length > 0 || nowait.overwrite.startsWith('not') || nowait.read.startsWith('not');
  return { verdict: isHampered ? 'usable' : 'good', advice };
}

function refusesToBlock(nowait: QualificationFigures['nowait'], kind: RequestKind): boolean {
  return kind !== 'preallocated' && nowait[kind] === 'would block (EAGAIN)';
}

async function measure(ffi: ForeignInterface, file: DirectFile, sizeBytes: number): Promise<QualificationFigures> {
  const requestBytes = Math.max(4096, file.alignment.write);
  const count = Math.max(LEAST_REQUESTS, alignDown(Math.floor(sizeBytes / 4 / requestBytes), DEPTH));
  const regionBytes = count * requestBytes;
  await makeRegions(file, regionBytes, DEPTH * requestBytes);
  const bench = new Bench(ffi, file.handle, requestBytes);
  try {
    const shuffled = shuffledPlaces(count);
    const inOrder = shuffled.toSorted();
    const measureKind = (kind: RequestKind, command: IocbCommand, region: number): Promise<RequestFigures> =>
      measureRequests(bench, command, region * regionBytes, kind === 'append' ? inOrder : shuffled);
    const { pread, pwrite } = IocbCommand;
    const requests = {
      read: await measureKind('read', pread, 0),
      overwrite: await measureKind('overwrite', pwrite, 0),
      preallocated: await measureKind('preallocated', pwrite, 1),
      hole: await measureKind('hole', pwrite, 2),
      append: await measureKind('append', pwrite, 3),
    };
    const flush = await measureFlush(bench);
    // The measurement has filled the hole and grown the file, so it needs another hole and another end.
    const endBytes = alignUp(await file.sizeBytes(), requestBytes);
    await setSize(file.handle, endBytes + regionBytes);
    const nowait = {
      read: tryNowait(bench, pread, 0),
      overwrite: tryNowait(bench, pwrite, 0),
      hole: tryNowait(bench, pwrite, endBytes),
      append: tryNowait(bench, pwrite, endBytes + regionBytes),
    };
    return { alignment: file.alignment, requestBytes, requests, nowait, flush };
  } finally {
    await bench.close();
  }
}

/** Makes the file of the drawing above. */
async function makeRegions(file: DirectFile, regionBytes: number, stepBytes: number): Promise<void> {
  const buffer = randomBuffer(stepBytes);
  for (let offset = 0; offset < regionBytes; offset += stepBytes) {
    const result = await file.transferOnThread(Opcode.write, buffer, 0, stepBytes, offset);
    if (result < 0) throw new SystemCallError('write', result, file.path);
    if (result < stepBytes) throw new SystemCallError('write', ENOSPC, file.path);
  }
  await file.preallocate(regionBytes, regionBytes);
  await setSize(file.handle, 3 * regionBytes);
  await file.sync();
}

/** The numbers from 0 to `count - 1`, the same order every time. */
function shuffledPlaces(count: number): Uint32Array {
  const random = new Random(1);
  const places = Uint32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const other = random.below(i + 1);
    const place = places[i] as number;
    places[i] = places[other] as number;
    places[other] = place;
  }
  return places;
}

interface Series {
  readonly requests: number;
  readonly totalMs: number;
  readonly submitMs: number;
  /** Medians, for each request. */
  readonly medianSubmitUs: number;
  readonly medianTotalUs: number;
  readonly doneAtReturn: number;
}

/** Batches first, then requests alone; appends go on where the batches ended. */
async function measureRequests(
  bench: Bench,
  command: IocbCommand,
  startBytes: number,
  places: Uint32Array,
): Promise<RequestFigures> {
  const split = Math.floor((places.length * 3) / 4 / DEPTH) * DEPTH;
  const batches = await runSeries(bench, command, startBytes, places.subarray(0, split), DEPTH);
  const singles = await runSeries(bench, command, startBytes, places.subarray(batches.requests), 1);
  return {
    submitUs: batches.medianSubmitUs,
    totalUs: batches.medianTotalUs,
    submitShare: batches.submitMs / batches.totalMs,
    doneAtReturn: batches.doneAtReturn,
    aloneUs: singles.medianTotalUs,
    blocks:
      batches.doneAtReturn >= 0.5 ||
      (batches.medianSubmitUs > PROCESSING_US && batches.medianSubmitUs > singles.medianTotalUs / 2),
    iopsDepth1: (singles.requests / singles.totalMs) * 1000,
    iopsDepth16: (batches.requests / batches.totalMs) * 1000,
  };
}

async function runSeries(
  bench: Bench,
  command: IocbCommand,
  startBytes: number,
  places: Uint32Array,
  depth: number,
): Promise<Series> {
  const submitUs: number[] = [];
  const totalUs: number[] = [];
  let [requests, totalMs, submitMs, complete] = [0, 0, 0, 0];
  while (requests + depth <= places.length && totalMs < BUDGET_MS) {
    for (let i = 0; i < depth; i++) {
      bench.prepare(i, command, startBytes + (places[requests + i] as number) * bench.requestBytes);
    }
    const batch = bench.run(depth);
    requests += depth;
    totalMs += batch.totalMs;
    submitMs += batch.submitMs;
    if (batch.doneAtReturn === depth) complete++;
    submitUs.push((batch.submitMs * 1000) / depth);
    totalUs.push((batch.totalMs * 1000) / depth);
    await nextTurn();
  }
  return {
    requests,
    totalMs,
    submitMs,
    medianSubmitUs: median(submitUs),
    medianTotalUs: median(totalUs),
    doneAtReturn: complete / submitUs.length,
  };
}

/** Overwrites, each with the `fdatasync` that makes it durable. */
async function measureFlush(bench: Bench): Promise<QualificationFigures['flush']> {
  const roundsMs: number[] = [];
  let spentMs = 0;
  while (roundsMs.length < FLUSH_ROUNDS && spentMs < FLUSH_BUDGET_MS) {
    bench.prepare(0, IocbCommand.pwrite, roundsMs.length * bench.requestBytes);
    const write = bench.run(1);
    bench.prepareFlush();
    const roundMs = write.totalMs + bench.run(1).totalMs;
    roundsMs.push(roundMs);
    spentMs += roundMs;
    await nextTurn();
  }
  return { rounds: roundsMs.length, medianMs: median(roundsMs), maxMs: Math.max(...roundsMs) };
}

/** Tries more than once, since a lock that is held for a moment gives EAGAIN, too. */
function tryNowait(bench: Bench, command: IocbCommand, offset: number): NowaitOutcome {
  for (let attempt = 0; attempt < NOWAIT_ATTEMPTS; attempt++) {
    bench.prepare(0, command, offset);
    const result = bench.runNowait();
    if (result >= 0) return 'works';
    // Kernels that do not know the flag say EINVAL.
    if (result === -EOPNOTSUPP || result === -EINVAL) return 'not supported (EOPNOTSUPP)';
    if (result !== -EAGAIN) throw new SystemCallError('io_submit', result);
  }
  return 'would block (EAGAIN)';
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  assert(sorted.length > 0, 'something was measured');
  return sorted[Math.floor(sorted.length / 2)] as number;
}
