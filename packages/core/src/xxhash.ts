/**
 * xxHash in two forms that give the same sums: over WebAssembly, and in plain JavaScript. The plain form serves where
 * WebAssembly is not there (`node --jitless`) or cannot get its memory: an instance reserves some 10 GiB of addresses,
 * which `ulimit -v` may refuse. It computes in 32-bit words, without BigInt.
 *
 * A sum of 64 bits is left in `words`, low word first; the next call overwrites it.
 */
import { XXHASH_MODULE } from './xxhash-module.ts';

export interface Hasher {
  readonly kind: 'wasm' | 'plain';
  /** XXH32 of the bytes, as an unsigned 32-bit number. */
  xxh32(bytes: Uint8Array, seed: number): number;
  /** XXH64 (seed 0) of the bytes, into `words`. */
  xxh64(bytes: Uint8Array): void;
  readonly words: Uint32Array;
}

/** What the module exports; the bytes lie at the start of its memory. */
interface Exports {
  readonly mem: { readonly buffer: ArrayBuffer; grow(pages: number): number };
  xxh32(at: number, length: number, seed: number): number;
  xxh64(at: number, length: number, seed: bigint): bigint;
}

/** The part of WebAssembly that is used here. The types of Node alone do not declare it. */
interface Wasm {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
}

const WASM_PAGE_BYTES = 65_536;
/** A constant: a literal in the call would be a new BigInt each time. */
const NO_SEED = 0n;

/** The faster form, or the plain one where WebAssembly is not to be had. */
export function createHasher(): Hasher {
  try {
    return new WasmHasher();
  } catch {
    return new PlainHasher();
  }
}

/** Copies the bytes into the module's memory and hashes them there. No view, array or string is made. */
export class WasmHasher implements Hasher {
  readonly kind = 'wasm';
  readonly words: Uint32Array;
  readonly #word = new BigUint64Array(1);
  readonly #exports: Exports;
  #memory: Uint8Array;
  #plain: PlainHasher | undefined;

  /** @throws Error of the engine: WebAssembly is not there, or the memory for the instance is not to be had */
  constructor() {
    const { Module, Instance } = (globalThis as unknown as { WebAssembly: Wasm }).WebAssembly;
    this.#exports = new Instance(new Module(Buffer.from(XXHASH_MODULE, 'base64'))).exports as Exports;
    this.#memory = new Uint8Array(this.#exports.mem.buffer);
    this.words = new Uint32Array(this.#word.buffer);
  }

  xxh32(bytes: Uint8Array, seed: number): number {
    if (bytes.byteLength > this.#memory.byteLength && !this.#grow(bytes.byteLength)) {
      return this.#withoutMemory().xxh32(bytes, seed);
    }
    this.#memory.set(bytes);
    return this.#exports.xxh32(0, bytes.byteLength, seed) >>> 0;
  }

  xxh64(bytes: Uint8Array): void {
    if (bytes.byteLength > this.#memory.byteLength && !this.#grow(bytes.byteLength)) {
      const plain = this.#withoutMemory();
      plain.xxh64(bytes);
      this.words.set(plain.words);
      return;
    }
    this.#memory.set(bytes);
    this.#word[0] = this.#exports.xxh64(0, bytes.byteLength, NO_SEED);
  }

  #grow(byteLength: number): boolean {
    try {
      this.#exports.mem.grow(Math.ceil((byteLength - this.#memory.byteLength) / WASM_PAGE_BYTES));
    } catch {
      return false;
    }
    this.#memory = new Uint8Array(this.#exports.mem.buffer);
    return true;
  }

  #withoutMemory(): PlainHasher {
    return (this.#plain ??= new PlainHasher());
  }
}

/** Primes of XXH32. */
const P1 = 0x9e3779b1;
const P2 = 0x85ebca77;
const P3 = 0xc2b2ae3d;
const P4 = 0x27d4eb2f;
const P5 = 0x165667b1;

