/** The range options of an iterator: checks them and encodes the bounds. */
import { AiokvTypeError, boolean, instance, resolveOptions } from '@aiokv/core';
import type { OptionShape } from '@aiokv/core';
import { BYTES, createKeyScratch, encodeKey, isBytes } from '../format/keys.ts';
import type { Bytes } from '../format/keys.ts';

export interface RangeOptions {
  /** Lower bound, without the key itself. Keys are compared bytewise. Default: none. */
  gt: Bytes | undefined;
  /** Lower bound, with the key itself. Not together with `gt`. Default: none. */
  gte: Bytes | undefined;
  /** Upper bound, without the key itself. Default: none. */
  lt: Bytes | undefined;
  /** Upper bound, with the key itself. Not together with `lt`. Default: none. */
  lte: Bytes | undefined;
  /** True: from the last key to the first. Default false. */
  reverse: boolean;
  /** Most entries to return; default Infinity. */
  limit: number;
}

/** A range with its bounds as bytes. Null: no bound. */
export interface EncodedRange {
  readonly lower: { readonly key: Uint8Array; readonly inclusive: boolean } | null;
  readonly upper: { readonly key: Uint8Array; readonly inclusive: boolean } | null;
  readonly reverse: boolean;
  readonly limit: number;
}

const bound = instance<Bytes | undefined>(BYTES, undefined, isBytes);

const rangeShape: OptionShape<RangeOptions> = {
  gt: bound,
  gte: bound,
  lt: bound,
  lte: bound,
  reverse: boolean(false),
  limit: instance(
    'a whole number from 0, or Infinity',
    Infinity,
    (value) => value === Infinity || (Number.isSafeInteger(value) && (value as number) >= 0),
  ),
};

/**
 * @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION; ERR_AIOKV_INVALID_ARGUMENT, AiokvRangeError ERR_AIOKV_KEY_TOO_LARGE
 *   for a bad bound
 */
export function encodeRange(given: Partial<RangeOptions> | undefined): EncodedRange {
  const options = resolveOptions('iterator', rangeShape, given);
  const scratch = createKeyScratch();
  const toBound = (key: Bytes | undefined, inclusive: boolean): EncodedRange['lower'] =>
    key === undefined ? null : { key: scratch.slice(0, encodeKey(key, scratch)), inclusive };
  for (const [one, other] of [
    ['gt', 'gte'],
    ['lt', 'lte'],
  ] as const) {
    if (options[one] !== undefined && options[other] !== undefined) {
      throw new AiokvTypeError('ERR_AIOKV_INVALID_OPTION', `iterator: give ${one} or ${other}, not both`);
    }
  }
  return {
    lower: toBound(options.gt, false) ?? toBound(options.gte, true),
    upper: toBound(options.lt, false) ?? toBound(options.lte, true),
    reverse: options.reverse,
    limit: options.limit,
  };
}
