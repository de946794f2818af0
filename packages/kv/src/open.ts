/**
 * Opens a store, or creates one.
 *
 * ```
 *   data file, found or created, and locked (file/create.ts)
 *     └─► superblock ─► fits the options? ─► recovery ─► flush ─► new epoch ─► store
 * ```
 *
 * Nothing on the disk changes until the lock is held and the superblock is understood.
 */
import { randomBytes } from 'node:crypto';
import { AiokvError, MIB, Random, resolvePath } from '@aiokv/core';
import { Queue } from '@aiokv/aio';
import type { DirectFile, Platform } from '@aiokv/aio';
import { maxRecordBytes, maxValueBytes } from './format/extent.ts';
import { FEATURE_EXPIRY, FEATURE_EXTENTS } from './format/superblock.ts';
import type { Geometry } from './format/superblock.ts';
import { corrupt } from './failure/errors.ts';
import { FailureGate } from './failure/failure-gate.ts';
import { NONE_PLANTED } from './failure/planted.ts';
import type { Planted } from './failure/planted.ts';
import { ExpiryClock } from './file/expiry-clock.ts';
import { Flusher } from './file/flusher.ts';
import { ReadEpochs } from './file/read-epochs.ts';
import { ReadPace } from './file/read-pace.ts';
import { OpenSnapshots } from './index/open-snapshots.ts';
import { CommitHistory } from './index/commit-history.ts';
import { KeyIndex } from './index/key-index.ts';
import { Pager } from './index/pager.ts';
import { Frames } from './log/frames.ts';
import { LogWriter } from './log/writer.ts';
import { divideMemory, mostReadAheadBytes } from './memory/budget.ts';
import type { BufferNeeds } from './memory/budget.ts';
import { MOST_LONG_REQUESTS, mostLongReadBytes } from './read/long-reads.ts';
import { RecordReader } from './read/record-reader.ts';
import { SegmentTable } from './file/segment-table.ts';
import { Slots } from './file/slots.ts';
import { resolveStoreOptions } from './options.ts';
import type { StoreOptions } from './options.ts';
import { Checkpointer } from './checkpoint/checkpointer.ts';
import type { Standing } from './checkpoint/standing.ts';
import { Cleaner } from './clean/cleaner.ts';
import { SegmentWriter } from './checkpoint/segment-writer.ts';
import { IndexLoader } from './recovery/index-loader.ts';
import { ScanOrder } from './clean/scan-order.ts';
import { Maintenance } from './maintenance/maintenance.ts';
import { ProgressReporter } from './recovery/progress.ts';
import { Recovery } from './recovery/recovery.ts';
import type { Recovered } from './recovery/recovery.ts';
import { Store } from './store.ts';
import { openDataFile } from './file/create.ts';
import { isDirectIoRefused, requireDirectIo, warnOfPageCache, withoutDirectIo } from './file/direct-io.ts';
import type { IoStatistics } from './file/direct-io.ts';
import { SuperblockKeeper, loadSuperblock } from './file/superblocks.ts';
import { TurnBudget } from '@aiokv/core';

/**
 * Places in the queue for everything but frames of the log and reads of records and ranges, so that the queue never refuses a
 * request: 64 reads of index pages and 8 of several at once, 8 of tables of long values, 128 of a victim of a cleaning, 2 writes each of a
 * checkpoint and of survivors, a flush, 2 writes of superblocks, 16 reads of an opening.
 */
const OTHER_REQUESTS = 256;

/** Of the budget, what a cleaning copies takes one part in so many. */
const SURVIVORS_PART = 16;

type ResolvedOptions = StoreOptions & { platform: Platform };

/**
 * Opens the store in a directory. One process can have a store open, once.
 *
 * The index is read first, then the log is replayed from the last checkpoint: see `onProgress`. Close the store when
 * you are done; a failed opening leaves nothing open.
 *
 * @param directory a path or a `file:` URL. A relative path is resolved now, against the current working directory
 * @throws AiokvError ERR_AIOKV_LOCKED when the store is open already; ERR_AIOKV_NOT_FOUND, ERR_AIOKV_EXISTS,
 *   ERR_AIOKV_NOT_A_STORE, ERR_AIOKV_FORMAT_NEWER, ERR_AIOKV_PAGE_SIZE, ERR_AIOKV_CORRUPT,
 *   ERR_AIOKV_NO_DIRECT_IO, ERR_AIOKV_NO_SPACE, ERR_AIOKV_READ_ONLY, ERR_AIOKV_PERMISSION,
 *   ERR_AIOKV_TOO_MANY_FILES, ERR_AIOKV_IO; AiokvTypeError ERR_AIOKV_INVALID_OPTION, ERR_AIOKV_INVALID_ARGUMENT
 */
export function open(directory: string | URL, options?: Partial<StoreOptions>): Promise<Store> {
  return openPlanted(directory, options, NONE_PLANTED);
}

