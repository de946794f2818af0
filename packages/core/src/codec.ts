/**
 * Codecs between JavaScript values and bytes, over `msgpackr`, for users of a store: a store keeps bytes only.
 */
import { Packr, Unpackr } from 'msgpackr';

export interface Codec<T = unknown> {
  encode(value: T): Uint8Array;
  decode(bytes: Uint8Array): T;
}

/**
 * MessagePack. Values share no structures, so each can be decoded without the others. The encoded bytes belong to the
 * caller. A property named `__proto__` comes back as `__proto_`.
 */
export function createCodec<T = unknown>(): Codec<T> {
  const packr = new Packr({ useRecords: false });
  const unpackr = new Unpackr({ useRecords: false });
  return {
    encode: (value) => packr.pack(value),
    decode: (bytes) => unpackr.unpack(bytes) as T,
  };
}
