/**
 * The store: the control flow of the public calls, and nothing of how a frame or a node looks.
 *
 * ```
 *   put, del, batch ─► check ─► write queue ─► admitted ─► log ─► acknowledged        (write/write-queue.ts)
 *   get, getMany    ─► point reads                                                    (read/point-reads.ts)
 *   iterator        ─► range reads                                                    (read/range-reads.ts)
 *   checkpoint      ─► maintenance                                                    (maintenance/maintenance.ts)
 * ```
 *
 * STORE-1. Whatever is wrong with a call is found before anything changes.
 * STORE-2. `close` may be called at any moment. What was called before settles; what is called after is refused.
 */
import { AiokvTypeError, MIB, refuseUnknown } from '@aiokv/core';
import type { DirectFile, Queue, QueueStatistics } from '@aiokv/aio';
import type { FailureGate } from './failure/failure-gate.ts';
import { Conditions } from './write/conditions.ts';
import { closed } from './failure/errors.ts';
import { maxRecordBytes } from './format/extent.ts';
import { RecordKind } from './format/record.ts';
import type { Geometry } from './format/superblock.ts';
import { MOST_STEP_BYTES, NO_VALUE, conditionOf } from './write/write-batch.ts';
import type { BatchOperation } from './write/write-batch.ts';
import type { StoreIterator } from './read/iterator.ts';
import type { KeyIndex } from './index/key-index.ts';
import { createKeyScratch, encodeKey, encodeValue } from './format/keys.ts';
import type { Bytes } from './format/keys.ts';
import { LogWriter } from './log/writer.ts';
import type { Durability } from './log/writer.ts';
import { PointReads } from './read/point-reads.ts';
import { RangeReads } from './read/range-reads.ts';
import { RecordReader } from './read/record-reader.ts';
import type { Checkpointer } from './checkpoint/checkpointer.ts';
import type { Maintenance } from './maintenance/maintenance.ts';
import type { Versioned } from './read/results.ts';
import { DURABILITIES, WRITE_OPTION_NAMES } from './options.ts';
import type { StoreOptions, WriteOptions } from './options.ts';
import type { RangeOptions } from './read/range.ts';
import type { SuperblockKeeper } from './file/superblocks.ts';
import type { TurnBudget } from '@aiokv/core';
import { WriteQueue } from './write/write-queue.ts';

export interface StoreStatistics {
  /**
   * Sequence number of the latest write that reads see. Each write takes one, deletions counted, and one more for each
   * fragment of a value that is too long for one record.
   */
  readonly sequence: number;
  /** ... of which are in a checkpoint. */
  readonly checkpointSequence: number;
  /** ... of which have been flushed. */
  readonly flushedThrough: number;
  /** Memory that the index takes up. */
  readonly indexBytes: number;
  /** Index pages that were read because they were not in memory. */
  readonly pageReads: number;
  readonly queue: QueueStatistics;
}

/** What `open` hands over. */
export interface StoreParts {
  readonly options: StoreOptions;
  readonly geometry: Geometry;
  readonly file: DirectFile;
  readonly queue: Queue;
  readonly log: LogWriter;
  readonly index: KeyIndex;
  readonly budget: TurnBudget;
  readonly superblocks: SuperblockKeeper;
  readonly checkpointer: Checkpointer;
  readonly maintenance: Maintenance;
  readonly gate: FailureGate;
}

/** A close leaves no more of the log than this to be replayed. */
const REPLAY_BYTES_AFTER_CLOSE = 4 * MIB;

export class Store implements AsyncDisposable {
  readonly #parts: StoreParts;
  readonly #reader: RecordReader;
  readonly #points: PointReads;
  readonly #ranges: RangeReads;
  readonly #writes: WriteQueue;
  readonly #key = createKeyScratch();
  #closing: Promise<void> | null = null;

