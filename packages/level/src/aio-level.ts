/**
 * A database of Level on a store: each call of abstract-level's private interface is one of the store. It knows the store
 * by the types of core, not by its class.
 *
 * ```
 *   put ─► abstract-level: state, hooks, events, encodings ─► _put ─► KeyValueStore.put
 * ```
 *
 * Data is handed over as buffers, and abstract-level converts them to what the caller asked for. A read belongs to the
 * moment of its call, because abstract-level calls the store in the same step as soon as the database is open.
 */
import { resolvePath } from '@aiokv/core';
import type { KeyValueOperation, KeyValueReads, KeyValueStore } from '@aiokv/core';
import { open } from '@aiokv/kv';
import { AbstractLevel } from 'abstract-level';
import type { AbstractClearOptions, AbstractDelOptions, AbstractHasOptions, AbstractPutOptions } from 'abstract-level';
import { closedDatabase, openingFailed, unsupported } from './errors.ts';
import { LateWalk } from './late-walk.ts';
import { LevelIterator } from './level-iterator.ts';
import type { IteratorRequest } from './level-iterator.ts';
import { LevelSnapshot, snapshotOf } from './level-snapshot.ts';
import type { SnapshotOptions } from './level-snapshot.ts';
import { openRequestOf, writeOptionsOf } from './options.ts';
import type { AioLevelOptions, AioWriteOptions, StoreOpener } from './options.ts';
import { clearRange, sizeOfRange } from './range-work.ts';
import { storeRangeOf } from './range.ts';
import type { LevelRange } from './range.ts';
import { walkOver } from './walk-choice.ts';
import type { Walk } from './walk.ts';

/** An operation of a batch as abstract-level hands it over, with properties that the store does not know. */
type EncodedOperation =
  | { readonly type: 'put'; readonly key: Buffer; readonly value: Buffer }
  | { readonly type: 'del'; readonly key: Buffer };

type KeyOptions<Key> = Pick<AbstractHasOptions<Key>, 'keyEncoding'>;

const MANIFEST = {
  encodings: { buffer: true },
  has: true,
  getSync: true,
  createIfMissing: true,
  errorIfExists: true,
  explicitSnapshots: true,
  additionalMethods: { approximateSize: true, compactRange: true },
  signals: { iterators: true },
};

/**
 * An `abstract-level` database in a directory, or on a store that `opener` opens.
 *
 * @template K type of keys, unless a call says otherwise
 * @template V type of values
 */
export class AioLevel<K = string, V = string> extends AbstractLevel<Buffer, K, V> {
  readonly #opener: StoreOpener;
  readonly #location: string | null;
  #opened: KeyValueStore | null = null;
  #compaction: Promise<unknown> | null = null;
  /** A close that fails lets go of the directory all the same, so the next one succeeds. */
  #isReleased = true;

  /**
   * @param where a directory (a path or a `file:` URL), or a function that opens a store
   * @throws AiokvTypeError ERR_AIOKV_INVALID_ARGUMENT
   */
  constructor(where: string | URL | StoreOpener, options?: AioLevelOptions<K, V>) {
    // Before the first opening, and the same for all: the working directory may change.
    const location = typeof where === 'function' ? null : resolvePath('AioLevel: the directory', where);
    super(MANIFEST, options);
    this.#location = location;
    this.#opener = typeof where === 'function' ? where : (request) => open(location as string, request);
  }

  /** The absolute path of the directory, or null if a function opens the store. */
  get location(): string | null {
    return this.#location;
  }

