/**
 * The store: control flow of the public calls. It knows nothing of the layout of frames and nodes.
 *
 * ```
 *   put, del, batch ─► check ─► write queue ─► admitted ─► log ─► acknowledged        (write/write-queue.ts)
 *   get, getMany    ─► point reads                                                    (read/point-reads.ts)
 *   iterator        ─► range reads                                                    (read/range-reads.ts)
 *   transaction     ─► transactions ─► point reads, range reads, write queue          (transaction/transactions.ts)
 *   checkpoint      ─► maintenance                                                    (maintenance/maintenance.ts)
 * ```
 *
 * STORE-1. A call is checked completely before it changes anything.
 * STORE-2. `close` may be called at any moment. Earlier calls settle; later calls are refused.
 */
import { AiokvTypeError, MIB } from '@aiokv/core';
import type { SpanReader } from './file/span-reader.ts';
import { Conditions } from './write/conditions.ts';
import { closed, compacting, compactionAborted } from './failure/errors.ts';
import { maxRecordBytes } from './format/extent.ts';
import { RecordKind } from './format/record.ts';
import { MOST_STEP_BYTES, NO_VALUE, conditionOf, expiresAtOfOptions, requireNoExpiry } from './write/write-batch.ts';
import type { BatchOperation, ConditionOptions, ExpiryOptions } from './write/write-batch.ts';
import type { StoreIterator } from './read/iterator.ts';
import { createKeyScratch, encodeKey, encodeValue } from './format/keys.ts';
import type { Bytes } from './format/keys.ts';
import { sequenceOfVersion } from './format/version.ts';
import { LogWriter } from './log/writer.ts';
import type { Durability } from './log/writer.ts';
import { PointReads } from './read/point-reads.ts';
import { mostReadAheadBytes } from './memory/budget.ts';
import { longReads } from './read/long-reads.ts';
import { RangeLookups } from './read/range-lookups.ts';
import { RangeQuestions } from './read/range-questions.ts';
import type { Asked } from './read/range-questions.ts';
import { RangeReads } from './read/range-reads.ts';
import { RecordReader } from './read/record-reader.ts';
import { Handles } from './read/handles.ts';
import { Snapshot } from './read/snapshot.ts';
import type { SnapshotParts } from './read/snapshot.ts';
import { Compaction } from './clean/compaction.ts';
import type { Versioned } from './read/results.ts';
import { durabilityOf, resolveCompactOptions } from './options.ts';
import type { CompactOptions, TouchOptions, WriteOptions } from './options.ts';
import { encodeDeletion } from './read/range.ts';
import type { KeyRange, RangeOptions } from './read/range.ts';
import { TurnBudget } from '@aiokv/core';
import type { Transaction } from './transaction/transaction.ts';
import { Transactions } from './transaction/transactions.ts';
import type { BeginOptions, TransactionBody, TransactionOptions } from './transaction/transactions.ts';
import { WarmRestart } from './warm/warm-restart.ts';
import type { StoreStatistics } from './statistics.ts';
import { WriteQueue } from './write/write-queue.ts';
import type { StoreParts } from './store-parts.ts';

/**
 * What walks over ranges takes of a turn, with what it looks at of long reads. It may be taken twice between two timers: once when
 * reads complete, once behind that. With a part for each of three, timers of 1 ms were 1.8 to 2.5 ms late (p99).
 */
const RANGES_MS = 0.5;

/** `close` writes a checkpoint if the next opening would have to replay more than this. */
const REPLAY_BYTES_AFTER_CLOSE = 4 * MIB;

/**
 * An open store. Keys and values are strings, stored as UTF-8, or bytes, and are copied before a call returns. An
 * invalid call rejects its promise; `getSync` and `iterator` throw.
 */
export class Store extends RangeQuestions implements AsyncDisposable {
  readonly #parts: StoreParts;
  readonly #reader: RecordReader;
  readonly #spans: SpanReader;
  readonly #points: PointReads;
  readonly #ranges: RangeReads;
  readonly #writes: WriteQueue;
  readonly #transactions: Transactions;
  readonly #warm: WarmRestart;
  readonly #lookups: RangeLookups;
  readonly #snapshots: SnapshotParts;
  readonly #key = createKeyScratch();
  #closing: Promise<void> | null = null;

