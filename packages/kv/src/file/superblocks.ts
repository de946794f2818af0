/**
 * Reads the superblock that counts from its four copies, and writes the next one. format/superblock.ts has the layout;
 * docs/format.md, "Superblock", says what a reader checks.
 *
 * COPIES-1. A copy that cannot be read is treated like a damaged copy.
 * COPIES-2. A superblock counts only if two copies of it are valid, each in its own place.
 * COPIES-3. The superblock that counts names the hash of the one before it. If the pair before has another hash, the
 *     file has two histories: part of it was restored, or copied from elsewhere.
 * COPIES-4. After a save that failed nothing is saved any more: which copies hold what is uncertain, and another superblock
 *     of the same sequence over some of them could leave no two that are equal. The next opening decides.
 * COPIES-5. An opening writes the superblock that counts again, byte by byte the same, before it writes another. After a
 *     failed flush what is read may come from a cache; the pair that is on the device may be the first or the second. The
 *     first is written and flushed, then the second: whichever was safe stays so.
 */
import { AiokvError, MIB, SystemCallError, assert, isPowerOfTwo } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, Queue } from '@aiokv/aio';
import {
  COMPARATOR_BYTEWISE,
  FEATURE_COPY_NUMBERS,
  FORMAT_VERSION,
  KNOWN_FEATURES,
  SUPERBLOCK_COPIES,
  encodeSuperblock,
  hasSuperblockMagic,
  isCopy,
  readSuperblock,
  superblockHash,
  superblockOffset,
} from '../format/superblock.ts';
import type { Superblock } from '../format/superblock.ts';
import type { Flusher } from './flusher.ts';
import { corrupt, requireFull } from '../failure/errors.ts';
import { attempt } from '../failure/system-failure.ts';

/** Bytes before slot 0, the same in every store: a reader must find the copies before it knows anything. */
export const HEADER_BYTES = 256 * 1024;

export interface LoadedSuperblock {
  readonly superblock: Superblock;
  readonly hash: bigint;
}

/**
 * Reads the superblock that counts.
 *
 * @throws AiokvError ERR_AIOKV_NOT_A_STORE, ERR_AIOKV_FORMAT_NEWER, ERR_AIOKV_CORRUPT, ERR_AIOKV_IO
 */
export async function loadSuperblock(queue: Queue, file: DirectFile): Promise<LoadedSuperblock> {
  const { blocks, failures } = await readCopies(queue, file);
  const valid: { superblock: Superblock; hash: bigint }[] = [];
  for (const [copy, block] of blocks.entries()) {
    const superblock = block === null ? null : readSuperblock(block);
    if (block === null || superblock === null || !isCopy(block, superblock, copy)) continue;
    valid.push({ superblock, hash: superblockHash(block) });
  }
  const countOf = (hash: bigint): number => valid.filter((other) => other.hash === hash).length;
  const paired = valid.filter(({ hash }) => countOf(hash) >= 2);
  const counting = paired.sort((a, b) => b.superblock.sequence - a.superblock.sequence)[0];
  if (counting === undefined) {
    if (failures.length > 0) throw unreadable(file, failures);
    if (!blocks.some((block) => block !== null && hasSuperblockMagic(block))) {
      throw new AiokvError('ERR_AIOKV_NOT_A_STORE', `${file.path} is not an aiokv store: open another directory`);
    }
    throw corrupt(`fewer than two of the ${SUPERBLOCK_COPIES} superblocks of ${file.path} are valid and equal`);
  }
  const { superblock, hash } = counting;
  requireKnownFormat(file, superblock);
  if (!isSane(superblock)) throw corrupt(`the superblock of ${file.path} has impossible values`);
  for (const other of paired) {
    const isForeign =
      other.superblock.sequence === superblock.sequence
        ? other.hash !== hash
        : other.superblock.sequence === superblock.sequence - 1 && other.hash !== superblock.previousHash;
    if (isForeign) throw corrupt(`the superblocks of ${file.path} are from two histories`);
  }
  return { superblock, hash };
}

function unreadable({ path }: DirectFile, failures: readonly Error[]): AiokvError {
  return new AiokvError(
    'ERR_AIOKV_IO',
    `${failures.length} of ${SUPERBLOCK_COPIES} superblocks of ${path} cannot be read, and the others do not say what ` +
      'the store is: check the device. The kernel log says what is wrong with it',
    { cause: failures[0] },
  );
}

/**
 * Writes a superblock to all copies, two at a time, so that a crash leaves the old one or the new one. It is durable
 * when the call settles.
 *
 * @returns the hash of the superblock
 * @throws AiokvError ERR_AIOKV_IO; SystemCallError
 */
export async function saveSuperblock(
  queue: Queue,
  file: DirectFile,
  superblock: Superblock,
  flusher: Flusher,
): Promise<bigint> {
  const { headerBytes, writeAlignment } = superblock.geometry;
  let hash = 0n;
  for (const pair of [
    [0, 1],
    [2, 3],
  ]) {
    await Promise.all(
      pair.map(async (copy) => {
        const block = allocateAligned(writeAlignment);
        hash = encodeSuperblock(block, superblock, copy);
        const offset = superblockOffset(headerBytes, copy);
        requireFull('write', await queue.write(file, block, { offset }), writeAlignment, file.path);
      }),
    );
    await flusher.flush();
  }
  return hash;
}

