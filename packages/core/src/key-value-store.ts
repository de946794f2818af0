/**
 * What an adapter may ask of a store: types only, no code. `Store` of @aiokv/kv is one; a store in another process or on
 * another engine is another. An adapter that is written against these types serves all of them.
 *
 * What a store may lack is optional; its reader says what is done instead. Versions are opaque: they are compared for
 * equality and handed back, and nothing else.
 */

/** A key or a value that goes in. A string is stored as UTF-8. Bytes are copied before the call returns. */
export type KeyValueBytes = string | ArrayBufferView | ArrayBufferLike;

/** A range of keys, ordered bytewise. Not `gt` with `gte`, nor `lt` with `lte`. */
export interface KeyValueRange {
  gt?: KeyValueBytes | undefined;
  gte?: KeyValueBytes | undefined;
  lt?: KeyValueBytes | undefined;
  lte?: KeyValueBytes | undefined;
}

export interface KeyValueIteratorOptions extends KeyValueRange {
  /** From the last key to the first; default false. */
  reverse?: boolean;
  /** Most entries to return, seeks included; default Infinity. */
  limit?: number;
  /**
   * A walk that seeks stays at its end, so that `seek` leads back from there. Default false: it may have ended there for good. `return`
   * ends it in any case.
   */
  stayOpen?: boolean;
}

/** Of an adapter that neither gets nor gives versions: it takes stores with versions of any kind. */
// oxlint-disable-next-line typescript/no-explicit-any -- `unknown` could not be handed to a store, `never` not be returned
type AnyVersion = any;

export interface KeyValueConditions<Version = AnyVersion> {
  readonly ifAbsent?: boolean;
  readonly ifVersion?: Version;
}

export interface KeyValueWriteOptions {
  /** When the write settles: it survives power loss, or kill -9, or neither yet. Default: that of the store. */
  durability?: 'flushed' | 'written' | 'buffered';
}

export type KeyValueOperation<Version = AnyVersion> = KeyValueConditions<Version> &
  (
    | { readonly type: 'put'; readonly key: KeyValueBytes; readonly value: KeyValueBytes }
    | { readonly type: 'del'; readonly key: KeyValueBytes }
  );

/**
 * A walk over a range, as it was when the walk was made. What it returns belongs to the caller. `return` ends it, and
 * answers a pending `next` with `done`.
 */
export interface KeyValueIterator<T> {
  next(): Promise<IteratorResult<T>>;
  return(): Promise<unknown>;
  /** The next entries: at least one, at most `count`; none is the end. They may share memory, which is not used again. */
  nextMany?(count: number): Promise<T[]>;
  /**
   * The walk goes on at this key or the next one in its direction and range, in the same state. Not while a `next` is
   * pending. Undoes its natural end if it was made with `stayOpen`, but not that of `limit`.
   */
  seek?(key: KeyValueBytes): void;
}

/** What a store, or a snapshot of it, is asked for. A value that comes back belongs to the caller. */
export interface KeyValueReads<Version = AnyVersion> {
  get(key: KeyValueBytes): Promise<Buffer | undefined>;
  /** Blocks the thread. Throws where a store cannot. */
  getSync(key: KeyValueBytes): Buffer | undefined;
  getMany(keys: readonly KeyValueBytes[]): Promise<(Buffer | undefined)[]>;
  getVersioned(key: KeyValueBytes): Promise<{ readonly value: Buffer; readonly version: Version } | undefined>;
  /** Whether the key exists, without reading its value. */
  has?(key: KeyValueBytes): Promise<boolean>;
  iterator(options?: KeyValueIteratorOptions): KeyValueIterator<[Buffer, Buffer]>;
  /** As `iterator`, without reading values. */
  keys?(options?: KeyValueIteratorOptions): KeyValueIterator<Buffer>;
  /** How many keys the range has, without reading values. */
  count?(range?: KeyValueRange): Promise<number>;
  /** The first entry of the range, and the last one, in one lookup. */
  first?(range?: KeyValueRange): Promise<[Buffer, Buffer] | undefined>;
  last?(range?: KeyValueRange): Promise<[Buffer, Buffer] | undefined>;
  /** Bytes that the records of a range take, about, without reading them. */
  approximateSize?(range: KeyValueRange): Promise<number>;
}

/** The reads of a snapshot return the state at the moment when it was taken, until its release. */
export interface KeyValueSnapshot<Version = AnyVersion> extends KeyValueReads<Version> {
  /** Reads that have begun go on. More than one call is the same as one. */
  release(): void;
}

/** A read of a store returns the state at the moment of its call. */
export interface KeyValueStore<Version = AnyVersion> extends KeyValueReads<Version> {
  put(
    key: KeyValueBytes,
    value: KeyValueBytes,
    options?: KeyValueWriteOptions & KeyValueConditions<Version>,
  ): Promise<void>;
  del(key: KeyValueBytes, options?: KeyValueWriteOptions & KeyValueConditions<Version>): Promise<void>;
  /** All operations or none, in order. */
  batch(operations: readonly KeyValueOperation<Version>[], options?: KeyValueWriteOptions): Promise<void>;
  /** Removes a range at once, as one write. */
  deleteRange?(range: KeyValueRange, options?: KeyValueWriteOptions): Promise<void>;
  snapshot?(): KeyValueSnapshot<Version>;
  /** Settles when every write called before survives power loss. */
  flush(): Promise<void>;
  /** Shortens the next opening, and may give space back. */
  checkpoint(): Promise<void>;
  /** Rewrites the store so that it takes as little space as it can. */
  compact?(): Promise<unknown>;
  /** What was called before settles; what is called after fails. More than one call is the same as one. */
  close(): Promise<void>;
}