  /** @internal Use `open`. */
  constructor(parts: StoreParts) {
    super();
    this.#parts = parts;
    const { geometry, options, queue, file, log, index, maintenance, gate, epochs, budget, pace } = parts;
    const { clock, memoryBytes } = options;
    const longestBytes = maxRecordBytes(geometry);
    this.#reader = new RecordReader({ index, queue, file, log, gate, epochs, pace, clock, longestBytes });
    const reader = this.#reader;
    const mostAheadBytes = mostReadAheadBytes(memoryBytes);
    const rangeBudget = new TurnBudget(clock, RANGES_MS);
    const spans = longReads({ queue, file, budget: rangeBudget, mostAheadBytes });
    this.#spans = spans;
    this.#points = new PointReads({ index, log, gate, reader, spans, epochs, budget, maintenance });
    this.#ranges = new RangeReads({
      budget: rangeBudget,
      index,
      log,
      reader,
      spans,
      maintenance,
      mostAheadBytes,
      clock,
    });
    const [points, ranges] = [this.#points, this.#ranges];
    this.#lookups = new RangeLookups({ gate, points, reader, maintenance, budget: rangeBudget });
    const handles: SnapshotParts['handles'] = new Handles('a snapshot was not ended (release(), using)', clock);
    this.#snapshots = { gate, open: parts.snapshots, points, ranges, lookups: this.#lookups, handles };
    const limits = {
      geometry,
      valueBytes: parts.superblocks.current.maxValueBytes,
      batchBytes: options.maxBatchBytes,
      stepBytes: Math.min(MOST_STEP_BYTES, LogWriter.maxStepBytes(geometry, options.writeBufferBytes)),
    };
    this.#writes = new WriteQueue({
      log,
      index,
      history: parts.history,
      maintenance,
      gate,
      geometry,
      clock,
      key: this.#key,
      conditions: new Conditions({ index, log, reader: this.#reader, epochs, budget }),
      limits,
      budget,
    });
    const { durability } = options;
    const [snapshots, writes] = [this.#snapshots, this.#writes];
    this.#transactions = new Transactions({ ...parts, snapshots, writes, limits, clock, durability });
    const background = TurnBudget.ofBackground(clock);
    const isOn = options.warmRestart;
    this.#warm = new WarmRestart({ ...parts, reader, spans, budget: background, clock, memoryBytes, isOn });
  }

  /** @internal Begins what a store does by itself. */
  start(): void {
    this.#warm.start();
  }

  /**
   * The value of a key at the moment of the call.
   *
   * @returns a copy, which belongs to the caller and never changes; undefined if the key does not exist
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO, ERR_AIOKV_CLOSED; ERR_AIOKV_LATCHED for a value that was not
   *   flushed when the store failed; AiokvTypeError ERR_AIOKV_INVALID_ARGUMENT, AiokvRangeError ERR_AIOKV_KEY_TOO_LARGE
   *   for a bad key
   */
  get(key: Bytes): Promise<Buffer | undefined> {
    try {
      this.#parts.gate.requireOpen();
      return this.#points.get(key);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Whether a key exists at the moment of the call. Reads no record. Throws as `get`. */
  has(key: Bytes): Promise<boolean> {
    try {
      this.#parts.gate.requireOpen();
      return this.#points.has(key);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** As `get`, but blocks the thread, and with it the event loop, until the device has answered. Throws as `get`. */
  getSync(key: Bytes): Buffer | undefined {
    this.#parts.gate.requireOpen();
    return this.#points.getSync(key);
  }

  /**
   * As `getSync`, for a caller that looks at the value and does not keep it: when it is in memory it is copied to memory that is
   * used again. It is valid until the callback that runs now, and what its promises do, is over. Do not write to it, and do not
   * transfer its buffer.
   */
  getView(key: Bytes): Buffer | undefined {
    this.#parts.gate.requireOpen();
    return this.#points.getView(key);
  }

  /**
   * As `get`, with the version of the value, and how long it has to live if it expires. Each write of a key gives it another version. A version is opaque: compare
   * two for equality, or pass one to `ifVersion`.
   */
  async getVersioned(key: Bytes): Promise<Versioned | undefined> {
    this.#parts.gate.requireOpen();
    return this.#points.getVersioned(key);
  }

  /**
   * The values of many keys at the moment of the call, in the order of the keys; undefined for a key that does not
   * exist. All reads are in flight at once, as far as the queue goes, and neighbours are one read.
   *
   * @throws as `get`, if any of the keys fails
   */
  getMany(keys: readonly Bytes[]): Promise<(Buffer | undefined)[]> {
    try {
      this.#parts.gate.requireOpen();
      return this.#points.getMany(keys);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Sets the value of a key: 0 to 4096 bytes of key, up to 64 MiB of value. Both are copied before the call returns, at
   * about a millisecond for each MiB. Reads see the value from then on, unless the write has to wait for room; a value
   * above 1 MiB is written in slices and seen when all of it is admitted.
   *
   * @returns settles when the write is as safe as `durability` says
   * @throws AiokvError ERR_AIOKV_NO_SPACE, ERR_AIOKV_LATCHED, ERR_AIOKV_CLOSED; ERR_AIOKV_CONDITION_FAILED if
   *   `ifAbsent` or `ifVersion` does not hold, with nothing written; ERR_AIOKV_CORRUPT, ERR_AIOKV_IO if the condition
   *   cannot be read; AiokvRangeError ERR_AIOKV_KEY_TOO_LARGE, ERR_AIOKV_RECORD_TOO_LARGE; AiokvTypeError
   *   ERR_AIOKV_INVALID_ARGUMENT, ERR_AIOKV_INVALID_OPTION
   */
  put(key: Bytes, value: Bytes, options?: Partial<WriteOptions>): Promise<void> {
    try {
      const level = this.#levelOf('put', options);
      const version = conditionOf(options);
      const expiresAtMs = expiresAtOfOptions('put', options, this.#parts.index.expiry);
      const bytes = encodeValue(value);
      const keyBytes = encodeKey(key, this.#key);
      if (version === null) return this.#writes.write(RecordKind.put, keyBytes, bytes, level, expiresAtMs);
      return this.#writes.writeIf(version, RecordKind.put, keyBytes, bytes, level, expiresAtMs);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Gives a value another time to live, and the key another version. It writes the value again: a long one costs what a `put` of it
   * costs. A value that is written by someone else meanwhile is the one that gets the time.
   *
   * @param options `ttlMs` or `expiresAt`, and `durability`
   * @returns false if the key does not exist, or is over: nothing was written
   * @throws as `put`, and as `get`
   */
  async touch(key: Bytes, options: Partial<TouchOptions>): Promise<boolean> {
    const level = this.#levelOf('touch', options);
    const expiresAtMs = expiresAtOfOptions('touch', options, this.#parts.index.expiry);
    if (expiresAtMs === 0 || conditionOf(options as ConditionOptions) !== null) {
      throw new AiokvTypeError('ERR_AIOKV_INVALID_OPTION', 'touch: give ttlMs or expiresAt, and no condition');
    }
    // The caller may change its bytes.
    const own = this.#key.slice(0, encodeKey(key, this.#key));
    for (;;) {
      this.#parts.gate.requireOpen();
      const found = await this.#points.getVersioned(own);
      if (found === undefined) return false;
      this.#levelOf('touch', undefined);
      this.#key.set(own);
      const version = sequenceOfVersion(found.version) as number;
      try {
        await this.#writes.writeIf(version, RecordKind.put, own.length, found.value, level, expiresAtMs);
        return true;
      } catch (error) {
        // Someone else has written the key, or it is over: it is read again.
        if ((error as { code?: unknown }).code !== 'ERR_AIOKV_CONDITION_FAILED') throw error;
      }
    }
  }

  /** Removes a key. It is no error if the key does not exist. Settles and throws as `put`. */
  del(key: Bytes, options?: Partial<WriteOptions>): Promise<void> {
    try {
      const level = this.#levelOf('del', options);
      this.#requireNoExpiry('del', options);
      const version = conditionOf(options);
      const keyBytes = encodeKey(key, this.#key);
      if (version === null) return this.#writes.write(RecordKind.del, keyBytes, NO_VALUE, level);
      return this.#writes.writeIf(version, RecordKind.del, keyBytes, NO_VALUE, level);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Removes all keys of a range: one record, however many there are. Reads see it at once, iterators that are open do not.
   * The space comes back in the background. A range without keys, such as one that ends before it begins, is no error.
   * Conditions are about one key: this has none. Settles and throws as `put`, and as `iterator` for a bad range.
   */
  deleteRange(range: Partial<KeyRange>, options?: Partial<WriteOptions>): Promise<void> {
    return this.#deleteRange('deleteRange', range, options);
  }

  /** Removes all keys: `deleteRange` without bounds. Settles and throws as it does. */
  clear(options?: Partial<WriteOptions>): Promise<void> {
    return this.#deleteRange('clear', {}, options);
  }

  #deleteRange(call: string, range: Partial<KeyRange>, options: Partial<WriteOptions> | undefined): Promise<void> {
    try {
      const level = this.#levelOf(call, options);
      this.#requireNoExpiry(call, options);
      if (conditionOf(options) !== null) {
        throw new AiokvTypeError('ERR_AIOKV_INVALID_OPTION', `${call}: ifAbsent and ifVersion are about one key`);
      }
      const { from, to, isEmpty } = encodeDeletion(call, range);
      if (isEmpty) return this.#writes.batch([], level);
      this.#key.set(from);
      return this.#writes.write(RecordKind.deleteRange, from.length, to ?? NO_VALUE, level);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Applies all operations or none, in order. Operations may have conditions, which are about the state before the
   * batch; if one does not hold, nothing is written. A batch of more than 1 MiB or 256 operations is admitted in
   * slices; reads see it when all of it is admitted.
   *
   * @throws as `put`, and AiokvRangeError ERR_AIOKV_BATCH_TOO_LARGE above `maxBatchBytes`
   */
  batch(operations: readonly BatchOperation[], options?: Partial<WriteOptions>): Promise<void> {
    try {
      const level = this.#levelOf('batch', options);
      this.#requireNoExpiry('batch', options);
      if (conditionOf(options) !== null) {
        throw new AiokvTypeError(
          'ERR_AIOKV_INVALID_OPTION',
          'batch: ifAbsent and ifVersion belong to the operations, not to the batch',
        );
      }
      return this.#writes.batch(operations, level);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * The entries of a range as `[key, value]`, ordered bytewise by key, as they are at the moment of the call. Keys and
   * values are copies that belong to the caller. End it early with `return()` or by leaving the loop: until then the
   * space of what it may still read does not come back.
   *
   * @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION; ERR_AIOKV_INVALID_ARGUMENT, AiokvRangeError
   *   ERR_AIOKV_KEY_TOO_LARGE for a bad bound; AiokvError ERR_AIOKV_CLOSED
   */
  iterator(options?: Partial<RangeOptions>): StoreIterator {
    this.#parts.gate.requireOpen();
    return this.#ranges.iterator(options);
  }

  /** The keys of a range, as they are at the moment of the call. Reads no record. Otherwise as `iterator`. */
  keys(options?: Partial<RangeOptions>): StoreIterator<Buffer> {
    this.#parts.gate.requireOpen();
    return this.#ranges.keys(options);
  }

  /** The values of a range, in the order of their keys. Otherwise as `iterator`. */
  values(options?: Partial<RangeOptions>): StoreIterator<Buffer> {
    this.#parts.gate.requireOpen();
    return this.#ranges.values(options);
  }

  /** @internal */
  protected override ask(): Asked {
    this.#parts.gate.requireOpen();
    return { lookups: this.#lookups, moment: this.#parts.index.snapshot() };
  }

  /**
   * The store as it is at the moment of the call, to be read later, any number of times. It costs nothing to take one. Until it ends,
   * the space of what it may still read does not come back. End it with `release()`, or with `using`. The oldest ones end by
   * themselves when snapshots hold too much of `memoryBytes` (docs/errors.md, ERR_AIOKV_SNAPSHOT_ENDED).
   *
   * @throws AiokvError ERR_AIOKV_CLOSED
   */
  snapshot(): Snapshot {
    this.#parts.gate.requireOpen();
    return new Snapshot(this.#snapshots);
  }

  /**
   * A transaction that begins now. End it with `commit()` or `rollback()`; `await using` rolls back what was not committed.
   *
   * @throws AiokvError ERR_AIOKV_CLOSED; AiokvTypeError ERR_AIOKV_INVALID_OPTION
   */
  begin(options?: Partial<BeginOptions>): Transaction {
    this.#parts.gate.requireOpen();
    return this.#transactions.begin(options);
  }

  /**
   * Runs a function with a transaction, and commits what it has written. All transactions, and all other writes, are as if they had
   * run one after the other. If others have written what it has read, it is run again, with a new transaction. If it throws, nothing is written.
   *
   * @returns what the function has returned, when its writes are as safe as `durability` says
   * @throws what the function throws; AiokvError ERR_AIOKV_CONFLICT after `maxAttempts`; as `batch`
   */
  async transaction<T>(run: TransactionBody<T>, options?: Partial<TransactionOptions>): Promise<T> {
    this.#parts.gate.requireOpen();
    return this.#transactions.run(run, options);
  }

  /**
   * Settles when every write called before survives power loss.
   *
   * @throws AiokvError ERR_AIOKV_LATCHED, ERR_AIOKV_CLOSED
   */
  async flush(): Promise<void> {
    this.#parts.gate.requireOpen();
    await this.#writes.settled();
    await this.#parts.log.durable('flushed');
  }

  /**
   * Merges recent writes into the index on the device now, so that the next opening need not replay them, and removes
   * garbage if there is much. The store does this by itself, from time to time and in `close`.
   *
   * @returns settles when the checkpoint is durable
   * @throws AiokvError ERR_AIOKV_NO_SPACE, ERR_AIOKV_LATCHED, ERR_AIOKV_CLOSED; SystemCallError. The last checkpoint
   *   stays valid
   */
  async checkpoint(): Promise<void> {
    this.#parts.gate.requireOpen();
    await this.#writes.settled();
    await this.#parts.maintenance.checkpoint();
  }

  /**
   * Puts all records into the order of their keys, removes all garbage, and cuts the file to size. Takes some seconds a
   * gigabyte, and space: a sixteenth of the file and the size of the index, beside what new writes take. The store can be
   * used meanwhile; reads and writes take longer. It is good at every moment, however the compaction ends.
   *
   * @returns settles when it is done
   * @throws AiokvError ERR_AIOKV_COMPACTING if a compaction is under way; ERR_AIOKV_ABORTED; ERR_AIOKV_NO_SPACE,
   *   ERR_AIOKV_LATCHED, ERR_AIOKV_CLOSED; AiokvTypeError ERR_AIOKV_INVALID_OPTION; SystemCallError
   */
  async compact(options?: Partial<CompactOptions>): Promise<void> {
    const { gate, maintenance } = this.#parts;
    gate.requireOpen();
    gate.requireWritable();
    const { signal, onProgress } = resolveCompactOptions(options);
    if (signal?.aborted === true) throw compactionAborted(signal.reason);
    if (maintenance.isCompacting) throw compacting();
    const compaction = new Compaction(this.#parts.compaction);
    const onAbort = (): void => compaction.abort();
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      await maintenance.compact(compaction, () => {
        const { doneBytes, totalBytes } = compaction;
        onProgress?.({ doneBytes, totalBytes });
      });
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
    if (!compaction.isDone) throw compactionAborted(signal?.reason);
  }

  statistics(): StoreStatistics {
    const { log, index, options, queue, superblocks, checkpointer, maintenance, snapshots } = this.#parts;
    return {
      checkpointSequence: superblocks.current.checkpointSequence,
      sequence: index.admittedThrough,
      flushedThrough: log.flushedThrough,
      expiryHorizonMs: superblocks.current.expiryHorizonMs,
      memory: {
        limitBytes: options.memoryBytes,
        memtableBytes: index.memtableBytes,
        pageBytes: index.pageBytes - this.#ranges.lentUnitBytes,
        cacheBytes: index.values.unitBytes + index.values.besideBytes,
        addressBytes: index.addresses.bytes,
        writeBufferBytes: log.bufferBytes,
        readBufferBytes:
          this.#reader.bufferBytes + this.#points.views.bytes + this.#spans.bufferBytes + index.pager.bufferBytes,
        readAheadBytes: this.#ranges.readAheadBytes,
      },
      cache: index.values.statistics,
      warm: this.#warm.statistics,
      addresses: index.addresses.statistics,
      iterators: this.#ranges.count,
      snapshots: snapshots.statistics,
      transactions: this.#transactions.statistics,
      pageReads: index.pageReads,
      space: checkpointer.space,
      written: checkpointer.written,
      io: this.#parts.io,
      order: maintenance.orderStatistics,
      queue: queue.statistics(),
    };
  }

  /**
   * Ends iterators, flushes, waits for what is in flight and releases the directory. May be called at any moment and
   * more than once.
   *
   * @throws AiokvError ERR_AIOKV_LATCHED if the last writes could not be flushed; the directory is released anyway
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal As `ReadEpochs.olderEnded`: for tests. */
  readsEnded(): Promise<void> {
    return this.#parts.epochs.olderEnded();
  }

  /** @internal Throws if an invariant of the index does not hold. Slow: for tests. */
  verifyIndex(): void {
    this.#parts.index.verify();
  }

  /** @internal Counts again what lives in each segment, and throws if the segment table is wrong. Slow: for tests. */
  async verifySegments(): Promise<void> {
    await this.#parts.maintenance.verify();
  }

  async #close(): Promise<void> {
    const { log, queue, file, index, maintenance, gate } = this.#parts;
    gate.close();
    this.#ranges.close(closed());
    this.#parts.snapshots.close();
    this.#snapshots.handles.stop();
    const isWarm = this.#warm.stop();
    try {
      await this.#writes.settled();
      if (gate.log === null) {
        await log.durable('flushed');
        await this.#saveEnd();
      }
    } finally {
      // From top to bottom: what has stopped asks nothing of the layers below.
      await maintenance.stop();
      await isWarm;
      // A read by an address may go on with a page.
      await this.#reader.quiet();
      // Before the record reader: a page that arrives may start reads of records.
      await index.quiet();
      await this.#spans.quiet();
      await this.#reader.quiet();
      await log.close();
      // Nothing changes any more, and the lock of the data file is still held (HOT-2).
      if (gate.log === null) await this.#warm.end();
      try {
        await queue.close();
      } finally {
        await file.close();
      }
    }
  }

  /** Saves what makes the next opening fast: a checkpoint if there is much to replay, and the end of the log. */
  async #saveEnd(): Promise<void> {
    const { log, superblocks, checkpointer, maintenance, gate } = this.#parts;
    await maintenance.settle();
    if (checkpointer.uncoveredBytes > REPLAY_BYTES_AFTER_CLOSE && gate.writes === null) {
      // Best effort: without it the next opening takes longer. A full device must not fail the close.
      await maintenance.checkpoint().catch((error: unknown) => {
        if (gate.log !== null) throw error;
      });
    }
    // First: a checkpoint that ends later would clear `logEnd` again.
    await maintenance.stop();
    if (gate.log !== null) throw gate.log;
    const { logEnd, incompatibleFeatures } = superblocks.current;
    // EXPIRY-1.
    const { expiry } = this.#parts.index;
    if (log.appendedThrough === logEnd?.lastSequence && !expiry.isUsed) return;
    try {
      await superblocks.save({ logEnd: log.end, ...expiry.noted(incompatibleFeatures) });
    } catch (error) {
      throw log.fail(error);
    }
  }

  #requireNoExpiry(call: string, options: ExpiryOptions | undefined): void {
    requireNoExpiry(call, expiresAtOfOptions(call, options, this.#parts.index.expiry));
  }

  #levelOf(call: string, options: Partial<WriteOptions> | undefined): Durability {
    this.#parts.gate.requireOpen();
    this.#parts.gate.requireWritable();
    return durabilityOf(call, options, this.#parts.options.durability);
  }
}
