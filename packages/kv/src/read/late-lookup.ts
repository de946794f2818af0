/**
 * Lookups that wait for their leaves, and those that go by an address meanwhile (cache/address-cache.ts).
 *
 * ```
 *   LateLookup       leaf ─► record ─► result
 *   AddressLookup    record ─┬─► result
 *                            └─ another key's, or unreadable ─► the version of the call ─► leaf ─► record ─► result
 * ```
 *
 * LATE-1. A lookup is in an epoch from its first step until its record was read: a leaf or an address may name a place that newer
 *     leaves do not name any more.
 * LATE-2. A lookup whose address was another key's goes on in the version of the tree that was the last one at its call. The
 *     memtables had nothing of the key then, so the version says what a lookup at the call would have said (INDEX-3).
 * LATE-4. What is over is judged by the moment of the call. A record that was read by an address says itself when it expires.
 * LATE-3. An address is not used while its record may not be on the device yet: only a record that is read from there is asked
 *     for its key.
 */
import { KIB } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import type { ReadEpochs } from '../file/read-epochs.ts';
import type { TreeVersion } from '../index/index-snapshot.ts';
import type { KeyIndex } from '../index/key-index.ts';
import type { LateAnswer } from '../index/leaf-lookup.ts';
import { Entry, FOUND, MISSING } from '../tree/index.ts';
import type { RecordReader } from './record-reader.ts';
import type { LookupResult } from './results.ts';

/** Keys of lookups that wait for their leaves share arrays of so many bytes. */
const PACKED_BYTES = 8 * KIB;

/**
 * Keys of lookups that wait, side by side: an array for each would take some 250 bytes, and a hundred thousand may wait. The
 * memory of some goes with the last lookup that refers to it.
 */
export class PackedKeys {
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

/** What all lookups of a store share. */
export interface LateLookupParts {
  readonly index: KeyIndex;
  readonly reader: RecordReader;
  readonly epochs: ReadEpochs;
  readonly keys: PackedKeys;
}

/**
 * A lookup that waits for its leaf. Its record is read next. It stays in the epoch of the lookup until that read has
 * ended: the leaf may name a place that newer leaves do not name any more.
 */
export class LateLookup implements LateAnswer, LookupResult {
  protected readonly parts: LateLookupParts;
  /** LATE-4. */
  protected readonly momentMs: number;
  readonly #epoch: number;
  readonly #keys: Uint8Array;
  readonly #keyAt: number;
  readonly #keyBytes: number;
  readonly #result: LookupResult;
  readonly #token: number;

  /** Copies the key. @param momentMs see `ExpiryClock.momentMs` */
  constructor(
    parts: LateLookupParts,
    key: Uint8Array,
    keyBytes: number,
    result: LookupResult,
    token: number,
    momentMs: number,
  ) {
    this.parts = parts;
    this.momentMs = momentMs;
    this.#epoch = parts.epochs.enter();
    this.#keyAt = parts.keys.add(key, keyBytes);
    this.#keys = parts.keys.bytes;
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
    this.parts.reader.readEntry(entry, this.key, this.#keyBytes, this, this.#token);
  }

  missingLate(): void {
    this.missing(this.#token);
  }

  failedLate(error: Error): void {
    this.failed(this.#token, error);
  }

  found(token: number, value: Buffer, version: number, expiresAtMs: number): void {
    this.parts.epochs.leave(this.#epoch);
    this.#result.found(token, value, version, expiresAtMs);
  }

  missing(token: number): void {
    this.parts.epochs.leave(this.#epoch);
    this.#result.missing(token);
  }

  failed(token: number, error: Error): void {
    this.parts.epochs.leave(this.#epoch);
    this.#result.failed(token, error);
  }
}

/** Scratch for an entry. Valid within one step. */
const entry = new Entry();

/** A lookup that goes by an address. It ends as one that waits for its leaf, unless the address was right. */
export class AddressLookup extends LateLookup {
  readonly #version: TreeVersion;
  /** Whether its record may be another key's. */
  isGuess = true;

  constructor(
    parts: LateLookupParts,
    key: Uint8Array,
    keyBytes: number,
    result: LookupResult,
    token: number,
    momentMs: number,
  ) {
    super(parts, key, keyBytes, result, token, momentMs);
    this.#version = parts.index.version.retain();
  }

  override found(token: number, value: Buffer, version: number, expiresAtMs: number): void {
    // LATE-4. Of one that was found through the leaf this was asked before.
    if (this.isGuess && expiresAtMs !== 0 && expiresAtMs <= this.momentMs) {
      this.missing(token);
      return;
    }
    this.#version.release();
    super.found(token, value, version, expiresAtMs);
  }

  override missing(token: number): void {
    this.#version.release();
    super.missing(token);
  }

  /** LATE-2. Whatever has failed, the leaf decides. */
  override failed(token: number, error: Error): void {
    if (!this.isGuess) {
      this.#version.release();
      super.failed(token, error);
      return;
    }
    this.isGuess = false;
    const { key } = this;
    const { index, reader } = this.parts;
    index.addresses.noteWrong();
    const outcome = index.findInVersion(this.#version, key, key.length, entry, this.momentMs);
    if (outcome === FOUND) reader.readEntry(entry, key, key.length, this, token);
    else if (outcome === MISSING) this.missing(token);
    else index.findLater(outcome, this, this.momentMs);
  }
}