/** Primes of XXH64: high word, low word. */
const Q1_HIGH = 0x9e3779b1;
const Q1_LOW = 0x85ebca87;
const Q2_HIGH = 0xc2b2ae3d;
const Q2_LOW = 0x27d4eb4f;
const Q3_HIGH = 0x165667b1;
const Q3_LOW = 0x9e3779f9;
const Q4_HIGH = 0x85ebca77;
const Q4_LOW = 0xc2b2ae63;
const Q5_HIGH = 0x27d4eb2f;
const Q5_LOW = 0x165667c5;

/**
 * Both sums in 32-bit words. `#high` and `#low` are the registers of the 64-bit arithmetic: 0 to 3 are the lanes, 4 is
 * the sum, 5 is for one step.
 */
export class PlainHasher implements Hasher {
  readonly kind = 'plain';
  readonly words = new Uint32Array(2);
  readonly #high = new Int32Array(6);
  readonly #low = new Int32Array(6);

  xxh32(bytes: Uint8Array, seed: number): number {
    const length = bytes.byteLength;
    let at = 0;
    let sum = (seed + P5) | 0;
    if (length >= 16) {
      let a = (seed + P1 + P2) | 0;
      let b = (seed + P2) | 0;
      let c = seed | 0;
      let d = (seed - P1) | 0;
      for (; at + 16 <= length; at += 16) {
        a = Math.imul(rotate(a + Math.imul(word(bytes, at), P2), 13), P1);
        b = Math.imul(rotate(b + Math.imul(word(bytes, at + 4), P2), 13), P1);
        c = Math.imul(rotate(c + Math.imul(word(bytes, at + 8), P2), 13), P1);
        d = Math.imul(rotate(d + Math.imul(word(bytes, at + 12), P2), 13), P1);
      }
      sum = (rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18)) | 0;
    }
    sum = (sum + length) | 0;
    for (; at + 4 <= length; at += 4) sum = Math.imul(rotate(sum + Math.imul(word(bytes, at), P3), 17), P4);
    for (; at < length; at++) sum = Math.imul(rotate(sum + Math.imul(bytes[at] as number, P5), 11), P1);
    sum = Math.imul(sum ^ (sum >>> 15), P2);
    sum = Math.imul(sum ^ (sum >>> 13), P3);
    return (sum ^ (sum >>> 16)) >>> 0;
  }

  xxh64(bytes: Uint8Array): void {
    const length = bytes.byteLength;
    let at = 0;
    if (length >= 32) {
      at = this.#lanes(bytes);
    } else {
      this.#set(4, Q5_HIGH, Q5_LOW);
    }
    this.#add(4, 0, length);
    for (; at + 8 <= length; at += 8) {
      this.#set(5, 0, 0);
      this.#round(5, bytes, at);
      this.#mix(27);
    }
    if (at + 4 <= length) {
      this.#set(5, 0, word(bytes, at));
      this.#multiply(5, Q1_HIGH, Q1_LOW);
      this.#xor(4, 5);
      this.#rotate(4, 23);
      this.#multiply(4, Q2_HIGH, Q2_LOW);
      this.#add(4, Q3_HIGH, Q3_LOW);
      at += 4;
    }
    for (; at < length; at++) {
      this.#set(5, 0, bytes[at] as number);
      this.#multiply(5, Q5_HIGH, Q5_LOW);
      this.#xor(4, 5);
      this.#rotate(4, 11);
      this.#multiply(4, Q1_HIGH, Q1_LOW);
    }
    this.#avalanche();
    this.words[0] = this.#low[4] as number;
    this.words[1] = this.#high[4] as number;
  }

  /** The whole stripes of 32 bytes, into the sum. Returns where they end. */
  #lanes(bytes: Uint8Array): number {
    this.#set(0, Q1_HIGH, Q1_LOW);
    this.#add(0, Q2_HIGH, Q2_LOW);
    this.#set(1, Q2_HIGH, Q2_LOW);
    this.#set(2, 0, 0);
    // Minus the first prime.
    this.#set(3, ~Q1_HIGH, -Q1_LOW);
    let at = 0;
    for (; at + 32 <= bytes.byteLength; at += 32) {
      for (let lane = 0; lane < 4; lane++) this.#round(lane, bytes, at + lane * 8);
    }
    this.#set(4, 0, 0);
    for (let lane = 0; lane < 4; lane++) {
      this.#set(5, this.#high[lane] as number, this.#low[lane] as number);
      this.#rotate(5, LANE_SHIFTS[lane] as number);
      this.#add(4, this.#high[5] as number, this.#low[5] as number);
    }
    for (let lane = 0; lane < 4; lane++) {
      this.#set(5, this.#high[lane] as number, this.#low[lane] as number);
      this.#multiply(5, Q2_HIGH, Q2_LOW);
      this.#rotate(5, 31);
      this.#multiply(5, Q1_HIGH, Q1_LOW);
      this.#mix(0);
    }
    return at;
  }

  /** register = rotate(register + input * Q2, 31) * Q1 */
  #round(register: number, bytes: Uint8Array, at: number): void {
    const low = word(bytes, at);
    const high = word(bytes, at + 4);
    this.#add(
      register,
      (highOfProduct(low, Q2_LOW) + Math.imul(low, Q2_HIGH) + Math.imul(high, Q2_LOW)) | 0,
      Math.imul(low, Q2_LOW),
    );
    this.#rotate(register, 31);
    this.#multiply(register, Q1_HIGH, Q1_LOW);
  }

  /** sum = rotate(sum ^ step, bits) * Q1 + Q4 */
  #mix(bits: number): void {
    this.#xor(4, 5);
    if (bits !== 0) this.#rotate(4, bits);
    this.#multiply(4, Q1_HIGH, Q1_LOW);
    this.#add(4, Q4_HIGH, Q4_LOW);
  }

  #avalanche(): void {
    const high = this.#high;
    const low = this.#low;
    low[4] = (low[4] as number) ^ ((high[4] as number) >>> 1);
    this.#multiply(4, Q2_HIGH, Q2_LOW);
    const sumHigh = high[4] as number;
    const sumLow = low[4];
    low[4] = sumLow ^ ((sumHigh << 3) | (sumLow >>> 29));
    high[4] = sumHigh ^ (sumHigh >>> 29);
    this.#multiply(4, Q3_HIGH, Q3_LOW);
    low[4] = low[4] ^ high[4];
  }

  #set(register: number, high: number, low: number): void {
    this.#high[register] = high;
    this.#low[register] = low;
  }

  #add(register: number, high: number, low: number): void {
    const sum = ((this.#low[register] as number) >>> 0) + (low >>> 0);
    this.#high[register] = (this.#high[register] as number) + high + (sum > 0xffff_ffff ? 1 : 0);
    this.#low[register] = sum;
  }

  #xor(register: number, other: number): void {
    this.#high[register] = (this.#high[register] as number) ^ (this.#high[other] as number);
    this.#low[register] = (this.#low[register] as number) ^ (this.#low[other] as number);
  }

  #rotate(register: number, bits: number): void {
    const high = this.#high[register] as number;
    const low = this.#low[register] as number;
    this.#high[register] = (high << bits) | (low >>> (32 - bits));
    this.#low[register] = (low << bits) | (high >>> (32 - bits));
  }

  #multiply(register: number, high: number, low: number): void {
    const ownLow = this.#low[register] as number;
    const ownHigh = this.#high[register] as number;
    this.#high[register] = highOfProduct(ownLow, low) + Math.imul(ownLow, high) + Math.imul(ownHigh, low);
    this.#low[register] = Math.imul(ownLow, low);
  }
}

/** By how much each lane is rotated when the lanes become the sum. */
const LANE_SHIFTS = [1, 7, 12, 18];

function word(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at] as number) |
    ((bytes[at + 1] as number) << 8) |
    ((bytes[at + 2] as number) << 16) |
    ((bytes[at + 3] as number) << 24)
  );
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

/** The upper 32 bits of the product of two unsigned 32-bit numbers, by halves of 16 bits. */
function highOfProduct(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = (Math.imul(aHigh, bLow) >>> 0) + (Math.imul(aLow, bLow) >>> 16);
  const carry = (Math.imul(aLow, bHigh) >>> 0) + (middle & 0xffff);
  return (Math.imul(aHigh, bHigh) + (middle >>> 16) + (carry >>> 16)) | 0;
}
