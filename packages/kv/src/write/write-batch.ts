/**
 * Writes that are admitted together: the operations of a batch, or one write with a condition or a long value. All of
 * them are checked before any is admitted.
 *
 * BATCH-1. A batch that waits owns copies of its bytes, since the caller may change its own once the call has returned.
 *     The memory of the copies is reused after `release`.
 */
import { AiokvError, AiokvRangeError, AiokvTypeError, MIB, refuseUnknown } from '@aiokv/core';
import type { ExpiryClock } from '../file/expiry-clock.ts';
import { fragmentValueBytes, maxRecordBytes, tableBytes } from '../format/extent.ts';
import { RecordKind, paddedRecordBytes } from '../format/record.ts';
import type { Geometry } from '../format/superblock.ts';
import { encodeKey, encodeValue } from '../format/keys.ts';
import type { Bytes } from '../format/keys.ts';
import { sequenceOfVersion } from '../format/version.ts';
import type { Version } from '../format/version.ts';
import { encodeDeletion } from '../read/range.ts';
import type { KeyRange } from '../read/range.ts';
import { PackedBytes } from './packed-bytes.ts';
import type { ReadCheck } from './read-check.ts';

/** What must hold when a write is admitted. At most one of the two. */
export interface ConditionOptions {
  /** True: write only if the key does not exist. Default false. */
  readonly ifAbsent?: boolean;
  /** Write only if the key has this version, as `getVersioned` returned it. Default: any version, or none. */
  readonly ifVersion?: Version;
}

/** When what a put writes is over. At most one of the two; default: never. */
export interface ExpiryOptions {
  /** So many milliseconds after the call, a whole number from 1. */
  readonly ttlMs?: number;
  /** At this time, in whole milliseconds since 1970. At once, if that is past. */
  readonly expiresAt?: number;
}

/** One operation of a batch. One that deletes a range has no conditions; without bounds it deletes everything. */
export type BatchOperation =
  | (ConditionOptions &
      (
        | (ExpiryOptions & { readonly type: 'put'; readonly key: Bytes; readonly value: Bytes })
        | { readonly type: 'del'; readonly key: Bytes }
      ))
  | (Readonly<Partial<KeyRange>> & { readonly type: 'deleteRange' });

/** A condition on the key of operation `at`. */
export interface Condition {
  readonly at: number;
  /** Version that the key must have; 0: it must not exist. */
  readonly version: number;
  /** The version that was read ahead, the place of its record, and the epoch of the read (COND-2). */
  read: { readonly fileOffset: number; readonly version: number; readonly epoch: number } | null;
  /** The key's version; 0: it does not exist; -1: it exists, in some version; null: not known yet. */
  found: number | null;
}

export interface BatchLimits {
  readonly geometry: Geometry;
  /** Longest value. */
  readonly valueBytes: number;
  /** Largest batch: 24 bytes for each operation, and its key and value, padded. */
  readonly batchBytes: number;
  /** Most bytes of records that are admitted in one step. */
  readonly stepBytes: number;
}

/** A batch above one of these limits takes more than a millisecond to admit, and so is admitted in slices. */
export const MOST_STEP_BYTES = MIB;
const MOST_STEP_RECORDS = 256;

export class WriteBatch {
  readonly kinds: RecordKind[] = [];
  /** Sizes of the log records, in order: for each operation those of the fragments of its value, then its own. */
  readonly paddedSizes: number[] = [];
  readonly conditions: Condition[] = [];
  /** What must not have been written since, if it is of a transaction. */
  reads: ReadCheck | null = null;
  /** When operations expire, 0: never; null: none does. */
  #expiries: number[] | null = null;
  readonly #limits: BatchLimits;
  readonly #keys = new PackedBytes();
  /** The caller's memory, until `own` copies it. */
  #values: Uint8Array[] = [];
  #ownValues: PackedBytes | null = null;
  #bytes = 0;

  constructor(limits: BatchLimits) {
    this.#limits = limits;
  }