/** @internal For the crash tests: see `Planted`. */
export async function openPlanted(
  directory: string | URL,
  options: Partial<StoreOptions> | undefined,
  planted: Planted,
): Promise<Store> {
  // Both before the first await: the caller may change the options or the working directory afterwards.
  const path = resolvePath('open: the directory', directory);
  const resolved = resolveStoreOptions(options);
  const { platform, directIo } = resolved;
  const buffered = { ...resolved, platform: withoutDirectIo(platform) };
  if (directIo === 'off') return openOn(path, buffered, planted, ASKED);
  if (directIo === 'require') requireDirectIo(platform);
  else if (platform.name === 'portable') {
    const isGiven = options?.platform === platform;
    return openOn(path, buffered, planted, isGiven ? ASKED : whyPortable());
  }
  try {
    return await openOn(path, resolved, planted, null);
  } catch (error) {
    if (directIo === 'require' || platform.name === 'simulated' || !isDirectIoRefused(error)) throw error;
    return openOn(path, buffered, planted, 'its file system refuses direct I/O (O_DIRECT)');
  }
}

/** Why a store is not direct where its opener has said so. */
const ASKED = 'it was asked for';

function whyPortable(): string {
  return process.platform === 'linux'
    ? 'no foreign-function interface can be loaded (requireForeignInterface() of @aiokv/aio says why)'
    : `Linux AIO is not there on ${process.platform}`;
}

/** @param reason why the platform has no direct I/O, or null if it has */
async function openOn(
  path: string,
  resolved: ResolvedOptions,
  planted: Planted,
  reason: string | null,
): Promise<Store> {
  const file = await openDataFile(path, resolved);
  let queue: Queue | null = null;
  try {
    // Without `neverBlock`, ext4 blocks every submitter while the file grows, until its writes are done.
    const maxWaiting = LogWriter.mostRequests(resolved.writeBufferBytes) + MOST_LONG_REQUESTS + OTHER_REQUESTS;
    queue = new Queue(resolved.platform, { depth: resolved.queueDepth, maxWaiting, neverBlock: true });
    const io = { isDirect: file.isDirect, platform: resolved.platform.name, engine: queue.engine.name, reason };
    const store = await openStore(file, queue, resolved, planted, io);
    if (reason !== null && reason !== ASKED) warnOfPageCache(file.path, reason);
    return store;
  } catch (error) {
    try {
      await queue?.close();
    } finally {
      await file.close();
    }
    throw error;
  }
}

/** What an opening has when the superblock is read. */
interface Opening {
  readonly file: DirectFile;
  readonly queue: Queue;
  readonly options: ResolvedOptions;
  readonly io: IoStatistics;
  readonly planted: Planted;
  readonly gate: FailureGate;
  readonly flusher: Flusher;
  readonly superblocks: SuperblockKeeper;
  readonly index: KeyIndex;
  readonly segments: SegmentTable;
  readonly budget: TurnBudget;
  readonly progress: ProgressReporter;
}

/** What it has found on the device. */
interface Found {
  readonly standing: Standing;
  readonly recovered: Recovered;
  readonly recovery: Recovery;
}

async function openStore(
  file: DirectFile,
  queue: Queue,
  options: ResolvedOptions,
  planted: Planted,
  io: IoStatistics,
): Promise<Store> {
  const loaded = await loadSuperblock(queue, file);
  const { pageBytes } = loaded.superblock.geometry;
  if (options.pageBytes !== 0 && options.pageBytes !== pageBytes) {
    throw new AiokvError(
      'ERR_AIOKV_PAGE_SIZE',
      `the store in ${file.path} has pages of ${pageBytes} bytes, not ${options.pageBytes}: leave pageBytes out`,
    );
  }
  const { clock, memoryBytes } = options;
  const { geometry } = loaded.superblock;
  const budget = divideMemory(memoryBytes, options.valueCachePart, bufferNeeds(file, options, geometry));
  const segments = new SegmentTable(geometry);
  const { incompatibleFeatures, expiryHorizonMs } = loaded.superblock;
  const isExpiryUsed = (incompatibleFeatures & FEATURE_EXPIRY) !== 0n;
  const expiry = new ExpiryClock(options.calendarMs, isExpiryUsed, expiryHorizonMs, planted);
  const gate = new FailureGate();
  const flusher = new Flusher(queue, file, gate);
  const opening: Opening = {
    file,
    queue,
    options,
    io,
    planted,
    gate,
    flusher,
    superblocks: new SuperblockKeeper(queue, file, flusher, loaded),
    index: new KeyIndex({ queue, file, pageBytes, budget, segments, expiry, planted }),
    segments,
    budget: new TurnBudget(clock),
    progress: new ProgressReporter(options.onProgress, clock),
  };
  try {
    const store = await makeStore(opening, await recover(opening));
    store.start();
    return store;
  } catch (error) {
    opening.index.close();
    await opening.index.quiet();
    throw error;
  }
}

