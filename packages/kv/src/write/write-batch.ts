/**
 * Writes that are admitted together, checked before anything is: the operations of a batch, or one write
 * that has to wait, or that has a condition.
 *
 * Y1. A condition is about the state before the group: operations of one batch do not see each other.
 * Y2. A group that has to wait owns its bytes: the caller's may change as soon as the call has returned. Their memory is
 *     used again after `release`.
 */
import { AiokvError, AiokvRangeError, AiokvTypeError, MIB } from '@aiokv/core';
import { maxRecordBytes, pieceValueBytes, tableBytes } from '../format/extent.ts';
import { RecordKind, paddedRecordBytes } from '../format/record.ts';
import type { Geometry } from '../format/superblock.ts';
import { encodeKey, encodeValue } from '../format/keys.ts';
import type { Bytes } from '../format/keys.ts';
import { PackedBytes } from './packed-bytes.ts';

/** What must be so at the moment of admission. */
export interface ConditionOptions {
  /** The key does not exist; default: it may. */
  readonly ifAbsent?: boolean;
  /** The key exists, and its latest write has this version, as `getVersioned` returns it; default: any. */
  readonly ifVersion?: number;
}

/** One operation of a batch. */
export type BatchOperation = ConditionOptions &
  (
    { readonly type: 'put'; readonly key: Bytes; readonly value: Bytes } | { readonly type: 'del'; readonly key: Bytes }
  );

/** A condition on the key of operation `at`. */
export interface Condition {
  readonly at: number;
  /** The version that the key must have; 0: it must not exist. */
  readonly version: number;
  /** The version of the record at a place of the file, where it had to be read to know it. */
  learned: { readonly fileOffset: number; readonly version: number } | null;
}

/** What one value and one group may take. */
export interface GroupLimits {
  readonly geometry: Geometry;
  readonly valueBytes: number;
  /** Of a batch: of each operation 24 bytes, key and value. */
  readonly batchBytes: number;
  /** Of a group that is admitted in one step, in the log. */
  readonly stepBytes: number;
}

/** A step of a millisecond at most: with the bytes, or with the records, it takes longer. */
export const MOST_STEP_BYTES = MIB;
const MOST_STEP_RECORDS = 256;

/** Operations, the records that they take, and conditions. */
export class Group {
  readonly kinds: RecordKind[] = [];
  /** Of the records in the log, in their order: one for each operation, and before it those of the pieces of its value. */
  readonly paddedSizes: number[] = [];
  readonly conditions: Condition[] = [];
  readonly #limits: GroupLimits;
  readonly #keys = new PackedBytes();
  /** The caller's, until `own` is called. */
  #values: Uint8Array[] = [];
  #ownValues: PackedBytes | null = null;
  #bytes = 0;

  constructor(limits: GroupLimits) {
    this.#limits = limits;
  }

  /** Adds a write of a key that is the first bytes of `key`, and is copied. */
  add(kind: RecordKind, key: Uint8Array, keyBytes: number, value: Uint8Array): void {
    const { geometry } = this.#limits;
    this.kinds.push(kind);
    this.#keys.add(key, keyBytes);
    this.#values.push(value);
    const paddedBytes = paddedRecordBytes(keyBytes, value.length);
    if (paddedBytes <= maxRecordBytes(geometry)) {
      this.#addRecord(paddedBytes);
      return;
    }
    const pieceBytes = pieceValueBytes(geometry, keyBytes);
    for (let from = 0; from < value.length; from += pieceBytes) {
      this.#addRecord(paddedRecordBytes(keyBytes, Math.min(pieceBytes, value.length - from)));
    }
    this.#addRecord(paddedRecordBytes(keyBytes, tableBytes(Math.ceil(value.length / pieceBytes))));
  }

  /** It takes too much to be admitted in one step. */
  get isLong(): boolean {
    return this.paddedSizes.length > MOST_STEP_RECORDS || this.#bytes > this.#limits.stepBytes;
  }

  /** Valid until the group is released. */
  keyAt(operation: number): Uint8Array {
    return this.#keys.at(operation);
  }

