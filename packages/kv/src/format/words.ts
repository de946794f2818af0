/**
 * Fields wider than 32 bits, for all formats of the store: little-endian, unsigned. Counts, offsets and
 * sequences are below 2^53 and are plain numbers. Feature bits and hashes are only compared and stored; they
 * are BigInts, outside of hot paths.
 */

const TWO_32 = 0x1_0000_0000;

/** Reads a u64 that must be below 2^53. Returns NaN if it is not; no check of a format accepts NaN. */
export function readU53(view: DataView, offset: number): number {
  const high = view.getUint32(offset + 4, true);
  return high < 0x20_0000 ? high * TWO_32 + view.getUint32(offset, true) : Number.NaN;
}

export function writeU53(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value >>> 0, true);
  view.setUint32(offset + 4, Math.floor(value / TWO_32), true);
}

export function readU64(view: DataView, offset: number): bigint {
  return view.getBigUint64(offset, true);
}

export function writeU64(view: DataView, offset: number, value: bigint): void {
  view.setBigUint64(offset, value, true);
}

/** Bytes and a DataView over the same memory. */
export interface Block {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
}