/** What the buffers of all parts take at most. */
function bufferNeeds(
  file: DirectFile,
  { queueDepth, writeBufferBytes, memoryBytes }: ResolvedOptions,
  geometry: Geometry,
): BufferNeeds {
  return {
    writeBufferBytes: Frames.mostBytes(writeBufferBytes, geometry.writeAlignment) + SegmentWriter.bufferBytes(geometry),
    readBufferBytes:
      RecordReader.mostBufferBytes(queueDepth, maxRecordBytes(geometry)) +
      mostLongReadBytes(mostReadAheadBytes(memoryBytes)) +
      Pager.mostBufferBytes(file, geometry.pageBytes),
  };
}

/** Fills the index from the last checkpoint and from the log behind it. */
async function recover({
  file,
  queue,
  superblocks,
  index,
  segments,
  budget,
  progress,
  planted,
}: Opening): Promise<Found> {
  const superblock = superblocks.current;
  let standing: Standing = { slots: new Set(), pages: 0, imagesBytes: 0, mappingBytes: 0, isCounted: true };
  if (superblock.checkpointRoot !== 0) {
    const loader = new IndexLoader(queue, file, budget, progress, planted);
    standing = await index.restore((target) => loader.load(superblock, target, index.pager.limitBytes));
  }
  const recovery = new Recovery(queue, file, superblock, index, budget, progress, planted, segments);
  const recovered = await recovery.run();
  if (planted.unsecuredTail !== true) await recovery.secure();
  // All copies must be current before slots are reused that an older copy still leads to.
  await superblocks.confirm();
  return { standing, recovered, recovery };
}

/** Adds the parts that write. */
async function makeStore(opening: Opening, { standing, recovered, recovery }: Found): Promise<Store> {
  const { file, queue, options, io, planted, gate, flusher, superblocks, index, segments, budget } = opening;
  const { geometry, uuid, incompatibleFeatures } = superblocks.current;
  const { clock, writeBufferBytes, flushIntervalMs, checkpointBytes } = options;
  const { usedSlots } = recovered;
  if ([...usedSlots].some((slot) => slot >= recovered.slotCount))
    throw corrupt(`${file.path} is truncated: it has lost segments`);
  const slots = new Slots(file, geometry, recovered.slotCount, usedSlots);
  // Before the first checkpoint no slot was given back.
  if (superblocks.current.checkpointRoot !== 0) await slots.distrustFree();
  const epochs = new ReadEpochs();
  const pace = new ReadPace(clock, options.readLatencyTargetMs);
  const epoch = planted.sameEpoch === true ? 0 : randomBytes(6).readUIntLE(0, 6);
  const shared = { queue, file, flusher, gate, slots, segments, geometry, epoch, clock, planted };
  const { position } = recovered;
  const log = new LogWriter({ ...shared, uuid, position, writeBufferBytes, flushIntervalMs });
  if (recovered.leftOutBytes === 0) index.admitted(log.appendedThrough);
  if ((incompatibleFeatures & FEATURE_EXTENTS) === 0n) {
    // The flag keeps older versions out: they would return the table of a long value as the value.
    await superblocks.save({
      incompatibleFeatures: incompatibleFeatures | FEATURE_EXTENTS,
      maxValueBytes: maxValueBytes(geometry),
    });
  }
  const checkpointerOptions = { ...shared, log, superblocks, index, epochs, checkpointBytes };
  const checkpointer = new Checkpointer(checkpointerOptions, standing, recovered.replayedBytes);
  const survivorBytes = Math.max(MIB, options.memoryBytes / SURVIVORS_PART);
  const { spaceAmplificationMax } = options;
  const cleaner = new Cleaner({
    ...shared,
    log,
    superblocks,
    index,
    checkpointer,
    survivorBytes,
    spaceAmplificationMax,
    pace,
  });
  const moves = { ...shared, log, superblocks, index, survivorBytes };
  const order = new ScanOrder({ ...moves, plan: cleaner.plan, isOn: options.orderForScans });
  const snapshots = new OpenSnapshots(index, clock);
  const parts = { options, io, geometry, file, queue, log, index, budget, superblocks, checkpointer, snapshots, gate };
  const maintenance = new Maintenance({ ...parts, slots, segments, cleaner, order, clock });
  if (recovered.leftOutBytes > 0) {
    try {
      await recovery.replayRest((leftBytes) => maintenance.makeRoomForReplay(leftBytes));
    } catch (error) {
      await maintenance.stop();
      await slots.settle();
      throw error;
    }
    index.admitted(log.appendedThrough);
  }
  maintenance.start();
  const history = new CommitHistory(options.memoryBytes);
  // The epoch was drawn for this opening.
  const random = new Random(epoch);
  const place = { platform: options.platform, dataPath: file.path, uuid };
  return new Store({ ...parts, maintenance, history, random, epochs, pace, planted, place, compaction: moves });
}