  /** Copies a key to the start of `scratch`, which costs less than a view; returns its length. */
  copyKey(operation: number, scratch: Uint8Array): number {
    return this.#keys.copy(operation, scratch);
  }

  valueAt(operation: number): Uint8Array {
    return this.#ownValues?.at(operation) ?? (this.#values[operation] as Uint8Array);
  }

  /** Y2. Copies the values. Called in the turn of the call, when the group has to wait. */
  own(): void {
    if (this.#ownValues !== null) return;
    const own = new PackedBytes();
    for (const value of this.#values) own.add(value, value.length);
    this.#ownValues = own;
    this.#values = [];
  }

  /** Y2. Called when nothing of the group will be looked at any more. */
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

/**
 * The operations of a batch as a group.
 *
 * @param scratch room for a key
 * @throws AiokvTypeError ERR_AIOKV_INVALID_ARGUMENT; AiokvRangeError ERR_AIOKV_KEY_TOO_LARGE,
 *   ERR_AIOKV_RECORD_TOO_LARGE, ERR_AIOKV_BATCH_TOO_LARGE
 */
export function encodeGroup(operations: readonly BatchOperation[], scratch: Uint8Array, limits: GroupLimits): Group {
  if (!Array.isArray(operations)) {
    throw new AiokvTypeError('ERR_AIOKV_INVALID_ARGUMENT', 'batch takes an array of operations');
  }
  const group = new Group(limits);
  let bytes = 0;
  for (const operation of operations as readonly BatchOperation[]) {
    if (operation?.type !== 'put' && operation?.type !== 'del') {
      throw new AiokvTypeError('ERR_AIOKV_INVALID_ARGUMENT', "the type of a batch operation is 'put' or 'del'");
    }
    const keyBytes = encodeKey(operation.key, scratch);
    const value = operation.type === 'put' ? encodeValue(operation.value) : NO_VALUE;
    requireValueFits(value, limits);
    bytes += paddedRecordBytes(keyBytes, value.length);
    // A batch of one is a write like any other.
    if (bytes > limits.batchBytes && operations.length > 1) throw batchTooLarge(limits);
    const version = conditionOf(operation);
    if (version !== null) group.conditions.push({ at: group.kinds.length, version, learned: null });
    const kind = operation.type === 'put' ? RecordKind.put : RecordKind.del;
    group.add(kind, scratch, keyBytes, value);
  }
  return group;
}

/** @throws AiokvRangeError ERR_AIOKV_RECORD_TOO_LARGE */
export function requireValueFits(value: Uint8Array, { valueBytes }: GroupLimits): void {
  if (value.length <= valueBytes) return;
  throw new AiokvRangeError(
    'ERR_AIOKV_RECORD_TOO_LARGE',
    `a value has at most ${valueBytes} bytes, this one has ${value.length}: split it`,
  );
}

function batchTooLarge({ batchBytes }: GroupLimits): AiokvRangeError {
  return new AiokvRangeError(
    'ERR_AIOKV_BATCH_TOO_LARGE',
    `a batch takes at most ${batchBytes} bytes, of each operation 24, key and value: split it, or open with a larger maxBatchBytes`,
  );
}

/**
 * The version that is asked for, 0 for none at all, or null without a condition.
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
  if (ifAbsent === true || !Number.isSafeInteger(ifVersion) || ifVersion < 1) {
    throw new AiokvTypeError(
      'ERR_AIOKV_INVALID_OPTION',
      'ifVersion must be a version that getVersioned returned, and not beside ifAbsent',
    );
  }
  return ifVersion;
}

/** @param found the version that the key has, 0 when it does not exist */
export function conditionFailed(wanted: number, found: number): AiokvError {
  if (wanted === 0) {
    return new AiokvError('ERR_AIOKV_CONDITION_FAILED', 'the key exists already: nothing was written');
  }
  const what = found === 0 ? 'does not exist' : `has version ${found}`;
  return new AiokvError(
    'ERR_AIOKV_CONDITION_FAILED',
    `the key ${what} instead of version ${wanted}: nothing was written; read it again`,
  );
}
