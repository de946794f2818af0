/** Ranges of keys as callers give them, of an iterator or to be deleted: checks them and encodes the bounds. */
import { AiokvTypeError, boolean, instance, resolveOptions } from '@aiokv/core';
import type { OptionShape } from '@aiokv/core';
import { BYTES, compareKeys, createKeyScratch, encodeKey, isBytes, successorOf } from '../format/keys.ts';
import type { Bytes } from '../format/keys.ts';

/** A range of keys. Without a bound it goes to that end. */
export interface KeyRange {
  /** Lower bound, without the key itself. Keys are compared bytewise. Default: none. */
  gt: Bytes | undefined;
  /** Lower bound, with the key itself. Not together with `gt`. Default: none. */
  gte: Bytes | undefined;
  /** Upper bound, without the key itself. Default: none. */
  lt: Bytes | undefined;
  /** Upper bound, with the key itself. Not together with `lt`. Default: none. */
  lte: Bytes | undefined;
}

export interface RangeOptions extends KeyRange {
  /** True: from the last key to the first. Default false. */
  reverse: boolean;
  /** Most entries to return; default Infinity. */
  limit: number;
}

/** The keys from `from` on that are below `to`; null: to the last key. */
export interface EncodedBounds {
  readonly from: Uint8Array;
  readonly to: Uint8Array | null;
  /** No key lies between the bounds. */
  readonly isEmpty: boolean;
}

export interface EncodedRange extends EncodedBounds {
  readonly reverse: boolean;
  readonly limit: number;
}

/** Scratch for bounds, within one step: one of its own would cost a short range a microsecond. */
const scratch = createKeyScratch();

const bound = instance<Bytes | undefined>(BYTES, undefined, isBytes);

const boundsShape: OptionShape<KeyRange> = { gt: bound, gte: bound, lt: bound, lte: bound };

const rangeShape: OptionShape<RangeOptions> = {
  ...boundsShape,
  reverse: boolean(false),
  limit: instance(
    'a whole number from 0, or Infinity',
    Infinity,
    (value) => value === Infinity || (Number.isSafeInteger(value) && (value as number) >= 0),
  ),
};

/**
 * The range options of an iterator.
 *
 * @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION; ERR_AIOKV_INVALID_ARGUMENT, AiokvRangeError ERR_AIOKV_KEY_TOO_LARGE
 *   for a bad bound
 */
export function encodeRange(given: Partial<RangeOptions> | undefined): EncodedRange {
  const options = resolveOptions('iterator', rangeShape, given);
  return { ...encodeBounds('iterator', options), reverse: options.reverse, limit: options.limit };
}

/**
 * The bounds of a range that is to be deleted.
 *
 * @param call the name of the call, for messages
 * @throws as `encodeRange`; AiokvTypeError ERR_AIOKV_INVALID_ARGUMENT if `given` is no object
 */
export function encodeDeletion(call: string, given: Partial<KeyRange>): EncodedBounds {
  if (typeof given !== 'object' || given === null) {
    throw new AiokvTypeError(
      'ERR_AIOKV_INVALID_ARGUMENT',
      `${call} takes a range: an object with gt or gte, and lt or lte; clear() deletes everything`,
    );
  }
  return encodeBounds(call, resolveOptions(call, boundsShape, given));
}

function encodeBounds(call: string, options: KeyRange): EncodedBounds {
  for (const [one, other] of [
    ['gt', 'gte'],
    ['lt', 'lte'],
  ] as const) {
    if (options[one] !== undefined && options[other] !== undefined) {
      throw new AiokvTypeError('ERR_AIOKV_INVALID_OPTION', `${call}: give ${one} or ${other}, not both`);
    }
  }
  const bytesOf = (key: Bytes): Uint8Array => scratch.slice(0, encodeKey(key, scratch));
  const { gt, gte, lt, lte } = options;
  // Null: behind the last key that there can be.
  let from: Uint8Array | null = new Uint8Array(0);
  if (gt !== undefined) from = successorOf(bytesOf(gt));
  else if (gte !== undefined) from = bytesOf(gte);
  let to: Uint8Array | null = null;
  if (lt !== undefined) to = bytesOf(lt);
  else if (lte !== undefined) to = successorOf(bytesOf(lte));
  if (from === null) return { from: new Uint8Array(0), to, isEmpty: true };
  return { from, to, isEmpty: to !== null && compareKeys(from, from.length, to, to.length) >= 0 };
}
