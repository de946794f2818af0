/**
 * Writes that are admitted together, checked and copied before anything is: the operations of a batch, or one write
 * that has to wait, or that has a condition.
 *
 * Y1. A condition is about the state before the group: operations of one batch do not see each other.
 */
import { AiokvError, AiokvRangeError, AiokvTypeError } from '@aiokv/core';
import { RecordKind, paddedRecordBytes } from './format/record.ts';
import { encodeKey, encodeValue } from './keys.ts';
import type { Bytes } from './keys.ts';

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

/** Parallel arrays, and the conditions. */
export interface Group {
  readonly kinds: RecordKind[];
  readonly keys: Uint8Array[];
  readonly values: Uint8Array[];
  readonly paddedSizes: number[];
  readonly conditions: Condition[];
}

/** What one record and one group may take in the log, in bytes. */
export interface GroupLimits {
  readonly recordBytes: number;
  readonly groupBytes: number;
}

export const NO_VALUE = new Uint8Array(0);

/**
 * The operations of a batch as a group that owns its bytes.
 *
 * @param scratch room for a key
 * @throws AiokvTypeError ERR_AIOKV_INVALID_ARGUMENT; AiokvRangeError ERR_AIOKV_KEY_TOO_LARGE,
 *   ERR_AIOKV_RECORD_TOO_LARGE, ERR_AIOKV_BATCH_TOO_LARGE
 */
export function encodeGroup(operations: readonly BatchOperation[], scratch: Uint8Array, limits: GroupLimits): Group {
  if (!Array.isArray(operations)) {
    throw new AiokvTypeError('ERR_AIOKV_INVALID_ARGUMENT', 'batch takes an array of operations');
  }
  const group: Group = { kinds: [], keys: [], values: [], paddedSizes: [], conditions: [] };
  let total = 0;
  for (const operation of operations as readonly BatchOperation[]) {
    if (operation?.type !== 'put' && operation?.type !== 'del') {
      throw new AiokvTypeError('ERR_AIOKV_INVALID_ARGUMENT', "the type of a batch operation is 'put' or 'del'");
    }
    const keyBytes = encodeKey(operation.key, scratch);
    const value = operation.type === 'put' ? encodeValue(operation.value).slice() : NO_VALUE;
    const padded = paddedRecordBytes(keyBytes, value.length);
    if (padded > limits.recordBytes) throw recordTooLarge(padded, limits);
    total += padded;
    const version = conditionOf(operation);
    if (version !== null) group.conditions.push({ at: group.kinds.length, version, learned: null });
    group.kinds.push(operation.type === 'put' ? RecordKind.put : RecordKind.del);
    group.keys.push(scratch.slice(0, keyBytes));
    group.values.push(value);
    group.paddedSizes.push(padded);
  }
  if (total > limits.groupBytes) {
    throw new AiokvRangeError(
      'ERR_AIOKV_BATCH_TOO_LARGE',
      `a batch takes at most ${limits.groupBytes} bytes, this one has ${total}: split it, or open with a larger writeBufferBytes`,
    );
  }
  return group;
}

export function recordTooLarge(padded: number, { recordBytes }: GroupLimits): AiokvRangeError {
  return new AiokvRangeError(
    'ERR_AIOKV_RECORD_TOO_LARGE',
    `key and value take ${padded} bytes in the log, at most ${recordBytes} fit: split the value`,
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
