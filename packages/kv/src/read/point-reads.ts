/**
 * Point reads: from a key to its value at the moment of the call.
 *
 * ```
 *   key ─► values.find ─► there: a copy
 *             └─► index.find ─┬─► not there, or a tiny value, which the entry holds
 *                             ├─► index.findLater   (the leaf is not in memory: reads it, then as below)
 *                             └─► log.unwritten ─┬─► its record is not on the device yet: from memory
 *                                                └─► reader.readDevice   (one read of the record's sectors)
 * ```
 *
 * A read that is not answered in the step of its lookup is in an epoch (EPOCH-1): the reader enters in that step, and a
 * lookup that waits for its leaf enters for itself.
 *
 * A `get` enters the index and the log once each. This file knows neither the layout of records and leaves nor whether
 * the store is closed.
 */
import { Fifo, KIB, nextTurn, setImmediate } from '@aiokv/core';
import type { Sequence, TurnBudget } from '@aiokv/core';
import type { ValueCache } from '../cache/value-cache.ts';
import type { FailureGate } from '../failure/failure-gate.ts';
import type { ReadEpochs } from '../file/read-epochs.ts';
import type { SpanReader } from '../file/span-reader.ts';
import { fileOffsetOf, isInFragments, isInline, lengthOf } from '../format/index-entry.ts';
import { createKeyScratch, encodeKey } from '../format/keys.ts';
import type { Bytes } from '../format/keys.ts';
import { copyValue, isExtent } from '../format/record.ts';
import type { KeyIndex, LateAnswer } from '../index/key-index.ts';
import { Entry, FOUND, MISSING } from '../tree/index.ts';
import type { AbsentLeaf, Lookup } from '../tree/index.ts';
import { KeyList } from './key-list.ts';
import { NeighbourReads } from './neighbour-reads.ts';
import type { NeighbourReadsParts } from './neighbour-reads.ts';
import type { RecordReader, UnwrittenRecords } from './record-reader.ts';
import { GetResult, ManyResult, VersionedResult } from './results.ts';
import type { LookupResult, Versioned } from './results.ts';
import { ViewMemory } from './view-memory.ts';

export interface PointReadsParts {
  readonly index: KeyIndex;
  readonly log: UnwrittenRecords;
  readonly gate: FailureGate;
  readonly reader: RecordReader;
  readonly spans: SpanReader;
  readonly epochs: ReadEpochs;
  readonly budget: TurnBudget;
}

/** `getMany` looks up this many keys in one step. More are looked up in a snapshot, this many in a turn. */
const LOOKUPS_AT_ONCE = 1024;
/** Delayed answers are given in one turn as long as fewer operations than this have made them: their callers run on in the same turn. */
const SETTLED_AT_ONCE = 256;

/** Keys of lookups that wait for their leaves share arrays of so many bytes. */
const PACKED_BYTES = 8 * KIB;

/** An answer that needed no device but is given in a later turn: see `#settled`. */
interface Settled {
  readonly answer: unknown;
  readonly operations: number;
  resolve(answer: unknown): void;
}

/**
 * Keys of lookups that wait, side by side: an array for each would take some 250 bytes, and a hundred thousand may wait. The
 * memory of some goes with the last lookup that refers to it.
 */
class PackedKeys {
  /** Where the last key was added. */
  bytes = new Uint8Array(0);
  #used = 0;

  /** Returns where in `bytes` the key is. */
  add(key: Uint8Array, keyBytes: number): number {
    if (this.bytes.length - this.#used < keyBytes) {
      this.bytes = new Uint8Array(Math.max(PACKED_BYTES, keyBytes));
      this.#used = 0;
    }
    const at = this.#used;
    for (let i = 0; i < keyBytes; i++) this.bytes[at + i] = key[i] as number;
    this.#used += keyBytes;
    return at;
  }
}

/**
 * A lookup that waits for its leaf. Its record is read next. It stays in the epoch of the lookup until that read has
 * ended: the leaf may name a place that newer leaves do not name any more.
 */
class LateLookup implements LateAnswer, LookupResult {
  readonly #reader: RecordReader;
  readonly #epochs: ReadEpochs;
  readonly #epoch: number;
  readonly #keys: Uint8Array;
  readonly #keyAt: number;
  readonly #keyBytes: number;
  readonly #result: LookupResult;
  readonly #token: number;

