/**
 * Opens a store, or makes one.
 *
 * ```
 *   data file, found or made, and locked (file/create.ts)
 *     └─► superblock ─► fits what was asked for? ─► recovery ─► flush ─► new epoch ─► store
 * ```
 *
 * Nothing on the disk changes before the lock is held and the superblock was understood.
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
 * Requests beside the frames of the log, and the reads of records, of which there are as many as the depth: 64 reads of
 * index pages, 2 writes of a checkpoint, a flush, 2 writes of superblocks; 16 reads of an opening. The queue never refuses one.
 */
const OTHER_REQUESTS = 256;

type ResolvedOptions = StoreOptions & { platform: Platform };

/**
 * Opens the store in a directory, which one process may have open once.
 *
 * @param directory a path or a `file:` URL; a relative path is resolved by the working directory of this moment
 * @throws AiokvError ERR_AIOKV_LOCKED when it is open already; ERR_AIOKV_NOT_FOUND, ERR_AIOKV_EXISTS,
 *   ERR_AIOKV_NOT_A_STORE, ERR_AIOKV_FORMAT_NEWER, ERR_AIOKV_PAGE_SIZE, ERR_AIOKV_CORRUPT,
 *   ERR_AIOKV_NO_DIRECT_IO, ERR_AIOKV_NO_SPACE, ERR_AIOKV_READ_ONLY, ERR_AIOKV_PERMISSION,
 *   ERR_AIOKV_TOO_MANY_FILES, ERR_AIOKV_IO; AiokvTypeError ERR_AIOKV_INVALID_OPTION, ERR_AIOKV_INVALID_ARGUMENT
 */
export function open(directory: string | URL, options?: Partial<StoreOptions>): Promise<Store> {
  return openPlanted(directory, options, NONE_PLANTED);
}

/** @internal For the crash tests; see `Planted`. */
export async function openPlanted(
  directory: string | URL,
  options: Partial<StoreOptions> | undefined,
  planted: Planted,
): Promise<Store> {
  // Both at once: what the caller changes later is no concern of this opening.
  const path = resolvePath('open: the directory', directory);
  const resolved = resolveStoreOptions(options);
  const file = await openDataFile(path, resolved);
  let queue: Queue | null = null;
  try {
    // Never blocking: while the file grows, ext4 keeps all who submit to it waiting until its writes are done.
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
  const flusher = new Flusher(queue, file);
  const gate = new FailureGate();
  const superblocks = new SuperblockKeeper(queue, file, flusher, loaded);
  const { standing, recovered } = await recover(file, queue, superblocks, index, budget, progress, planted).catch(
    async (error: unknown) => {
      index.close();
      await index.quiet();
      throw error;
    },
  );
  const usedSlots = new Set([...recovered.usedSlots, ...standing.slots]);
  if ([...usedSlots].some((slot) => slot >= recovered.slotCount)) throw corrupt(`${file.path} was cut off`);
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
    // A version that does not know extents would take their tables for values.
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

/** Fills the index with what the last checkpoint holds, and what was written behind it. */
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
  // Slots that an older copy leads to are about to be used again.
  if (!superblocks.isEverywhere) await superblocks.save({});
  return { standing, recovered };
}

/** Reads the index of the checkpoint that the superblock leads to, if it does. */
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
