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
import { AiokvError, resolvePath } from '@aiokv/core';
import { Queue } from '@aiokv/aio';
import type { DirectFile, Platform } from '@aiokv/aio';
import { maxValueBytes } from './format/extent.ts';
import { FEATURE_EXTENTS } from './format/superblock.ts';
import type { Superblock } from './format/superblock.ts';
import { corrupt } from './failure/errors.ts';
import { FailureGate } from './failure/failure-gate.ts';
import { NONE_PLANTED } from './failure/planted.ts';
import type { Planted } from './failure/planted.ts';
import { Flusher } from './file/flusher.ts';
import { KeyIndex } from './index/key-index.ts';
import { LogWriter } from './log/writer.ts';
import { Slots } from './file/slots.ts';
import { resolveStoreOptions } from './options.ts';
import type { StoreOptions } from './options.ts';
import { Checkpointer } from './checkpoint/checkpointer.ts';
import type { Standing } from './checkpoint/checkpointer.ts';
import { IndexLoader } from './recovery/index-loader.ts';
import { Maintenance } from './maintenance/maintenance.ts';
import { Mapping } from './index/mapping.ts';
import { ProgressReporter } from './recovery/progress.ts';
import { Recovery } from './recovery/recovery.ts';
import type { Recovered } from './recovery/recovery.ts';
import { Store } from './store.ts';
import { openDataFile } from './file/create.ts';
import { SuperblockKeeper, loadSuperblock } from './file/superblocks.ts';
import { TurnBudget } from '@aiokv/core';

/**
 * Places in the queue for everything but frames of the log and reads of records, so that the queue never refuses a
 * request: 64 reads of index pages, 2 writes of a checkpoint, a flush, 2 writes of superblocks, 16 reads of an opening.
 */
const OTHER_REQUESTS = 256;

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
  const file = await openDataFile(path, resolved);
  let queue: Queue | null = null;
  try {
    // Without `neverBlock`, ext4 blocks every submitter while the file grows, until its writes are done.
    const maxWaiting = LogWriter.mostRequests(resolved.writeBufferBytes) + OTHER_REQUESTS;
    queue = new Queue(resolved.platform, { depth: resolved.queueDepth, maxWaiting, neverBlock: true });
    return await openStore(file, queue, resolved, planted);
  } catch (error) {
    try {
      await queue?.close();
    } finally {
      await file.close();
    }
    throw error;
  }
}

async function openStore(file: DirectFile, queue: Queue, options: ResolvedOptions, planted: Planted): Promise<Store> {
  const loaded = await loadSuperblock(queue, file);
  const { superblock } = loaded;
  const { geometry } = superblock;
  if (options.pageBytes !== 0 && options.pageBytes !== geometry.pageBytes) {
    throw new AiokvError(
      'ERR_AIOKV_PAGE_SIZE',
      `the store in ${file.path} has pages of ${geometry.pageBytes} bytes, not ${options.pageBytes}: leave pageBytes out`,
    );
  }
  const index = new KeyIndex({
    clock: options.clock,
    queue,
    file,
    pageBytes: geometry.pageBytes,
    indexBytes: options.indexBytes,
    planted,
  });
  const budget = new TurnBudget(options.clock);
  const progress = new ProgressReporter(options.onProgress, options.clock);
  const gate = new FailureGate();
  const flusher = new Flusher(queue, file, gate);
  const superblocks = new SuperblockKeeper(queue, file, flusher, loaded);
  const { standing, recovered } = await recover(file, queue, superblocks, index, budget, progress, planted).catch(
    async (error: unknown) => {
      index.close();
      await index.quiet();
      throw error;
    },
  );
  const usedSlots = new Set([...recovered.usedSlots, ...standing.slots]);
  if ([...usedSlots].some((slot) => slot >= recovered.slotCount))
    throw corrupt(`${file.path} is truncated: it has lost segments`);
  const slots = new Slots(file, geometry, recovered.slotCount, usedSlots);
  const epoch = planted.sameEpoch === true ? 0 : randomBytes(6).readUIntLE(0, 6);
  const log = new LogWriter({
    queue,
    file,
    flusher,
    gate,
    slots,
    geometry,
    uuid: superblock.uuid,
    epoch,
    position: recovered.position,
    writeBufferBytes: options.writeBufferBytes,
    flushIntervalMs: options.flushIntervalMs,
    clock: options.clock,
    planted,
  });
  index.admitted(log.appendedThrough);
  if ((superblock.incompatibleFeatures & FEATURE_EXTENTS) === 0n) {
    // The flag keeps older versions out: they would return the table of a long value as the value.
    const incompatibleFeatures = superblock.incompatibleFeatures | FEATURE_EXTENTS;
    await superblocks.save({ incompatibleFeatures, maxValueBytes: maxValueBytes(geometry) });
  }
  const checkpointer = new Checkpointer(
    {
      queue,
      file,
      slots,
      geometry,
      epoch,
      log,
      gate,
      flusher,
      clock: options.clock,
      superblocks,
      index,
      checkpointBytes: options.checkpointBytes,
      planted,
    },
    standing,
    recovered.replayedBytes,
  );
  const maintenance = new Maintenance({ index, log, checkpointer, gate });
  maintenance.start();
  return new Store({
    options,
    geometry,
    file,
    queue,
    log,
    index,
    budget,
    superblocks,
    checkpointer,
    maintenance,
    gate,
  });
}

/** Fills the index from the last checkpoint and from the log behind it. */
async function recover(
  file: DirectFile,
  queue: Queue,
  superblocks: SuperblockKeeper,
  index: KeyIndex,
  budget: TurnBudget,
  progress: ProgressReporter,
  planted: Planted,
): Promise<{ standing: Standing; recovered: Recovered }> {
  const superblock = superblocks.current;
  const standing = await loadIndex(file, queue, superblock, index, budget, progress, planted);
  index.pager.use(standing.mapping);
  const recovery = new Recovery(queue, file, superblock, index, budget, progress, planted, standing.slots);
  const recovered = await recovery.run();
  if (planted.unsecuredTail !== true) await recovery.secure();
  // All copies must be current before slots are reused that an older copy still leads to.
  await superblocks.confirm();
  return { standing, recovered };
}

/** Reads the index of the checkpoint, if the superblock names one. */
async function loadIndex(
  file: DirectFile,
  queue: Queue,
  superblock: Superblock,
  index: KeyIndex,
  budget: TurnBudget,
  progress: ProgressReporter,
  planted: Planted,
): Promise<Standing> {
  if (superblock.checkpointRoot === 0) return { mapping: new Mapping(), slots: new Set() };
  const loader = new IndexLoader(queue, file, budget, progress, planted);
  return index.restore((memory) => loader.load(superblock, memory, index.pager.limitBytes));
}