  /**
   * Adds a write, with the value that its record gets. The key is the first `keyBytes` of `key`, and is copied.
   *
   * @param expiresAtMs 0: never
   */
  add(kind: RecordKind, key: Uint8Array, keyBytes: number, value: Uint8Array, expiresAtMs = 0): void {
    const { geometry } = this.#limits;
    if (expiresAtMs !== 0) {
      this.#expiries ??= [];
      this.#expiries[this.kinds.length] = expiresAtMs;
    }
    this.kinds.push(kind);
    this.#keys.add(key, keyBytes);
    this.#values.push(value);
    const paddedBytes = paddedRecordBytes(keyBytes, value.length, expiresAtMs);
    if (paddedBytes <= maxRecordBytes(geometry)) {
      this.#addRecord(paddedBytes);
      return;
    }
    const fragmentBytes = fragmentValueBytes(geometry, keyBytes);
    for (let from = 0; from < value.length; from += fragmentBytes) {
      this.#addRecord(paddedRecordBytes(keyBytes, Math.min(fragmentBytes, value.length - from)));
    }
    const table = tableBytes(Math.ceil(value.length / fragmentBytes));
    this.#addRecord(paddedRecordBytes(keyBytes, table, expiresAtMs));
  }

  /** When an operation expires; 0: never. */
  expiryAt(operation: number): number {
    return this.#expiries?.[operation] ?? 0;
  }

  /** Adds a condition on the key of the next write. */
  addCondition(version: number): void {
    this.conditions.push({ at: this.kinds.length, version, read: null, found: null });
  }

  /** Whether it is too large to be admitted in one step. */
  get isLong(): boolean {
    return this.paddedSizes.length > MOST_STEP_RECORDS || this.#bytes > this.#limits.stepBytes;
  }

  /** A view, valid until `release`. */
  keyAt(operation: number): Uint8Array {
    return this.#keys.at(operation);
  }

  /** Copies a key to the start of `scratch`, which is cheaper than a view, and returns its length. */
  copyKey(operation: number, scratch: Uint8Array): number {
    return this.#keys.copy(operation, scratch);
  }

  valueAt(operation: number): Uint8Array {
    return this.#ownValues?.at(operation) ?? (this.#values[operation] as Uint8Array);
  }

