/**
 * Point reads: from a key to its value at the moment of the call.
 *
 * ```
 *   key ─► values.find ─► there: a copy
 *             └─► index.find ─┬─► not there, or a tiny value, which the entry holds
 *                             ├─► index.findLater   (the leaf is not in memory: reads it, then as below;
 *                             │                      with an address, the record at once: late-lookup.ts)
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
import { AiokvTypeError, Fifo, nextTurn, setImmediate } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import type { ValueCache } from '../cache/value-cache.ts';
import type { FailureGate } from '../failure/failure-gate.ts';
import type { ReadEpochs } from '../file/read-epochs.ts';
import type { SpanReader } from '../file/span-reader.ts';
import { fileOffsetOf, isInFragments, isInline, lengthOf } from '../format/index-entry.ts';
import { createKeyScratch, encodeKey } from '../format/keys.ts';
import type { Bytes } from '../format/keys.ts';
import { copyValue, isExtent } from '../format/record.ts';
import type { IndexSnapshot } from '../index/index-snapshot.ts';
import type { KeyIndex } from '../index/key-index.ts';
import type { LateAnswer } from '../index/leaf-lookup.ts';
import type { Maintenance } from '../maintenance/maintenance.ts';
import { Entry, FOUND, MISSING, pageOf } from '../tree/index.ts';
import type { AbsentLeaf, Lookup } from '../tree/index.ts';
import { KeyList } from './key-list.ts';
import { AddressLookup, LateLookup, PackedKeys } from './late-lookup.ts';
import type { LateLookupParts } from './late-lookup.ts';
import { NeighbourReads } from './neighbour-reads.ts';
import type { NeighbourReadsParts } from './neighbour-reads.ts';
import type { RecordReader, UnwrittenRecords } from './record-reader.ts';
import { GetResult, ManyResult, VersionedResult } from './results.ts';
import type { LookupResult, ReadResult, Versioned } from './results.ts';
import { ViewMemory } from './view-memory.ts';

export interface PointReadsParts {
  readonly index: KeyIndex;
  readonly log: UnwrittenRecords;
  readonly gate: FailureGate;
  readonly reader: RecordReader;
  readonly spans: SpanReader;
  readonly epochs: ReadEpochs;
  readonly budget: TurnBudget;
  readonly maintenance: Pick<Maintenance, 'versionReleased'>;
}

/** `getMany` looks up this many keys in one step. More are looked up in a snapshot, this many in a turn. */
const LOOKUPS_AT_ONCE = 1024;
/** Delayed answers are given in one turn as long as fewer operations than this have made them: their callers run on in the same turn. */
const SETTLED_AT_ONCE = 256;

/** An answer that needed no device but is given in a later turn: see `#settled`. */
interface Settled {
  readonly answer: unknown;
  readonly operations: number;
  resolve(answer: unknown): void;
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
  readonly #nearParts: NeighbourReadsParts;
  readonly #budget: TurnBudget;
  readonly #maintenance: Pick<Maintenance, 'versionReleased'>;
  /** Scratch for the key of the current call and its entry. Valid within one step. */
  readonly #key = createKeyScratch();
  readonly #entry = new Entry();
  readonly #settledLater = new Fifo<Settled>();
  readonly #lateParts: LateLookupParts;

