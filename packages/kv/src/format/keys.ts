/**
 * Checks and encodes the keys and values that callers pass, before any state changes. Strings become UTF-8. The bytes
 * of a key are copied to the start of a scratch array, so that no view is allocated.
 *
 * KEYS-1. The memory of a caller is not read after the call. The caller may change or transfer it as soon as the call
 *     has returned.
 */
import { isAnyArrayBuffer, isUint8Array } from 'node:util/types';
import { AiokvRangeError, AiokvTypeError } from '@aiokv/core';
import { MAX_KEY_BYTES } from './record.ts';

/**
 * A key or a value: a string or bytes. Bytes are any view (a Uint8Array, a Buffer, a DataView, …) or an ArrayBuffer,
 * from any realm, shared memory included. They are copied during the call.
 */
export type Bytes = string | ArrayBufferView | ArrayBufferLike;

/** Describes `Bytes` in messages. */
export const BYTES = 'a string or bytes (a Uint8Array or another view, or an ArrayBuffer)';

/** Room for a key of any string that passes the first check: UTF-8 takes up to three bytes per UTF-16 unit. */
const SCRATCH_BYTES = MAX_KEY_BYTES * 3 + 3;
const encoder = new TextEncoder();

export function createKeyScratch(): Uint8Array {
  return new Uint8Array(SCRATCH_BYTES);
}

export function isBytes(value: unknown): value is Bytes {
  return typeof value === 'string' || ArrayBuffer.isView(value) || isAnyArrayBuffer(value);
}

/**
 * Writes the bytes of the key to the start of `scratch`, which `createKeyScratch` made. Returns their number.
 *
 * @throws AiokvTypeError ERR_AIOKV_INVALID_ARGUMENT if the key is not `Bytes`, is a string with a lone surrogate, or is
 * a
 *   detached buffer; AiokvRangeError ERR_AIOKV_KEY_TOO_LARGE above 4096 bytes
 */
export function encodeKey(key: Bytes, scratch: Uint8Array): number {
  let length: number;
  if (typeof key === 'string') {
    if (key.length > MAX_KEY_BYTES) throw keyTooLarge(key.length);
    length = encodeShortAscii(key, scratch);
    if (length < 0) {
      requireWellFormed(key, 'key');
      length = encoder.encodeInto(key, scratch).written;
    }
  } else {
    const bytes = bytesOf(key, 'key');
    length = bytes.length;
    if (length > MAX_KEY_BYTES) throw keyTooLarge(length);
    for (let i = 0; i < length; i++) scratch[i] = bytes[i] as number;
    return length;
  }
  if (length > MAX_KEY_BYTES) throw keyTooLarge(length);
  return length;
}

/** Encodes a short ASCII string; returns -1 for any other. 24 characters take 30 ns, with `encodeInto` 55 ns. */
function encodeShortAscii(key: string, scratch: Uint8Array): number {
  const length = key.length;
  if (length > 64) return -1;
  for (let i = 0; i < length; i++) {
    const unit = key.charCodeAt(i);
    if (unit > 127) return -1;
    scratch[i] = unit;
  }
  return length;
}

/** Negative, zero or positive: the first key is before, equal to or after the second. Keys are compared bytewise. */
export function compareKeys(a: Uint8Array, aLength: number, b: Uint8Array, bLength: number): number {
  const length = Math.min(aLength, bLength);
  for (let i = 0; i < length; i++) {
    const difference = (a[i] as number) - (b[i] as number);
    if (difference !== 0) return difference;
  }
  return aLength - bLength;
}

/** The first key after this one; null if it is the last that there can be. */
export function successorOf(key: Uint8Array): Uint8Array | null {
  if (key.length < MAX_KEY_BYTES) {
    const longer = new Uint8Array(key.length + 1);
    longer.set(key);
    return longer;
  }
  let length = key.length;
  while (length > 0 && key[length - 1] === 0xff) length--;
  if (length === 0) return null;
  const next = key.slice(0, length);
  next[length - 1] = (next[length - 1] as number) + 1;
  return next;
}

/**
 * The bytes of a value. Unless it is a string they are the caller's memory, and must be copied before the public call
 * returns (KEYS-1).
 *
 * @throws AiokvTypeError ERR_AIOKV_INVALID_ARGUMENT as `encodeKey`
 */
export function encodeValue(value: Bytes): Uint8Array {
  if (typeof value !== 'string') return bytesOf(value, 'value');
  requireWellFormed(value, 'value');
  return Buffer.from(value, 'utf8');
}

/** A Uint8Array over the memory of the caller. */
function bytesOf(value: Exclude<Bytes, string>, what: string): Uint8Array {
  // The usual case, which allocates nothing. Not `instanceof`, which knows only the classes of its own realm.
  if (isUint8Array(value)) {
    if (value.length === 0) requireAttached(value.buffer, what);
    return value;
  }
  if (ArrayBuffer.isView(value)) {
    requireAttached(value.buffer, what);
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  }
  if (!isAnyArrayBuffer(value)) throw wrongType(value, what);
  requireAttached(value, what);
  return new Uint8Array(value);
}

/** A detached buffer looks like an empty one. */
function requireAttached(buffer: ArrayBufferLike, what: string): void {
  if (buffer.byteLength > 0) return;
  try {
    // Node.js 20 has no `detached` property, but this constructor throws for a detached buffer.
    void new Uint8Array(buffer);
  } catch (cause) {
    throw new AiokvTypeError(
      'ERR_AIOKV_INVALID_ARGUMENT',
      `the memory of the ${what} was transferred away (its buffer is detached): pass a copy, or call before the transfer`,
      { cause },
    );
  }
}

function requireWellFormed(text: string, what: string): void {
  // An encoder replaces a lone surrogate, so the string could not be read back.
  if (/[\ud800-\udfff]/u.test(text)) {
    throw new AiokvTypeError(
      'ERR_AIOKV_INVALID_ARGUMENT',
      `the ${what} is a string with a lone surrogate, which UTF-8 cannot encode: pass bytes`,
    );
  }
}

function wrongType(value: unknown, what: string): AiokvTypeError {
  return new AiokvTypeError('ERR_AIOKV_INVALID_ARGUMENT', `a ${what} must be ${BYTES}, not ${nameOf(value)}`);
}

/** `null`, `a number`, `an array`, `an object (Date)`. */
function nameOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return 'an array';
  if (typeof value !== 'object') return `a ${typeof value}`;
  const constructor: unknown = (value as { constructor?: unknown }).constructor;
  const name = typeof constructor === 'function' ? constructor.name : '';
  return name === '' || name === 'Object' ? 'an object' : `an object (${name})`;
}

function keyTooLarge(length: number): AiokvRangeError {
  return new AiokvRangeError(
    'ERR_AIOKV_KEY_TOO_LARGE',
    `a key has at most ${MAX_KEY_BYTES} bytes, this one has ${length}: hash the longer part of it`,
  );
}
