/** Ranges of keys as callers give them, of an iterator or to be deleted: checks them and encodes the bounds. */
import { AiokvTypeError, abortSignal, boolean, instance, resolveOptions } from '@aiokv/core';
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

export type LowerBound = Pick<KeyRange, 'gt' | 'gte'>;
export type UpperBound = Pick<KeyRange, 'lt' | 'lte'>;

export interface CountOptions extends KeyRange {
  /** Ends the call with ERR_AIOKV_ABORTED when it aborts. Default null. */
  signal: AbortSignal | null;
}

export interface RangeOptions extends KeyRange {
  /** True: from the last key to the first. Default false. */
  reverse: boolean;
  /** Most entries to return; default Infinity. */
  limit: number;
  /** Ends the iterator with ERR_AIOKV_ABORTED when it aborts. Default null. */
  signal: AbortSignal | null;
  /**
   * True: at its end the iterator keeps its moment, so that `seek` leads back from there; it is ended by `return()` alone. Default
   * false.
   */
  stayOpen: boolean;
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
  readonly signal: AbortSignal | null;
  readonly stayOpen: boolean;
}

/** Scratch for bounds, within one step: one of its own would cost a short range a microsecond. */
const scratch = createKeyScratch();

const bound = instance<Bytes | undefined>(BYTES, undefined, isBytes);

const lowerShape: OptionShape<LowerBound> = { gt: bound, gte: bound };
const upperShape: OptionShape<UpperBound> = { lt: bound, lte: bound };
const boundsShape: OptionShape<KeyRange> = { ...lowerShape, ...upperShape };
const countShape: OptionShape<CountOptions> = { ...boundsShape, signal: abortSignal() };
const NO_BOUNDS: KeyRange = { gt: undefined, gte: undefined, lt: undefined, lte: undefined };

const rangeShape: OptionShape<RangeOptions> = {
  ...boundsShape,
  reverse: boolean(false),
  limit: instance(
    'a whole number from 0, or Infinity',
    Infinity,
    (value) => value === Infinity || (Number.isSafeInteger(value) && (value as number) >= 0),
  ),
  signal: abortSignal(),
  stayOpen: boolean(false),
};

/**
 * The range options of an iterator.
 *
 * @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION; ERR_AIOKV_INVALID_ARGUMENT, AiokvRangeError ERR_AIOKV_KEY_TOO_LARGE
 *   for a bad bound
 */
export function encodeRange(given: Partial<RangeOptions> | undefined): EncodedRange {
  const options = resolveOptions('iterator', rangeShape, given);
  const { reverse, limit, signal, stayOpen } = options;
  return { ...encodeBounds('iterator', options), reverse, limit, signal, stayOpen };
}

/** The bounds of a range that is asked about. @param call the name of the call, for messages. Throws as `encodeRange` */
export function encodeWithin(call: string, given: Partial<KeyRange> | undefined): EncodedBounds {
  return encodeBounds(call, resolveOptions(call, boundsShape, given));
}

/** As `encodeWithin`: from the bound to this key. */
export function encodeTo(call: string, key: Bytes, given: Partial<LowerBound> | undefined): EncodedBounds {
  return encodeBounds(call, { ...NO_BOUNDS, ...resolveOptions(call, lowerShape, given), lte: requireKey(key) });
}

/** As `encodeWithin`: from this key to the bound. */
export function encodeFrom(call: string, key: Bytes, given: Partial<UpperBound> | undefined): EncodedBounds {
  return encodeBounds(call, { ...NO_BOUNDS, ...resolveOptions(call, upperShape, given), gte: requireKey(key) });
}

/** Of a key that must be there: an option that is undefined counts as left out. */
function requireKey(key: Bytes): Bytes {
  encodeKey(key, scratch);
  return key;
}

export function encodeCount(given: Partial<CountOptions> | undefined): {
  readonly bounds: EncodedBounds;
  readonly signal: AbortSignal | null;
} {
  const options = resolveOptions('count', countShape, given);
  return { bounds: encodeBounds('count', options), signal: options.signal };
}

/** A copy of a key. Throws as `encodeKey`. */
export function keyOf(key: Bytes): Uint8Array {
  return scratch.slice(0, encodeKey(key, scratch));
}

/** What is left of a range for a walk that goes on at this key. */
export function boundsFrom({ from, to, isEmpty, reverse }: EncodedRange, key: Uint8Array): EncodedBounds {
  if (isEmpty) return { from, to, isEmpty };
  if (reverse) {
    const behind = successorOf(key);
    const isNearer = behind !== null && (to === null || compareKeys(behind, behind.length, to, to.length) < 0);
    return boundsOf(from, isNearer ? behind : to);
  }
  return boundsOf(compareKeys(key, key.length, from, from.length) > 0 ? key : from, to);
}

function boundsOf(from: Uint8Array, to: Uint8Array | null): EncodedBounds {
  return { from, to, isEmpty: to !== null && compareKeys(from, from.length, to, to.length) >= 0 };
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
  const { gt, gte, lt, lte } = options;
  // Null: behind the last key that there can be.
  let from: Uint8Array | null = new Uint8Array(0);
  if (gt !== undefined) from = successorOf(keyOf(gt));
  else if (gte !== undefined) from = keyOf(gte);
  let to: Uint8Array | null = null;
  if (lt !== undefined) to = keyOf(lt);
  else if (lte !== undefined) to = successorOf(keyOf(lte));
  if (from === null) return { from: new Uint8Array(0), to, isEmpty: true };
  return boundsOf(from, to);
}