/** The superblock of an open store. All changes go through `save`. */
export class SuperblockKeeper {
  readonly #queue: Queue;
  readonly #file: DirectFile;
  #current: Superblock;
  #hash: bigint;
  #saving: Promise<unknown> = Promise.resolve();
  /** How a save failed (COPIES-4), or null. */
  #failure: Error | null = null;
  readonly #flusher: Flusher;
  constructor(queue: Queue, file: DirectFile, flusher: Flusher, { superblock, hash }: LoadedSuperblock) {
    this.#queue = queue;
    this.#file = file;
    this.#current = superblock;
    this.#hash = hash;
    this.#flusher = flusher;
  }

  get current(): Superblock {
    return this.#current;
  }

  /** COPIES-5. */
  async confirm(): Promise<void> {
    const hash = await saveSuperblock(this.#queue, this.#file, this.#current, this.#flusher);
    assert(hash === this.#hash, 'what is written again is the same');
  }

  /** Writes the superblock with these changes, after any save in progress. It is durable when the call settles. */
  save(changes: Partial<Superblock>): Promise<void> {
    const saved = this.#saving.then(async () => {
      if (this.#failure !== null) throw this.#failure;
      const changed = { ...this.#current, ...changes };
      const next: Superblock = {
        ...changed,
        incompatibleFeatures: changed.incompatibleFeatures | FEATURE_COPY_NUMBERS,
        sequence: this.#current.sequence + 1,
        previousHash: this.#hash,
      };
      try {
        this.#hash = await saveSuperblock(this.#queue, this.#file, next, this.#flusher);
      } catch (error) {
        this.#failure = error as Error;
        throw error;
      }
      this.#current = next;
    });
    this.#saving = saved.catch(() => undefined);
    return saved;
  }
}

/** The block of each copy; null if it cannot be read (COPIES-1). */
async function readCopies(
  queue: Queue,
  file: DirectFile,
): Promise<{ blocks: readonly (AlignedBuffer | null)[]; failures: readonly SystemCallError[] }> {
  const sizeBytes = await attempt(`the size of ${file.path} cannot be read`, () => file.sizeBytes());
  const failures: SystemCallError[] = [];
  const read = async (copy: number): Promise<AlignedBuffer | null> => {
    const block = allocateAligned(file.alignment.write);
    const offset = superblockOffset(HEADER_BYTES, copy);
    if (offset >= sizeBytes) return block;
    try {
      await queue.read(file, block, { offset });
      return block;
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error;
      failures.push(error);
      return null;
    }
  };
  const blocks = await Promise.all(Array.from({ length: SUPERBLOCK_COPIES }, (_, copy) => read(copy)));
  return { blocks, failures };
}

/** Whether sizes and numbers are possible. The code that follows a reference checks what is there. */
function isSane(superblock: Superblock): boolean {
  const { geometry, sequence, checkpointRoot, checkpointSequence, logStart, logEnd, expiryHorizonMs } = superblock;
  const { pageBytes, writeAlignment, segmentBytes, headerBytes } = geometry;
  const numbers = [sequence, checkpointRoot, checkpointSequence, logStart.segmentSequence, logStart.lastSequenceBefore];
  numbers.push(expiryHorizonMs);
  if (logEnd !== null) numbers.push(logEnd.link.segmentSequence, logEnd.lastSequence);
  return (
    [pageBytes, writeAlignment, segmentBytes].every(isPowerOfTwo) &&
    headerBytes === HEADER_BYTES &&
    writeAlignment >= 4096 &&
    writeAlignment <= HEADER_BYTES / SUPERBLOCK_COPIES &&
    pageBytes >= 4096 &&
    pageBytes <= 65536 &&
    2 * pageBytes <= segmentBytes &&
    segmentBytes >= 65536 &&
    segmentBytes <= 32 * MIB &&
    numbers.every((number) => Number.isSafeInteger(number))
  );
}

function requireKnownFormat(file: DirectFile, superblock: Superblock): void {
  const { formatVersion, incompatibleFeatures, comparator, geometry } = superblock;
  const unknown = (incompatibleFeatures & ~KNOWN_FEATURES) | superblock.readOnlyCompatibleFeatures;
  if (formatVersion > FORMAT_VERSION || unknown !== 0n) {
    throw new AiokvError(
      'ERR_AIOKV_FORMAT_NEWER',
      `${file.path} has format ${formatVersion}, features ${incompatibleFeatures.toString(16)}: open it with a newer aiokv`,
    );
  }
  if (comparator !== COMPARATOR_BYTEWISE) {
    throw new AiokvError(
      'ERR_AIOKV_FORMAT_NEWER',
      `${file.path} orders its keys by comparator ${comparator}, unknown here: open it with a newer aiokv`,
    );
  }
  if (file.alignment.offset > geometry.writeAlignment) {
    throw new AiokvError(
      'ERR_AIOKV_PAGE_SIZE',
      `${file.path} was created for blocks of ${geometry.writeAlignment} bytes, but its device has blocks of ` +
        `${file.alignment.offset}: copy the contents of the store to a new one`,
    );
  }
}
