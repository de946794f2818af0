/** Receivers of the answers of reads: they settle the promises of the store's callers. */
import { versionOf } from '../format/version.ts';
import type { Sequence } from '@aiokv/core';
import type { Version } from '../format/version.ts';

/** Receives the answers of one or many reads. The token says which read. */
export interface ReadResult {
  /** False: only the version is needed, and the value may be wrong. Default true. */
  readonly needsValue?: boolean;
  /** The last write that the read has seen: its value may be cached unless the key was written after it. None: it may not be. */
  readonly seenAt?: Sequence | undefined;
  /** True: the record may be another one, so one that is wrong is not read again (READ-1). */
  readonly isGuess?: boolean;
  /**
   * @param value a copy that belongs to the receiver
   * @param version sequence number of the record
   * @param expiresAtMs when the record expires; 0: never
   */
  found(token: number, value: Buffer, version: number, expiresAtMs: number): void;
  failed(token: number, error: Error): void;
}

/** Receives the answers of lookups, which may find nothing. */
export interface LookupResult extends ReadResult {
  missing(token: number): void;
}

/** A value, which belongs to the caller, and the version that its write gave it. */
export interface Versioned {
  readonly value: Buffer;
  readonly version: Version;
  /** Of a value that expires: when, in milliseconds since 1970, ... */
  readonly expiresAt?: number;
  /** ... and how long after the moment of the read that is, in milliseconds. */
  readonly ttlMs?: number;
}

/** Settles one `get`. A hundred thousand may wait: what can reject a promise takes 64 bytes, and a failure can do without. */
export class GetResult implements LookupResult {
  readonly seenAt: Sequence;
  readonly #resolve: (value: Buffer | undefined | Promise<never>) => void;

  constructor(seenAt: Sequence, resolve: (value: Buffer | undefined | Promise<never>) => void) {
    this.seenAt = seenAt;
    this.#resolve = resolve;
  }

  found(_token: number, value: Buffer): void {
    this.#resolve(value);
  }

  missing(): void {
    this.#resolve(undefined);
  }

  failed(_token: number, error: Error): void {
    this.#resolve(Promise.reject(error));
  }
}

/** One promise for the answers of many reads, or for the first error once all reads have ended. The token is the index. */
abstract class AllAnswers<T> {
  readonly promise: Promise<T>;
  protected readonly answers: T;
  #left: number;
  #failure: Error | null = null;
  #resolve!: (answers: T) => void;
  #reject!: (error: Error) => void;

  /** @param left reads that have not ended */
  constructor(left: number, answers: T) {
    this.answers = answers;
    this.#left = left;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // The caller may await it only after all reads have been started; until then a rejection must not count as unhandled.
    this.promise.catch(() => undefined);
    if (left === 0) this.#resolve(answers);
  }

  failed(_token: number, error: Error): void {
    this.#failure ??= error;
    this.missing();
  }

  missing(): void {
    if (--this.#left > 0) return;
    if (this.#failure === null) this.#resolve(this.answers);
    else this.#reject(this.#failure);
  }
}

/** The values of many keys. */
export class ManyResult extends AllAnswers<(Buffer | undefined)[]> implements LookupResult {
  readonly seenAt: Sequence;

  constructor(left: number, answers: (Buffer | undefined)[], seenAt: Sequence) {
    super(left, answers);
    this.seenAt = seenAt;
  }

  found(token: number, value: Buffer): void {
    this.answers[token] = value;
    this.missing();
  }
}

/** Settles one read with value and version. */
export class VersionedResult implements LookupResult {
  readonly seenAt: Sequence;
  readonly promise: Promise<Versioned | undefined>;
  readonly #momentMs: number;
  #resolve!: (found: Versioned | undefined) => void;
  #reject!: (error: Error) => void;

  /** @param momentMs that of the read: see `ExpiryClock.momentMs` */
  constructor(seenAt: Sequence, momentMs: number) {
    this.seenAt = seenAt;
    this.#momentMs = momentMs;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  found(_token: number, value: Buffer, version: number, expiresAtMs: number): void {
    const found = { value, version: versionOf(version) };
    if (expiresAtMs === 0) this.#resolve(found);
    else this.#resolve({ ...found, expiresAt: expiresAtMs, ttlMs: expiresAtMs - this.#momentMs });
  }

  missing(): void {
    this.#resolve(undefined);
  }

  failed(_token: number, error: Error): void {
    this.#reject(error);
  }
}

/** The versions of many keys; 0 for a key that does not exist. */
export class VersionsResult extends AllAnswers<Float64Array> implements LookupResult {
  readonly needsValue = false;

  constructor(count: number) {
    super(count, new Float64Array(count));
  }

  found(token: number, _value: Buffer, version: number): void {
    this.exists(token, version);
  }

  exists(token: number, version: number): void {
    this.answers[token] = version;
    this.missing();
  }
}
