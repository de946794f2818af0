/**
 * Codecs between JavaScript values and the bytes that a store keeps, over `msgpackr`. A store itself
 * takes bytes only; a codec is for its callers.
 */
import { Packr, Unpackr } from 'msgpackr';

export interface Codec<T = unknown> {
  encode(value: T): Uint8Array;
  decode(bytes: Uint8Array): T;
}

/**
 * MessagePack. Every encoded value stands alone: no structure is shared between values, so each can
 * be read without any other. The encoded bytes are a fresh array that belongs to the caller. A property
 * named `__proto__` comes back as `__proto_`.
 */
export function createCodec<T = unknown>(): Codec<T> {
  const packr = new Packr({ useRecords: false });
  const unpackr = new Unpackr({ useRecords: false });
  return {
    encode: (value) => packr.pack(value),
    decode: (bytes) => unpackr.unpack(bytes) as T,
  };
}
