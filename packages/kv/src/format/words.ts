/**
 * Fields wider than 32 bits, as every format of the store writes them: little-endian, unsigned. Counts,
 * offsets and sequences are below 2^53 and travel as plain numbers; feature bits and hashes are only
 * compared and stored, and travel as BigInt outside of hot paths.
 */

const TWO_32 = 0x1_0000_0000;

/** A u64 that must be below 2^53; NaN when it is not, which no check of a format accepts. */
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

/** A window of bytes with the view that multi-byte fields need; both see the same memory. */
export interface Block {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
}