  constructor(
    reader: RecordReader,
    epochs: ReadEpochs,
    keys: PackedKeys,
    key: Uint8Array,
    keyBytes: number,
    result: LookupResult,
    token: number,
  ) {
    this.#reader = reader;
    this.#epochs = epochs;
    this.#epoch = epochs.enter();
    this.#keyAt = keys.add(key, keyBytes);
    this.#keys = keys.bytes;
    this.#keyBytes = keyBytes;
    this.#result = result;
    this.#token = token;
  }

  get seenAt(): Sequence | undefined {
    return this.#result.seenAt;
  }

  get key(): Uint8Array {
    return this.#keys.subarray(this.#keyAt, this.#keyAt + this.#keyBytes);
  }

  foundLate(entry: Entry): void {
    this.#reader.readEntry(entry, this.key, this.#keyBytes, this, this.#token);
  }

  missingLate(): void {
    this.missing(this.#token);
  }

  failedLate(error: Error): void {
    this.failed(this.#token, error);
  }

  found(token: number, value: Buffer, version: number): void {
    this.#epochs.leave(this.#epoch);
    this.#result.found(token, value, version);
  }

  missing(token: number): void {
    this.#epochs.leave(this.#epoch);
    this.#result.missing(token);
  }

  failed(token: number, error: Error): void {
    this.#epochs.leave(this.#epoch);
    this.#result.failed(token, error);
  }
}

/** Whether a key exists, by its leaf alone. No record is read, so no place has to stay as it is. */
class LateExistence implements LateAnswer {
  readonly promise: Promise<boolean>;
  readonly key: Uint8Array;
  readonly #reader: RecordReader;
  #resolve!: (exists: boolean) => void;
  #reject!: (error: Error) => void;

  constructor(reader: RecordReader, key: Uint8Array) {
    this.#reader = reader;
    this.key = key;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  foundLate(entry: Entry): void {
    const refusal = this.#reader.refusalFor(entry);
    if (refusal === null) this.#resolve(true);
    else this.#reject(refusal);
  }

  missingLate(): void {
    this.#resolve(false);
  }

  failedLate(error: Error): void {
    this.#reject(error);
  }
}

export class PointReads {
  readonly views = new ViewMemory();
  readonly #index: KeyIndex;
  readonly #values: ValueCache;
  readonly #log: UnwrittenRecords;
  readonly #gate: FailureGate;
  readonly #reader: RecordReader;
  readonly #epochs: ReadEpochs;
  readonly #nearParts: NeighbourReadsParts;
  readonly #budget: TurnBudget;
  /** Scratch for the key of the current call and its entry. Valid within one step. */
  readonly #key = createKeyScratch();
  readonly #entry = new Entry();
  readonly #settledLater = new Fifo<Settled>();
  readonly #waitingKeys = new PackedKeys();

  constructor({ index, log, gate, reader, spans, epochs, budget }: PointReadsParts) {
    this.#index = index;
    this.#values = index.values;
    this.#log = log;
    this.#gate = gate;
    this.#reader = reader;
    this.#epochs = epochs;
    this.#nearParts = { index, reader, spans, epochs };
    this.#budget = budget;
  }

  get(key: Bytes): Promise<Buffer | undefined> {
    const keyBytes = encodeKey(key, this.#key);
    if (this.#values.find(this.#key, keyBytes)) return this.#settled(this.#cachedValue());
    const entry = this.#entry;
    const outcome = this.#index.find(this.#key, keyBytes, entry);
    if (outcome === MISSING) return this.#settled(undefined);
    if (outcome !== FOUND) return this.#getLater(outcome, keyBytes);
    if (isInline(entry)) return this.#settled(this.#reader.inlineValue(entry));
    const fileOffset = fileOffsetOf(entry);
    const place = this.#log.unwritten(fileOffset);
    if (place !== null && !isExtent(place.block.view, place.offset)) {
      if (this.#gate.log !== null) throw this.#gate.log;
      this.#index.cacheValue(place.block, place.offset, this.#index.admittedThrough);
      return this.#settled(copyValue(place.block, place.offset));
    }
    return new Promise((resolve) => {
      const result = new GetResult(this.#index.admittedThrough, resolve);
      if (place !== null) this.#reader.answer(place.block, place.offset, result, 0);
      else this.#reader.readDevice(fileOffset, lengthOf(entry), this.#key, keyBytes, result, 0);
    });
  }

  has(key: Bytes): Promise<boolean> {
    const keyBytes = encodeKey(key, this.#key);
    const outcome = this.#index.find(this.#key, keyBytes, this.#entry);
    if (outcome !== FOUND && outcome !== MISSING) {
      const late = new LateExistence(this.#reader, this.#key.slice(0, keyBytes));
      this.#index.findLater(outcome, late);
      return late.promise;
    }
    const refusal = outcome === FOUND ? this.#reader.refusalFor(this.#entry) : null;
    if (refusal !== null) throw refusal;
    return this.#inTurn(Promise.resolve(outcome === FOUND), 1);
  }

  getSync(key: Bytes): Buffer | undefined {
    const keyBytes = encodeKey(key, this.#key);
    return this.#values.find(this.#key, keyBytes) ? this.#cachedValue() : this.#readSync(keyBytes);
  }

  /** As `getSync`, but the value may be in memory that is used again (VIEW-1). */
  getView(key: Bytes): Buffer | undefined {
    const keyBytes = encodeKey(key, this.#key);
    if (!this.#values.find(this.#key, keyBytes)) return this.#readSync(keyBytes);
    this.#requireShown();
    const view = this.views.take(this.#values.valueBytes);
    this.#values.copyTo(view);
    return view;
  }

  /** Continues a `getSync` whose value is not cached. Its key is in the scratch. */
  #readSync(keyBytes: number): Buffer | undefined {
    const entry = this.#entry;
    const outcome = this.#index.find(this.#key, keyBytes, entry);
    if (outcome === MISSING) return undefined;
    if (outcome !== FOUND && !this.#index.findSync(outcome, this.#key, keyBytes, entry)) return undefined;
    if (isInline(entry)) return this.#reader.inlineValue(entry);
    const { admittedThrough } = this.#index;
    return this.#reader.readSync(fileOffsetOf(entry), lengthOf(entry), this.#key, keyBytes, admittedThrough);
  }

  getVersioned(key: Bytes): Promise<Versioned | undefined> {
    const keyBytes = encodeKey(key, this.#key);
    const result = new VersionedResult(this.#index.admittedThrough);
    if (this.#values.find(this.#key, keyBytes)) result.found(0, this.#cachedValue(), this.#values.version);
    else this.#lookUp(this.#index.find(this.#key, keyBytes, this.#entry), result, 0, this.#key, keyBytes);
    return this.#inTurn(result.promise, 1);
  }

  getMany(keys: readonly Bytes[]): Promise<(Buffer | undefined)[]> {
    const count = keys.length;
    if (count > LOOKUPS_AT_ONCE) return this.#getManySliced(keys);
    const { admittedThrough } = this.#index;
    const [key, entry] = [this.#key, this.#entry];
    const values = answersOf(count);
    // As long as memory answers, nothing is made but the values.
    let result: ManyResult | null = null;
    let near: NeighbourReads | null = null;
    for (let i = 0; i < count; i++) {
      const keyBytes = encodeKey(keys[i] as Bytes, key);
      if (this.#values.find(key, keyBytes)) values[i] = this.#cachedValue();
      else {
        const outcome = this.#index.find(key, keyBytes, entry);
        if (outcome === FOUND && isInline(entry)) values[i] = this.#reader.inlineValue(entry);
        else if (outcome !== MISSING) {
          result ??= new ManyResult(count - i, values, admittedThrough);
          near ??= new NeighbourReads(this.#nearParts, count - i, result, admittedThrough);
          this.#lookUpNear(outcome, near, result, i, key, keyBytes);
          continue;
        }
      }
      result?.missing();
    }
    if (result === null) return this.#settled(values, count);
    void near?.start();
    return this.#inTurn(result.promise, count);
  }

  /** As `#lookUp`. What is on the device is read with its neighbours. */
  #lookUpNear(
    outcome: Lookup,
    near: NeighbourReads,
    result: LookupResult,
    token: number,
    key: Uint8Array,
    keyBytes: number,
  ): void {
    const entry = this.#entry;
    if (outcome === FOUND && !isInline(entry) && !isInFragments(entry)) {
      const fileOffset = fileOffsetOf(entry);
      if (this.#log.unwritten(fileOffset) === null) {
        near.add(fileOffset, lengthOf(entry), key, keyBytes, token);
        return;
      }
    }
    this.#lookUp(outcome, result, token, key, keyBytes);
  }

  /**
   * A copy of the value that was just found in the cache.
   *
   * @throws AiokvError ERR_AIOKV_LATCHED
   */
  #cachedValue(): Buffer {
    this.#requireShown();
    return this.#values.copy();
  }

  /** Throws if the value that was just found in the cache must not be shown any more. */
  #requireShown(): void {
    const refusal = this.#reader.refusalOf(this.#values.version);
    if (refusal !== null) throw refusal;
  }

  /** What may be settled already, after so many operations: as in `#settled`. */
  #inTurn<T>(answers: Promise<T>, operations: number): Promise<T> {
    if (!this.#budget.isSpent(operations)) return answers;
    // Until then a rejection must not count as unhandled.
    answers.catch(() => undefined);
    return nextTurn().then(() => answers);
  }

  /** Settled promises run on as microtasks and would starve timers and I/O: once the turn is spent, they wait. */
  #settled<T extends Buffer | undefined | (Buffer | undefined)[]>(answer: T, operations = 1): Promise<T> {
    if (!this.#budget.isSpent(operations)) return Promise.resolve(answer);
    return new Promise((resolve) => {
      if (this.#settledLater.isEmpty) setImmediate(this.#settleSome);
      this.#settledLater.push({ answer, operations, resolve });
    });
  }

  readonly #settleSome = (): void => {
    for (let operations = 0; operations < SETTLED_AT_ONCE;) {
      const settled = this.#settledLater.shift();
      if (settled === undefined) return;
      operations += settled.operations;
      settled.resolve(settled.answer);
    }
    if (!this.#settledLater.isEmpty) setImmediate(this.#settleSome);
  };

  /** Continues a `get` whose leaf is not in memory. */
  #getLater(leaf: AbsentLeaf, keyBytes: number): Promise<Buffer | undefined> {
    return new Promise((resolve) => {
      this.#lookUp(leaf, new GetResult(this.#index.admittedThrough, resolve), 0, this.#key, keyBytes);
    });
  }

  /** Continues after a lookup; a found entry is in `#entry`. Copies the key if it is needed later. */
  #lookUp(outcome: Lookup, result: LookupResult, token: number, key: Uint8Array, keyBytes: number): void {
    if (outcome === FOUND) {
      this.#reader.readEntry(this.#entry, key, keyBytes, result, token);
    } else if (outcome === MISSING) result.missing(token);
    else {
      const late = new LateLookup(this.#reader, this.#epochs, this.#waitingKeys, key, keyBytes, result, token);
      this.#index.findLater(outcome, late);
    }
  }

  /**
   * As `getMany`. All reads go down as fast as they can be looked up, and nobody waits for those before. The cache has the newest
   * values: one that was written before the call is that of the snapshot, too (CACHE-1).
   */
  async #getManySliced(keys: readonly Bytes[]): Promise<(Buffer | undefined)[]> {
    const list = new KeyList(keys);
    const [key, entry] = [this.#key, this.#entry];
    const snapshot = this.#index.snapshot();
    const values = answersOf(list.length);
    const result = new ManyResult(list.length, values, snapshot.sequence);
    try {
      for (let first = 0; first < list.length; first += LOOKUPS_AT_ONCE) {
        if (first > 0) {
          await nextTurn();
          this.#gate.requireOpen();
        }
        const end = Math.min(list.length, first + LOOKUPS_AT_ONCE);
        let near: NeighbourReads | null = null;
        for (let i = first; i < end; i++) {
          const keyBytes = list.copyTo(key, i);
          if (this.#values.find(key, keyBytes) && this.#values.version <= snapshot.sequence) {
            values[i] = this.#cachedValue();
            result.missing();
          } else {
            near ??= new NeighbourReads(this.#nearParts, end - i, result, snapshot.sequence);
            this.#lookUpNear(snapshot.find(key, keyBytes, entry), near, result, i, key, keyBytes);
          }
        }
        void near?.start();
      }
      return await result.promise;
    } finally {
      snapshot.release();
    }
  }
}

function answersOf(count: number): (Buffer | undefined)[] {
  return new Array<Buffer | undefined>(count).fill(undefined);
}