  /** BATCH-1. Copies the values. Must run within the caller's call. */
  own(): void {
    if (this.#ownValues !== null) return;
    const own = new PackedBytes();
    for (const value of this.#values) own.add(value, value.length);
    this.#ownValues = own;
    this.#values = [];
  }

  /** BATCH-1. The batch must not be used any more. */
  release(): void {
    this.#keys.release();
    this.#ownValues?.release();
  }

  #addRecord(paddedBytes: number): void {
    this.paddedSizes.push(paddedBytes);
    this.#bytes += paddedBytes;
  }
}

export const NO_VALUE = new Uint8Array(0);

const OPERATION_NAMES = {
  type: true,
  key: true,
  value: true,
  ifAbsent: true,
  ifVersion: true,
  ttlMs: true,
  expiresAt: true,
};

/**
 * Checks and encodes the operations of a batch.
 *
 * @param scratch for one key
 * @throws AiokvTypeError ERR_AIOKV_INVALID_ARGUMENT, ERR_AIOKV_INVALID_OPTION; AiokvRangeError
 *   ERR_AIOKV_KEY_TOO_LARGE, ERR_AIOKV_RECORD_TOO_LARGE, ERR_AIOKV_BATCH_TOO_LARGE
 */
export function encodeBatch(
  operations: readonly BatchOperation[],
  scratch: Uint8Array,
  limits: BatchLimits,
  expiry: ExpiryClock,
): WriteBatch {
  if (!Array.isArray(operations)) {
    throw new AiokvTypeError('ERR_AIOKV_INVALID_ARGUMENT', 'batch takes an array of operations');
  }
  const batch = new WriteBatch(limits);
  let bytes = 0;
  const grow = (keyBytes: number, valueBytes: number): void => {
    bytes += paddedRecordBytes(keyBytes, valueBytes);
    // A batch of one operation is limited as a single write is.
    if (bytes > limits.batchBytes && operations.length > 1) throw batchTooLarge(limits);
  };
  for (const operation of operations as readonly BatchOperation[]) {
    if (operation?.type === 'deleteRange') {
      const { type: _, ...range } = operation;
      const { from, to, isEmpty } = encodeDeletion('batch', range);
      if (isEmpty) continue;
      const upper = to ?? NO_VALUE;
      grow(from.length, upper.length);
      batch.add(RecordKind.deleteRange, from, from.length, upper);
      continue;
    }
    if (operation?.type !== 'put' && operation?.type !== 'del') {
      throw new AiokvTypeError(
        'ERR_AIOKV_INVALID_ARGUMENT',
        "the type of a batch operation is 'put', 'del' or 'deleteRange'",
      );
    }
    refuseUnknown('batch', OPERATION_NAMES, operation, 'property of an operation');
    if (operation.type === 'del' && 'value' in operation && operation.value !== undefined) {
      throw new AiokvTypeError(
        'ERR_AIOKV_INVALID_ARGUMENT',
        "a 'del' of a batch has no value: leave it out, or use 'put'",
      );
    }
    const expiresAtMs = expiresAtOfOptions('batch', operation as ExpiryOptions, expiry);
    if (operation.type === 'del') requireNoExpiry('batch', expiresAtMs);
    const keyBytes = encodeKey(operation.key, scratch);
    const value = operation.type === 'put' ? encodeValue(operation.value) : NO_VALUE;
    requireValueFits(value, limits);
    grow(keyBytes, value.length);
    const version = conditionOf(operation);
    if (version !== null) batch.addCondition(version);
    const kind = operation.type === 'put' ? RecordKind.put : RecordKind.del;
    batch.add(kind, scratch, keyBytes, value, expiresAtMs);
  }
  return batch;
}

/** @throws AiokvRangeError ERR_AIOKV_RECORD_TOO_LARGE */
export function requireValueFits(value: Uint8Array, { valueBytes }: BatchLimits): void {
  if (value.length <= valueBytes) return;
  throw new AiokvRangeError(
    'ERR_AIOKV_RECORD_TOO_LARGE',
    `a value has at most ${valueBytes} bytes, this one has ${value.length}: split it over several keys`,
  );
}

function batchTooLarge({ batchBytes }: BatchLimits): AiokvRangeError {
  return new AiokvRangeError(
    'ERR_AIOKV_BATCH_TOO_LARGE',
    `a batch has at most ${batchBytes} bytes (24 for each operation, its key and value): split it, or open with a larger maxBatchBytes`,
  );
}

/**
 * The version that the key must have; 0: it must not exist; null: there is no condition.
 *
 * @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION
 */
export function conditionOf(options: ConditionOptions | undefined): number | null {
  if (options === undefined) return null;
  const { ifAbsent, ifVersion } = options;
  if (ifAbsent === undefined && ifVersion === undefined) return null;
  if (ifAbsent !== undefined && typeof ifAbsent !== 'boolean') {
    throw new AiokvTypeError('ERR_AIOKV_INVALID_OPTION', 'ifAbsent must be true or false');
  }
  if (ifVersion === undefined) return ifAbsent === true ? 0 : null;
  const sequence = sequenceOfVersion(ifVersion);
  if (ifAbsent === true || sequence === null) {
    throw new AiokvTypeError(
      'ERR_AIOKV_INVALID_OPTION',
      'ifVersion must be a version from getVersioned, without ifAbsent',
    );
  }
  return sequence;
}

/**
 * When a write with these options expires, in milliseconds since 1970; 0: never.
 *
 * @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION
 */
export function expiresAtOfOptions(call: string, options: ExpiryOptions | undefined, expiry: ExpiryClock): number {
  if (options === undefined) return 0;
  const { ttlMs, expiresAt } = options;
  if (ttlMs === undefined && expiresAt === undefined) return 0;
  const name = ttlMs === undefined ? 'expiresAt' : 'ttlMs';
  const given = options[name];
  const expiresAtMs = ttlMs === undefined ? given : expiry.nowMs() + ttlMs;
  const isBoth = ttlMs !== undefined && expiresAt !== undefined;
  if (isBoth || !Number.isSafeInteger(given) || (given as number) < 1 || !Number.isSafeInteger(expiresAtMs)) {
    const what = isBoth ? 'give ttlMs or expiresAt, not both' : `${name} is a whole number of milliseconds from 1`;
    throw new AiokvTypeError('ERR_AIOKV_INVALID_OPTION', `${call}: ${what}`);
  }
  return expiresAtMs as number;
}

/** @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION */
export function requireNoExpiry(call: string, expiresAtMs: number): void {
  if (expiresAtMs === 0) return;
  throw new AiokvTypeError('ERR_AIOKV_INVALID_OPTION', `${call}: ttlMs and expiresAt belong to a put`);
}

/** @param found the key's version; 0: it does not exist */
export function conditionFailed(wanted: number, found: number): AiokvError {
  if (wanted === 0) {
    return new AiokvError('ERR_AIOKV_CONDITION_FAILED', 'the key already exists: nothing was written');
  }
  const what = found === 0 ? 'does not exist' : 'has another version';
  return new AiokvError('ERR_AIOKV_CONDITION_FAILED', `the key ${what}: nothing was written; read it again`);
}