  /**
   * Bytes that the range from `start` to `end`, without `end`, takes, about. Of a store that cannot tell it the range is read.
   */
  async approximateSize<Key = K>(start: Key, end: Key, options?: KeyOptions<Key>): Promise<number> {
    requireBounds(arguments.length);
    if (this.status === 'opening') return this.deferAsync(() => this.approximateSize(start, end, options));
    if (this.status !== 'open') throw closedDatabase('approximateSize');
    const encoding = this.#keyEncodingOf<Key>(options);
    return sizeOfRange(this.#store, { gte: encoding.encode(start), lt: encoding.encode(end) });
  }

  /** Gives space back. The store is compacted as a whole, whatever the range. Calls under way share one compaction. */
  async compactRange<Key = K>(start: Key, end: Key, options?: KeyOptions<Key>): Promise<void> {
    requireBounds(arguments.length);
    if (this.status === 'opening') return this.deferAsync(() => this.compactRange(start, end, options));
    if (this.status !== 'open') throw closedDatabase('compactRange');
    const store = this.#store;
    // A store refuses a second compaction while one is under way.
    this.#compaction ??= (store.compact?.() ?? store.checkpoint()).finally(() => {
      this.#compaction = null;
    });
    await this.#compaction;
  }

  /**
   * As in abstract-level, with `AioWriteOptions`; so are the next. `batch` takes them as well, but its types cannot say
   * so: a class that has it overridden is no `AbstractLevel` for the compiler any more.
   */
  override put(key: K, value: V): Promise<void>;
  override put<Key = K, Value = V>(
    key: Key,
    value: Value,
    options: AbstractPutOptions<Key, Value> & AioWriteOptions,
  ): Promise<void>;
  override put(key: K, value: V, options?: AbstractPutOptions<K, V>): Promise<void> {
    return super.put(key, value, options as object);
  }

  override del(key: K): Promise<void>;
  override del<Key = K>(key: Key, options: AbstractDelOptions<Key> & AioWriteOptions): Promise<void>;
  override del(key: K, options?: AbstractDelOptions<K>): Promise<void> {
    return super.del(key, options as object);
  }

  override clear(): Promise<void>;
  override clear<Key = K>(options: AbstractClearOptions<Key> & AioWriteOptions): Promise<void>;
  override clear(options?: AbstractClearOptions<K>): Promise<void> {
    return super.clear(options as object);
  }

  /** @internal */
  async _open(options: object): Promise<void> {
    try {
      this.#opened = await this.#opener(openRequestOf(options));
    } catch (error) {
      throw openingFailed(error);
    }
    this.#isReleased = false;
  }

  /** @internal */
  async _close(): Promise<void> {
    if (this.#isReleased) return;
    this.#isReleased = true;
    await this.#store.close();
  }

  /** @internal */
  _get(key: Buffer, options: SnapshotOptions): Promise<Buffer | undefined> {
    return this.#readsOf(options).get(key);
  }

  /** @internal */
  _getSync(key: Buffer, options: SnapshotOptions): Buffer | undefined {
    return this.#readsOf(options).getSync(key);
  }

  /** @internal */
  _getMany(keys: Buffer[], options: SnapshotOptions): Promise<(Buffer | undefined)[]> {
    return this.#readsOf(options).getMany(keys);
  }

  /** @internal */
  async _has(key: Buffer, options: SnapshotOptions): Promise<boolean> {
    const reads = this.#readsOf(options);
    return reads.has === undefined ? (await reads.get(key)) !== undefined : reads.has(key);
  }

  /** @internal */
  async _hasMany(keys: Buffer[], options: SnapshotOptions): Promise<boolean[]> {
    const reads = this.#readsOf(options);
    if (reads.has !== undefined) return Promise.all(keys.map((key) => reads.has?.(key) as Promise<boolean>));
    return (await reads.getMany(keys)).map((value) => value !== undefined);
  }

  /** @internal */
  _put(key: Buffer, value: Buffer, options: AioWriteOptions): Promise<void> {
    return this.#store.put(key, value, writeOptionsOf(options));
  }

  /** @internal */
  _del(key: Buffer, options: AioWriteOptions): Promise<void> {
    return this.#store.del(key, writeOptionsOf(options));
  }

  /** @internal */
  _batch(operations: readonly EncodedOperation[], options: AioWriteOptions): Promise<void> {
    return this.#store.batch(operations.map(storeOperationOf), writeOptionsOf(options));
  }

  /** @internal */
  _clear(options: LevelRange & AioWriteOptions & SnapshotOptions): Promise<void> {
    return clearRange(this.#store, storeRangeOf(options), writeOptionsOf(options), snapshotOf(options, this.#store));
  }

  /** @internal */
  _iterator(options: IteratorRequest & SnapshotOptions): LevelIterator<K, V> {
    const make = (): Walk => walkOver(this.#readsOf(options), storeRangeOf(options), options.values);
    const isOfNow = options.snapshot === undefined || options.snapshot === null;
    return new LevelIterator<K, V>(this, isOfNow ? make() : new LateWalk(make), options);
  }

  /** @internal */
  _snapshot(options: object): LevelSnapshot {
    const snapshot = this.#store.snapshot?.();
    if (snapshot === undefined) throw unsupported('snapshots');
    return new LevelSnapshot(options, this.#store, snapshot);
  }

  #readsOf(options: SnapshotOptions): KeyValueReads {
    return snapshotOf(options, this.#store) ?? this.#store;
  }

  get #store(): KeyValueStore {
    if (this.#opened === null) throw closedDatabase('a private method');
    return this.#opened;
  }

  #keyEncodingOf<Key>(options: KeyOptions<Key> | undefined): { encode(key: Key): Buffer } {
    const named = options?.keyEncoding;
    const encoding = named === undefined ? this.keyEncoding() : this.keyEncoding(named as 'buffer');
    return { encode: (key) => encoding.encode(key as never) };
  }
}

function requireBounds(count: number): void {
  if (count < 2) throw new TypeError("The arguments 'start' and 'end' are required");
}

function storeOperationOf(operation: EncodedOperation): KeyValueOperation {
  if (operation.type === 'del') return { type: 'del', key: operation.key };
  return { type: 'put', key: operation.key, value: operation.value };
}
