/**
 * Writes that are admitted together, checked before anything is: the operations of a batch, or one write that has a
 * condition or a long value.
 *
 * BATCH-1. A batch that has to wait owns its bytes: the caller's may change as soon as the call has returned. Their
 *     memory is used again after `release`.
 */
import { AiokvError, AiokvRangeError, AiokvTypeError, MIB, refuseUnknown } from '@aiokv/core';
import { fragmentValueBytes, maxRecordBytes, tableBytes } from '../format/extent.ts';
import { RecordKind, paddedRecordBytes } from '../format/record.ts';
import type { Geometry } from '../format/superblock.ts';
import { encodeKey, encodeValue } from '../format/keys.ts';
import type { Bytes } from '../format/keys.ts';
import { sequenceOfVersion } from '../format/version.ts';
import type { Version } from '../format/version.ts';
import { PackedBytes } from './packed-bytes.ts';

/** What must be so at the moment of admission. */
export interface ConditionOptions {
  /** The key does not exist; default: it may. */
  readonly ifAbsent?: boolean;
  /** The key exists, and its latest write has this version, as `getVersioned` returns it; default: any. */
  readonly ifVersion?: Version;
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
  /** The version of the record at a place of the file that was read. */
  read: { readonly fileOffset: number; readonly version: number } | null;
  /** The version that the key has at the head of the queue, -1 for any, 0 for none; null: not known. */
  found: number | null;
}

/** What one value and one batch may take. */
export interface BatchLimits {
  readonly geometry: Geometry;
  readonly valueBytes: number;
  /** Of a batch: of each operation 24 bytes, key and value. */
  readonly batchBytes: number;
  /** Of a batch that is admitted in one step, in the log. */
  readonly stepBytes: number;
}

/** A step of a millisecond at most: with the bytes, or with the records, it takes longer. */
export const MOST_STEP_BYTES = MIB;
const MOST_STEP_RECORDS = 256;

/** Operations, the records that they take, and conditions. */
export class WriteBatch {
  readonly kinds: RecordKind[] = [];
  /** Of the records in the log, in their order: one for each operation, and before it those of the fragments of its value. */
  readonly paddedSizes: number[] = [];
  readonly conditions: Condition[] = [];
  readonly #limits: BatchLimits;
  readonly #keys = new PackedBytes();
  /** The caller's, until `own` is called. */
  #values: Uint8Array[] = [];
  #ownValues: PackedBytes | null = null;
  #bytes = 0;

  constructor(limits: BatchLimits) {
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
    const fragmentBytes = fragmentValueBytes(geometry, keyBytes);
    for (let from = 0; from < value.length; from += fragmentBytes) {
      this.#addRecord(paddedRecordBytes(keyBytes, Math.min(fragmentBytes, value.length - from)));
    }
    this.#addRecord(paddedRecordBytes(keyBytes, tableBytes(Math.ceil(value.length / fragmentBytes))));
  }

  /** Adds a condition on the key of the write that is added next. */
  addCondition(version: number): void {
    this.conditions.push({ at: this.kinds.length, version, read: null, found: null });
  }

  /** It takes too much to be admitted in one step. */
  get isLong(): boolean {
    return this.paddedSizes.length > MOST_STEP_RECORDS || this.#bytes > this.#limits.stepBytes;
  }

  /** Valid until the batch is released. */
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

  /** BATCH-1. Copies the values. Called in the turn of the call, when the batch has to wait. */
  own(): void {
    if (this.#ownValues !== null) return;
    const own = new PackedBytes();
    for (const value of this.#values) own.add(value, value.length);
    this.#ownValues = own;
    this.#values = [];
  }

  /** BATCH-1. Called when nothing of the batch will be looked at any more. */
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

/** What an operation of a batch may have. */
const OPERATION_NAMES = { type: true, key: true, value: true, ifAbsent: true, ifVersion: true };

/**
 * Checks and encodes the operations of a batch.
 *
 * @param scratch room for a key
 * @throws AiokvTypeError ERR_AIOKV_INVALID_ARGUMENT; AiokvRangeError ERR_AIOKV_KEY_TOO_LARGE,
 *   ERR_AIOKV_RECORD_TOO_LARGE, ERR_AIOKV_BATCH_TOO_LARGE
 */
export function encodeBatch(
  operations: readonly BatchOperation[],
  scratch: Uint8Array,
  limits: BatchLimits,
): WriteBatch {
  if (!Array.isArray(operations)) {
    throw new AiokvTypeError('ERR_AIOKV_INVALID_ARGUMENT', 'batch takes an array of operations');
  }
  const batch = new WriteBatch(limits);
  let bytes = 0;
  for (const operation of operations as readonly BatchOperation[]) {
    if (operation?.type !== 'put' && operation?.type !== 'del') {
      throw new AiokvTypeError('ERR_AIOKV_INVALID_ARGUMENT', "the type of a batch operation is 'put' or 'del'");
    }
    refuseUnknown('batch', OPERATION_NAMES, operation, 'property of an operation');
    if (operation.type === 'del' && 'value' in operation && operation.value !== undefined) {
      throw new AiokvTypeError(
        'ERR_AIOKV_INVALID_ARGUMENT',
        "a 'del' of a batch has no value: leave it out, or use 'put'",
      );
    }
    const keyBytes = encodeKey(operation.key, scratch);
    const value = operation.type === 'put' ? encodeValue(operation.value) : NO_VALUE;
    requireValueFits(value, limits);
    bytes += paddedRecordBytes(keyBytes, value.length);
    // A batch of one is a write like any other.
    if (bytes > limits.batchBytes && operations.length > 1) throw batchTooLarge(limits);
    const version = conditionOf(operation);
    if (version !== null) batch.addCondition(version);
    const kind = operation.type === 'put' ? RecordKind.put : RecordKind.del;
    batch.add(kind, scratch, keyBytes, value);
  }
  return batch;
}

/** @throws AiokvRangeError ERR_AIOKV_RECORD_TOO_LARGE */
export function requireValueFits(value: Uint8Array, { valueBytes }: BatchLimits): void {
  if (value.length <= valueBytes) return;
  throw new AiokvRangeError(
    'ERR_AIOKV_RECORD_TOO_LARGE',
    `a value has at most ${valueBytes} bytes, this one has ${value.length}: split it`,
  );
}

function batchTooLarge({ batchBytes }: BatchLimits): AiokvRangeError {
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
  const sequence = sequenceOfVersion(ifVersion);
  if (ifAbsent === true || sequence === null) {
    throw new AiokvTypeError(
      'ERR_AIOKV_INVALID_OPTION',
      'ifVersion must be a version that getVersioned returned, and not beside ifAbsent',
    );
  }
  return sequence;
}

/** @param found the version that the key has, 0 when it does not exist */
export function conditionFailed(wanted: number, found: number): AiokvError {
  if (wanted === 0) {
    return new AiokvError('ERR_AIOKV_CONDITION_FAILED', 'the key exists already: nothing was written');
  }
  const what = found === 0 ? 'does not exist' : 'has another version';
  return new AiokvError('ERR_AIOKV_CONDITION_FAILED', `the key ${what}: nothing was written; read it again`);
}