  /** @internal Stores are made by `open`. */
  constructor(parts: StoreParts) {
    this.#parts = parts;
    const { geometry, options, queue, file, log, index, maintenance, gate, budget } = parts;
    this.#reader = new RecordReader(queue, file, log, maxRecordBytes(geometry));
    this.#points = new PointReads({ index, log, reader: this.#reader, budget });
    this.#ranges = new RangeReads(index, this.#points);
    this.#writes = new WriteQueue({
      log,
      index,
      maintenance,
      gate,
      geometry,
      clock: options.clock,
      key: this.#key,
      conditions: new Conditions({ index, log, reader: this.#reader, budget }),
      limits: {
        geometry,
        valueBytes: parts.superblocks.current.maxValueBytes,
        batchBytes: options.maxBatchBytes,
        stepBytes: Math.min(MOST_STEP_BYTES, LogWriter.maxStepBytes(geometry, options.writeBufferBytes)),
      },
      budget,
    });
  }

  /**
   * The value of a key as it is at the moment of the call, or undefined.
   *
   * @returns a copy that belongs to the caller
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO, ERR_AIOKV_CLOSED; AiokvTypeError for a bad key
   */
  get(key: Bytes): Promise<Buffer | undefined> {
    try {
      this.#requireOpen();
      return this.#points.get(key);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** As `get`, while the thread waits for the device. */
  getSync(key: Bytes): Buffer | undefined {
    this.#requireOpen();
    return this.#points.getSync(key);
  }

  /**
   * As `get`, with the version of the value, which `ifVersion` takes. Each write of a key gives it another version; two
   * versions may be compared for equality, and nothing else.
   */
  async getVersioned(key: Bytes): Promise<Versioned | undefined> {
    this.#requireOpen();
    return this.#points.getVersioned(key);
  }

  /**
   * The values of many keys at the moment of the call, in their order; all reads are in flight at once.
   *
   * @throws as `get`, when any of the keys fails
   */
  async getMany(keys: readonly Bytes[]): Promise<(Buffer | undefined)[]> {
    this.#requireOpen();
    if (!Array.isArray(keys)) {
      throw new AiokvTypeError('ERR_AIOKV_INVALID_ARGUMENT', 'getMany takes an array of keys');
    }
    return this.#points.getMany(keys, this.#requireOpen);
  }

  /**
   * Sets the value of a key. Key and value are copied before the call returns, which takes about a millisecond for each
   * MiB of a long value; the rest is done in slices. Reads see a value of more than 1 MiB when all of it is admitted.
   *
   * @returns settles when the write is as safe as asked for
   * @throws AiokvError ERR_AIOKV_NO_SPACE, ERR_AIOKV_LATCHED, ERR_AIOKV_CLOSED, and with `ifAbsent` or `ifVersion`
   *   ERR_AIOKV_CONDITION_FAILED when it does not hold: nothing was written then; AiokvRangeError
   *   ERR_AIOKV_KEY_TOO_LARGE, ERR_AIOKV_RECORD_TOO_LARGE for a value above 64 MiB; AiokvTypeError for a bad key or value
   */
  put(key: Bytes, value: Bytes, options?: Partial<WriteOptions>): Promise<void> {
    try {
      const level = this.#levelOf('put', options);
      const version = conditionOf(options);
      const bytes = encodeValue(value);
      const keyBytes = encodeKey(key, this.#key);
      if (version === null) return this.#writes.write(RecordKind.put, keyBytes, bytes, level);
      return this.#writes.writeIf(version, RecordKind.put, keyBytes, bytes, level);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Removes a key; no error when it is not there. Throws as `put`. */
  del(key: Bytes, options?: Partial<WriteOptions>): Promise<void> {
    try {
      const level = this.#levelOf('del', options);
      const version = conditionOf(options);
      const keyBytes = encodeKey(key, this.#key);
      if (version === null) return this.#writes.write(RecordKind.del, keyBytes, NO_VALUE, level);
      return this.#writes.writeIf(version, RecordKind.del, keyBytes, NO_VALUE, level);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Applies all operations or none, in their order. Operations may have conditions, which are about the state before
   * the batch; when one of them does not hold, nothing is written. A batch of more than 1 MiB or 256 operations waits
   * for its turn and is admitted in slices; reads see it when all of it is.
   *
   * @throws as `put`, and AiokvRangeError ERR_AIOKV_BATCH_TOO_LARGE above `maxBatchBytes`
   */
  batch(operations: readonly BatchOperation[], options?: Partial<WriteOptions>): Promise<void> {
    try {
      const level = this.#levelOf('batch', options);
      if (conditionOf(options) !== null) {
        throw new AiokvTypeError(
          'ERR_AIOKV_INVALID_OPTION',
          'a batch has no condition of its own: its operations have',
        );
      }
      return this.#writes.batch(operations, level);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Entries of a range in key order, as they are at the moment of the call.
   *
   * @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION, AiokvError ERR_AIOKV_CLOSED
   */
  iterator(options?: Partial<RangeOptions>): StoreIterator {
    this.#requireOpen();
    return this.#ranges.iterator(options);
  }

  /** Settles when every write admitted before it survives power loss. */
  async flush(): Promise<void> {
    this.#requireOpen();
    await this.#writes.settled();
    await this.#parts.log.durable('flushed');
  }

  /**
   * Writes the index to the device now, so that an opening need not replay the log before this. The store does so by
   * itself, by and by and when it is closed.
   *
   * @throws AiokvError ERR_AIOKV_NO_SPACE, ERR_AIOKV_LATCHED, ERR_AIOKV_CLOSED; SystemCallError
   */
  async checkpoint(): Promise<void> {
    this.#requireOpen();
    await this.#writes.settled();
    await this.#parts.maintenance.checkpoint();
  }

  statistics(): StoreStatistics {
    const { log, index, queue, superblocks } = this.#parts;
    return {
      checkpointSequence: superblocks.current.checkpointSequence,
      sequence: index.admittedThrough,
      flushedThrough: log.flushedThrough,
      indexBytes: index.memoryBytes,
      pageReads: index.pageReads,
      queue: queue.statistics(),
    };
  }

  /** Ends iterators, flushes, waits for what is in flight, and lets go of the directory. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal Throws when the index is not what it must be. Slow: for tests. */
  verifyIndex(): void {
    this.#parts.index.verify();
  }

  readonly #requireOpen = (): void => {
    if (this.#closing !== null) throw closed();
  };

  async #close(): Promise<void> {
    const { log, queue, file, index, maintenance, gate } = this.#parts;
    this.#ranges.close(closed());
    try {
      await this.#writes.settled();
      if (gate.log === null) {
        await log.durable('flushed');
        await this.#saveEnd();
      }
    } finally {
      // From the top to the bottom: what is stopped asks nothing of those below any more.
      await maintenance.stop();
      // A page that comes in may have records read.
      await index.quiet();
      await this.#reader.quiet();
      await log.close();
      try {
        await queue.close();
      } finally {
        await file.close();
      }
    }
  }

  /** Leaves behind what the next opening needs: a checkpoint if much would have to be replayed, and the end of the log. */
  async #saveEnd(): Promise<void> {
    const { log, superblocks, checkpointer, maintenance, gate } = this.#parts;
    await maintenance.settle();
    if (checkpointer.uncoveredBytes > REPLAY_BYTES_AFTER_CLOSE && gate.writes === null) {
      // Without it the next opening takes longer, and nothing else; a full device is no reason not to close.
      await maintenance.checkpoint().catch((error: unknown) => {
        if (gate.log !== null) throw error;
      });
    }
    // A checkpoint that is saved later would take the end of the log for one that writes have passed.
    await maintenance.stop();
    if (log.appendedThrough === superblocks.current.logEnd?.lastSequence) return;
    try {
      await superblocks.save({ logEnd: log.end });
    } catch (error) {
      throw log.fail(error);
    }
  }

  #levelOf(call: string, options: Partial<WriteOptions> | undefined): Durability {
    this.#requireOpen();
    this.#parts.gate.requireWritable();
    if (options === undefined) return this.#parts.options.durability;
    refuseUnknown(call, WRITE_OPTION_NAMES, options);
    const level = options.durability;
    if (level === undefined) return this.#parts.options.durability;
    if (!DURABILITIES.includes(level)) {
      throw new AiokvTypeError(
        'ERR_AIOKV_INVALID_OPTION',
        `${call}: durability must be one of ${DURABILITIES.join(', ')}, not ${level as string}`,
      );
    }
    return level;
  }
}
