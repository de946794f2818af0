/**
 * Records that are overwritten while they are read. A value says whose it is and which put wrote it, so that a read is
 * checked although puts are under way:
 *
 * ```
 *   value   u32 record │ u32 version │ bytes of a random source, from a place that both choose: nothing compresses
 *
 *   called        version of the latest put that was called       ──┐ a read that is called and answered meanwhile
 *   acknowledged  latest version of a put that was acknowledged   ──┘ finds a version from `acknowledged` to `called`
 * ```
 *
 * VERSIONS-1. A read finds a version that was not older than acknowledged when it was called, nor newer than called when
 *             it was answered; anything else is an error.
 */
import { MIB, Random } from '@aiokv/core';
import { Records } from '../compare/records.ts';

const HEAD_BYTES = 8;
const SOURCE_BYTES = MIB;
const KEY_BYTES = 24;

export class VersionedRecords {
  /** Of a key and its value. */
  readonly recordBytes: number;
  readonly #valueBytes: number;
  /** For its keys. */
  readonly #keys = new Records(0, 8);
  readonly #source = Buffer.from(new Random(2).fill(new Uint8Array(SOURCE_BYTES)).buffer);
  readonly #called: Uint32Array;
  readonly #acknowledged: Uint32Array;

  constructor(count: number, valueBytes: number) {
    this.recordBytes = KEY_BYTES + valueBytes;
    this.#valueBytes = valueBytes;
    this.#called = new Uint32Array(count);
    this.#acknowledged = new Uint32Array(count);
  }

  key(n: number): Buffer {
    return this.#keys.key(n);
  }

  /** @returns the version of the next put of record `n`, which is to be called at once */
  nextVersion(n: number): number {
    const version = (this.#called[n] as number) + 1;
    this.#called[n] = version;
    return version;
  }

  value(n: number, version: number): Buffer {
    const value = Buffer.allocUnsafe(this.#valueBytes);
    value.writeUInt32LE(n, 0);
    value.writeUInt32LE(version, 4);
    const start = this.#startOf(n, version);
    this.#source.copy(value, HEAD_BYTES, start, start + this.#valueBytes - HEAD_BYTES);
    return value;
  }

  acknowledge(n: number, version: number): void {
    if (version > (this.#acknowledged[n] as number)) this.#acknowledged[n] = version;
  }

  /** @returns the oldest version that a read which is called now may find */
  oldestVersion(n: number): number {
    return this.#acknowledged[n] as number;
  }

  /** VERSIONS-1. @throws Error when a read found something else */
  check(n: number, oldest: number, found: Uint8Array | undefined): void {
    if (found === undefined) throw new Error(`record ${n} is missing`);
    const value = Buffer.from(found.buffer, found.byteOffset, found.byteLength);
    if (value.length !== this.#valueBytes || value.readUInt32LE(0) !== n) throw new Error(`record ${n} is another`);
    const version = value.readUInt32LE(4);
    const newest = this.#called[n] as number;
    if (version < oldest || version > newest) {
      throw new Error(`record ${n} has version ${version}, not one from ${oldest} to ${newest}`);
    }
    const start = this.#startOf(n, version);
    if (this.#source.compare(value, HEAD_BYTES, value.length, start, start + value.length - HEAD_BYTES) !== 0) {
      throw new Error(`version ${version} of record ${n} has other bytes`);
    }
  }

  #startOf(n: number, version: number): number {
    return (Math.imul(n ^ Math.imul(version, 0x9e3779b1), 0x85ebca6b) >>> 0) % (SOURCE_BYTES - this.#valueBytes);
  }
}