  constructor({ index, log, gate, reader, spans, epochs, budget, maintenance }: PointReadsParts) {
    this.#index = index;
    this.#values = index.values;
    this.#log = log;
    this.#gate = gate;
    this.#reader = reader;
    this.#nearParts = { index, reader, spans, epochs };
    this.#lateParts = { index, reader, epochs, keys: new PackedKeys() };
    this.#budget = budget;
    this.#maintenance = maintenance;
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

  /** As `get`, in a snapshot. */
  getIn(snapshot: IndexSnapshot, key: Bytes): Promise<Buffer | undefined> {
    const keyBytes = encodeKey(key, this.#key);
    if (this.#isCachedIn(snapshot, keyBytes)) return this.#settled(this.#cachedValue());
    const entry = this.#entry;
    const outcome = snapshot.find(this.#key, keyBytes, entry);
    if (outcome === MISSING) return this.#settled(undefined);
    if (outcome === FOUND && isInline(entry)) return this.#settled(this.#reader.inlineValue(entry));
    const answer = new Promise<Buffer | undefined>((resolve) => {
      this.#lookUpIn(snapshot, outcome, new GetResult(snapshot.sequence, resolve), 0, this.#key, keyBytes);
    });
    return this.#retained(snapshot, answer);
  }

  /** The cache has the newest values: one that was written before the snapshot is that of the snapshot, too (CACHE-1). */
  #isCachedIn(snapshot: IndexSnapshot, keyBytes: number): boolean {
    return this.#values.find(this.#key, keyBytes) && this.#values.version <= snapshot.sequence;
  }

  has(key: Bytes): Promise<boolean> {
    const keyBytes = encodeKey(key, this.#key);
    const outcome = this.#index.find(this.#key, keyBytes, this.#entry);
    return this.#exists(outcome, keyBytes, this.#index.expiry.momentMs);
  }

  /** The value of a key that was found in a snapshot, which stays until it is there. @param found its entry */
  async valueIn({ sequence }: IndexSnapshot, key: Uint8Array, found: Entry): Promise<Buffer> {
    if (isInline(found)) return this.#reader.inlineValue(found);
    if (this.#values.find(key, key.length) && this.#values.version <= sequence) return this.#cachedValue();
    return new Promise((resolve, reject) => {
      const result: ReadResult = {
        seenAt: sequence,
        found: (_, value) => resolve(value),
        failed: (_, error) => reject(error),
      };
      this.#reader.readEntry(found, key, key.length, result, 0);
    });
  }

  /** As `has`, in a snapshot. */
  hasIn(snapshot: IndexSnapshot, key: Bytes): Promise<boolean> {
    const keyBytes = encodeKey(key, this.#key);
    const outcome = snapshot.find(this.#key, keyBytes, this.#entry);
    if (!snapshot.isBlocked) return this.#retained(snapshot, this.#exists(outcome, keyBytes, snapshot.momentMs));
    const copy = this.#key.slice(0, keyBytes);
    return this.#retained(
      snapshot,
      this.#unblocked(snapshot, copy, (found) => {
        this.#key.set(copy);
        return this.#exists(found, keyBytes, snapshot.momentMs);
      }),
    );
  }

  #exists(outcome: Lookup, keyBytes: number, momentMs: number): Promise<boolean> {
    if (outcome !== FOUND && outcome !== MISSING) {
      const late = new LateExistence(this.#reader, this.#key.slice(0, keyBytes));
      this.#index.findLater(outcome, late, momentMs);
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

  /** As `getSync`, in a snapshot. */
  getSyncIn(snapshot: IndexSnapshot, key: Bytes): Buffer | undefined {
    const keyBytes = encodeKey(key, this.#key);
    if (this.#isCachedIn(snapshot, keyBytes)) return this.#cachedValue();
    const entry = this.#entry;
    const outcome = this.#findInSync(snapshot, keyBytes);
    if (outcome === MISSING) return undefined;
    const { momentMs } = snapshot;
    if (outcome !== FOUND && !this.#index.findSync(outcome, this.#key, keyBytes, entry, momentMs)) return undefined;
    return isInline(entry) ? this.#reader.inlineValue(entry) : this.#readEntrySync(keyBytes, snapshot.sequence);
  }

  /** As `IndexSnapshot.find`. What blocks it is read at once. */
  #findInSync(snapshot: IndexSnapshot, keyBytes: number): Lookup {
    const { pager } = this.#index;
    const pinned: number[] = [];
    try {
      for (;;) {
        const outcome = snapshot.find(this.#key, keyBytes, this.#entry);
        if (!snapshot.isBlocked) return outcome;
        const page = pageOf(outcome as AbsentLeaf);
        pager.pinSync(page);
        pinned.push(page);
      }
    } finally {
      for (const page of pinned) pager.unpinSync(page);
    }
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
    if (outcome !== FOUND) {
      const { momentMs } = this.#index.expiry;
      const value = this.#readAddressSync(keyBytes, momentMs);
      if (value !== null) return value;
      if (!this.#index.findSync(outcome, this.#key, keyBytes, entry, momentMs)) return undefined;
    }
    return isInline(entry) ? this.#reader.inlineValue(entry) : this.#readEntrySync(keyBytes);
  }

  /** @param momentMs see `RecordReader.readSync` */
  #readEntrySync(keyBytes: number, seenAt = this.#index.admittedThrough, momentMs = 0): Buffer | undefined {
    const entry = this.#entry;
    return this.#reader.readSync(fileOffsetOf(entry), lengthOf(entry), this.#key, keyBytes, seenAt, momentMs);
  }

  /** Null: there is no address, or the record is another key's or cannot be read. Then the leaf decides. */
  #readAddressSync(keyBytes: number, momentMs: number): Buffer | undefined | null {
    if (!this.#findAddress(this.#key, keyBytes)) return null;
    try {
      return this.#readEntrySync(keyBytes, this.#index.admittedThrough, momentMs);
    } catch {
      this.#index.addresses.noteWrong();
      return null;
    }
  }

  /** LATE-3. Whether there is an address to go by. It is in `#entry`. */
  #findAddress(key: Uint8Array, keyBytes: number): boolean {
    const entry = this.#entry;
    return this.#index.addresses.find(key, keyBytes, entry) && this.#log.unwritten(fileOffsetOf(entry)) === null;
  }

  getVersioned(key: Bytes): Promise<Versioned | undefined> {
    const keyBytes = encodeKey(key, this.#key);
    const result = new VersionedResult(this.#index.admittedThrough, this.#index.expiry.momentMs);
    if (this.#values.find(this.#key, keyBytes)) this.#foundCached(result);
    else this.#lookUp(this.#index.find(this.#key, keyBytes, this.#entry), result, 0, this.#key, keyBytes, null);
    return this.#inTurn(result.promise, 1);
  }

  /** As `getVersioned`, in a snapshot. */
  getVersionedIn(snapshot: IndexSnapshot, key: Bytes): Promise<Versioned | undefined> {
    const keyBytes = encodeKey(key, this.#key);
    const result = new VersionedResult(snapshot.sequence, snapshot.momentMs);
    if (this.#isCachedIn(snapshot, keyBytes)) this.#foundCached(result);
    else this.#lookUpIn(snapshot, snapshot.find(this.#key, keyBytes, this.#entry), result, 0, this.#key, keyBytes);
    return this.#inTurn(this.#retained(snapshot, result.promise), 1);
  }

  #foundCached(result: VersionedResult): void {
    result.found(0, this.#cachedValue(), this.#values.version, this.#values.expiresAtMs);
  }

  getMany(keys: readonly Bytes[]): Promise<(Buffer | undefined)[]> {
    requireArray(keys);
    const count = keys.length;
    if (count > LOOKUPS_AT_ONCE) return this.#getManySliced(keys, this.#index.snapshot());
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
          this.#lookUpNear(outcome, near, result, i, key, keyBytes, null);
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
    snapshot: IndexSnapshot | null,
  ): void {
    const entry = this.#entry;
    if (outcome === FOUND && !isInline(entry) && !isInFragments(entry)) {
      const fileOffset = fileOffsetOf(entry);
      if (this.#log.unwritten(fileOffset) === null) {
        near.add(fileOffset, lengthOf(entry), key, keyBytes, token);
        return;
      }
    }
    this.#lookUp(outcome, result, token, key, keyBytes, snapshot);
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
      this.#lookUp(leaf, new GetResult(this.#index.admittedThrough, resolve), 0, this.#key, keyBytes, null);
    });
  }

  /**
   * Continues after a lookup; a found entry is in `#entry`. Copies the key if it is needed later.
   *
   * @param snapshot in which the lookup was; null: in the index as it is in this step (ADDRESS-1)
   */
  #lookUp(
    outcome: Lookup,
    result: LookupResult,
    token: number,
    key: Uint8Array,
    keyBytes: number,
    snapshot: IndexSnapshot | null,
  ): void {
    const { index, reader } = this.#lateParts;
    if (outcome === FOUND) reader.readEntry(this.#entry, key, keyBytes, result, token);
    else if (outcome === MISSING) result.missing(token);
    else {
      const momentMs = snapshot === null ? index.expiry.momentMs : snapshot.momentMs;
      if (snapshot === null && this.#findAddress(key, keyBytes)) {
        const guess = new AddressLookup(this.#lateParts, key, keyBytes, result, token, momentMs);
        reader.readDevice(fileOffsetOf(this.#entry), lengthOf(this.#entry), key, keyBytes, guess, token);
        return;
      }
      const late = new LateLookup(this.#lateParts, key, keyBytes, result, token, momentMs);
      index.findLater(outcome, late, momentMs);
    }
  }

  /** As `#lookUp`, after a lookup in a snapshot. It must be retained until the answer. */
  #lookUpIn(
    snapshot: IndexSnapshot,
    outcome: Lookup,
    result: LookupResult,
    token: number,
    key: Uint8Array,
    keyBytes: number,
  ): void {
    if (!snapshot.isBlocked) {
      this.#lookUp(outcome, result, token, key, keyBytes, snapshot);
      return;
    }
    const copy = key.slice(0, keyBytes);
    const answered = this.#unblocked(snapshot, copy, (found) => {
      this.#lookUp(found, result, token, copy, keyBytes, snapshot);
    });
    answered.catch((error: Error) => result.failed(token, error));
  }

  /** READER-3. Looks the key up when the leaves are in memory that blocked it, and hands the outcome to `use` in the same step. */
  async #unblocked<T>(snapshot: IndexSnapshot, key: Uint8Array, use: (outcome: Lookup) => T): Promise<Awaited<T>> {
    const pinned: AbsentLeaf[] = [];
    try {
      for (;;) {
        const outcome = snapshot.find(key, key.length, this.#entry);
        if (!snapshot.isBlocked) return await use(outcome);
        const leaf = outcome as AbsentLeaf;
        await this.#index.pin(leaf);
        pinned.push(leaf);
      }
    } finally {
      this.#index.unpin(pinned);
    }
  }

  /** As `getMany`, in a snapshot. */
  getManyIn(snapshot: IndexSnapshot, keys: readonly Bytes[]): Promise<(Buffer | undefined)[]> {
    requireArray(keys);
    return this.#getManySliced(keys, snapshot.retain());
  }

  /**
   * As `getMany`. All reads go down as fast as they can be looked up, and nobody waits for those before.
   *
   * @param snapshot is released
   */
  async #getManySliced(keys: readonly Bytes[], snapshot: IndexSnapshot): Promise<(Buffer | undefined)[]> {
    const [key, entry] = [this.#key, this.#entry];
    const values = answersOf(keys.length);
    const result = new ManyResult(keys.length, values, snapshot.sequence);
    try {
      // In this step: the caller may change them.
      const list = new KeyList(keys.length);
      for (const one of keys) list.add(key, encodeKey(one, key));
      for (let first = 0; first < list.length; first += LOOKUPS_AT_ONCE) {
        if (first > 0) {
          await nextTurn();
          this.#gate.requireOpen();
        }
        const end = Math.min(list.length, first + LOOKUPS_AT_ONCE);
        let near: NeighbourReads | null = null;
        for (let i = first; i < end; i++) {
          const keyBytes = list.copyTo(key, i);
          if (this.#isCachedIn(snapshot, keyBytes)) {
            values[i] = this.#cachedValue();
            result.missing();
          } else {
            near ??= new NeighbourReads(this.#nearParts, end - i, result, snapshot.sequence);
            const outcome = snapshot.find(key, keyBytes, entry);
            if (snapshot.isBlocked) this.#lookUpIn(snapshot, outcome, result, i, key, keyBytes);
            else this.#lookUpNear(outcome, near, result, i, key, keyBytes, snapshot);
          }
        }
        void near?.start();
      }
      return await result.promise;
    } finally {
      this.#release(snapshot);
    }
  }

  /** What the reads of an answer need stays until it is there. */
  #retained<T>(snapshot: IndexSnapshot, answer: Promise<T>): Promise<T> {
    snapshot.retain();
    return answer.finally(() => this.#release(snapshot));
  }

  #release(snapshot: IndexSnapshot): void {
    snapshot.release();
    void this.#maintenance.versionReleased();
  }
}

function answersOf(count: number): (Buffer | undefined)[] {
  return new Array<Buffer | undefined>(count).fill(undefined);
}

function requireArray(keys: unknown): void {
  if (Array.isArray(keys)) return;
  throw new AiokvTypeError('ERR_AIOKV_INVALID_ARGUMENT', 'getMany takes an array of keys');
}
