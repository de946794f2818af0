/**
 * The four copies of the superblock: reads the one that counts, writes the next. The bytes are
 * format/superblock.ts; the rule which copy counts is stated there.
 */
import { AiokvError, MIB, isPowerOfTwo } from '@aiokv/core';
import { allocateAligned } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, Queue } from '@aiokv/aio';
import {
  COMPARATOR_BYTEWISE,
  FORMAT_VERSION,
  KNOWN_FEATURES,
  SUPERBLOCK_COPIES,
  encodeSuperblock,
  hasSuperblockMagic,
  readSuperblock,
  superblockHash,
  superblockOffset,
} from '../format/superblock.ts';
import type { Superblock } from '../format/superblock.ts';
import type { Flusher } from './flusher.ts';
import { corrupt, requireFull } from '../failure/errors.ts';

/** Bytes in front of slot 0, the same in every store: a reader must find the copies before it knows anything. */
export const HEADER_BYTES = 256 * 1024;

export interface LoadedSuperblock {
  readonly superblock: Superblock;
  readonly hash: bigint;
  /** Whether all copies are this one. */
  readonly isEverywhere: boolean;
}

/**
 * Reads the superblock that counts.
 *
 * @throws AiokvError ERR_AIOKV_NOT_A_STORE, ERR_AIOKV_FORMAT_NEWER, ERR_AIOKV_CORRUPT
 */
export async function loadSuperblock(queue: Queue, file: DirectFile): Promise<LoadedSuperblock> {
  const blocks = await readCopies(queue, file);
  const valid = blocks.flatMap((block) => {
    const superblock = readSuperblock(block);
    return superblock === null ? [] : [{ superblock, hash: superblockHash(block), isEverywhere: false }];
  });
  if (valid.length === 0) {
    if (!blocks.some(hasSuperblockMagic)) {
      throw new AiokvError('ERR_AIOKV_NOT_A_STORE', `${file.path} is not an aiokv store: open another directory`);
    }
    throw corrupt(`all ${SUPERBLOCK_COPIES} superblocks of ${file.path} are damaged`);
  }
  const supported = ({ hash }: LoadedSuperblock): number => valid.filter((other) => other.hash === hash).length;
  const counting = valid
    .filter((copy) => supported(copy) >= 2)
    .sort((a, b) => b.superblock.sequence - a.superblock.sequence)[0];
  if (counting === undefined) {
    throw corrupt(`no superblock of ${file.path} has two valid copies`);
  }
  requireKnownFormat(file, counting.superblock);
  if (!isSane(counting.superblock)) throw corrupt(`the superblock of ${file.path} says what cannot be`);
  return { ...counting, isEverywhere: supported(counting) === SUPERBLOCK_COPIES };
}

/** Writes a superblock to all copies, two at a time, so that a crash leaves the old one or the new one. */
export async function saveSuperblock(
  queue: Queue,
  file: DirectFile,
  superblock: Superblock,
  flusher: Flusher,
): Promise<bigint> {
  const { headerBytes, writeAlignment } = superblock.geometry;
  const block = allocateAligned(writeAlignment);
  const hash = encodeSuperblock(block, superblock);
  for (const pair of [
    [0, 1],
    [2, 3],
  ]) {
    await Promise.all(
      pair.map(async (copy) => {
        const offset = superblockOffset(headerBytes, copy);
        requireFull('write', await queue.write(file, block, { offset }), writeAlignment, file.path);
      }),
    );
    await flusher.flush();
  }
  return hash;
}

/** The superblock of an open store, and the one way to change it. */
export class SuperblockKeeper {
  readonly #queue: Queue;
  readonly #file: DirectFile;
  #current: Superblock;
  #hash: bigint;
  #saving: Promise<unknown> = Promise.resolve();
  readonly #flusher: Flusher;
  /** Whether all copies were the same when it was opened. */
  readonly isEverywhere: boolean;

  constructor(queue: Queue, file: DirectFile, flusher: Flusher, { superblock, hash, isEverywhere }: LoadedSuperblock) {
    this.#queue = queue;
    this.#file = file;
    this.#current = superblock;
    this.#hash = hash;
    this.isEverywhere = isEverywhere;
    this.#flusher = flusher;
  }

  get current(): Superblock {
    return this.#current;
  }

  /** Writes the current one with these changes, after whatever is being saved. Durable when it settles. */
  save(changes: Partial<Superblock>): Promise<void> {
    const saved = this.#saving.then(async () => {
      const next = { ...this.#current, ...changes, sequence: this.#current.sequence + 1, previousHash: this.#hash };
      this.#hash = await saveSuperblock(this.#queue, this.#file, next, this.#flusher);
      this.#current = next;
    });
    this.#saving = saved.catch(() => undefined);
    return saved;
  }
}

async function readCopies(queue: Queue, file: DirectFile): Promise<AlignedBuffer[]> {
  const sizeBytes = await file.sizeBytes();
  const blocks = Array.from({ length: SUPERBLOCK_COPIES }, () => allocateAligned(file.alignment.write));
  await Promise.all(
    blocks.map(async (block, copy) => {
      const offset = superblockOffset(HEADER_BYTES, copy);
      if (offset < sizeBytes) await queue.read(file, block, { offset });
    }),
  );
  return blocks;
}

/** Whether lengths and places are such that they can be used. Where they lead is looked at where they are followed. */
function isSane({ geometry, sequence, checkpointRoot, checkpointSequence, logStart, logEnd }: Superblock): boolean {
  const { pageBytes, writeAlignment, segmentBytes, headerBytes } = geometry;
  const numbers = [sequence, checkpointRoot, checkpointSequence, logStart.segmentSequence, logStart.lastSequenceBefore];
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
      `${file.path} orders its keys by comparator ${comparator}, unknown here`,
    );
  }
  if (file.alignment.offset > geometry.writeAlignment) {
    throw new AiokvError(
      'ERR_AIOKV_PAGE_SIZE',
      `${file.path} was made for blocks of ${geometry.writeAlignment} bytes and now lies on a device of ` +
        `${file.alignment.offset}: copy the store's contents into a new one`,
    );
  }
}
