/**
 * The image of an index page on the device: a header, and a node of the tree in one of two forms.
 *
 * ```
 *   0      8         12      16          24       26      27     28
 *   ├──────┼─────────┼───────┼───────────┼────────┼───────┼──────┼───────────────┬────────┬───────────┬───
 *   │ hash │ page id │ units │ checkpoint│ entries│ level │ form │ payload bytes │ payload│ 0 to 8 bytes
 *   │ u64  │ u32     │ u32   │ sequence  │ u16    │ u8    │ u8: 1│ u32           │        │
 *   └──────┴─────────┴───────┴───────────┴────────┴───────┴──────┴───────────────┴────────┴───────────┴───
 *   hash = XXH64 of everything after it, without the padding
 *   form 1: the payload is a packed node (tree/packed-node.ts)
 *
 *   form 0: what 0.1 wrote, a node as it is in memory, without the free space in its middle. It is only read.
 *   24          28           32
 *   ├───────────┼────────────┼───────────┬────────────┬───       low words are below 2^16, so byte 27 is 0
 *   │ low words │ heap words │ low words │ heap words │ 0 to 8 bytes
 *   │ u32       │ u32        │           │            │
 *   └───────────┴────────────┴───────────┴────────────┴───
 *   node in memory, units x page bytes:  │ low words │   free   │ heap words │
 * ```
 *
 * PAGE-1. The reference to a page includes a tag: the lowest 16 bits of its hash. It reveals a page that was never
 *     written, or was written to another place, even if the old page in its place is intact.
 *
 * docs/format.md, "Index page". Pure encoding and decoding, no files and no trees.
 */
import { alignUp, matchesXxh64, writeXxh64 } from '@aiokv/core';
import { writeU53 } from './words.ts';
import type { Block } from './words.ts';

export const PAGE_HEADER_BYTES = 32;
/** Images start and end on multiples of this. */
const PAGE_ALIGNMENT = 8;
const FORM_AT = 27;
const PACKED = 1;

export interface PageHeader {
  readonly pageId: number;
  readonly units: number;
  /** Sequence of the checkpoint that wrote the page. */
  readonly checkpoint: number;
  readonly level: number;
  readonly entries: number;
  /** Of the packed node behind the header, a multiple of 4. */
  readonly payloadBytes: number;
}

/** Bytes of an image with such a payload, padding included. */
export function imageBytes(payloadBytes: number): number {
  return alignUp(PAGE_HEADER_BYTES + payloadBytes, PAGE_ALIGNMENT);
}

/** Writes the header of an image at `at`, a multiple of 8, whose payload is there. Returns its tag (PAGE-1). */
export function sealPage({ bytes, view }: Block, at: number, header: PageHeader): number {
  view.setUint32(at + 8, header.pageId, true);
  view.setUint32(at + 12, header.units, true);
  writeU53(view, at + 16, header.checkpoint);
  view.setUint16(at + 24, header.entries, true);
  bytes[at + 26] = header.level;
  bytes[at + FORM_AT] = PACKED;
  view.setUint32(at + 28, header.payloadBytes, true);
  writeXxh64(bytes.subarray(at + 8, at + PAGE_HEADER_BYTES + header.payloadBytes), view, at);
  return tagOf(view, at);
}

/** The lowest 16 bits of the hash of the image at `at`. */
function tagOf(view: DataView, at: number): number {
  return view.getUint16(at, true);
}

/** Says what is wrong with the image of `lengthBytes` bytes at `at`; null if nothing is. */
export function pageFault(
  block: Block,
  at: number,
  lengthBytes: number,
  expected: { readonly pageId: number; readonly units: number; readonly tag: number },
): string | null {
  const { bytes, view } = block;
  const payloadBytes = payloadBytesOf(block, at);
  if (imageBytes(payloadBytes) !== lengthBytes) return 'length';
  if (!matchesXxh64(bytes.subarray(at + 8, at + PAGE_HEADER_BYTES + payloadBytes), view, at)) return 'checksum';
  if (tagOf(view, at) !== expected.tag) return 'tag';
  if (view.getUint32(at + 8, true) !== expected.pageId) return 'page id';
  if (view.getUint32(at + 12, true) !== expected.units) return 'units';
  return (bytes[at + FORM_AT] as number) > PACKED ? 'form' : null;
}

/** Bytes of what follows the header, from the header alone. */
function payloadBytesOf({ bytes, view }: Block, at: number): number {
  const last = view.getUint32(at + 28, true);
  return bytes[at + FORM_AT] === 0 ? 4 * (view.getUint32(at + 24, true) + last) : last;
}

export function isPacked({ bytes }: Block, at: number): boolean {
  return bytes[at + FORM_AT] === PACKED;
}

/** Level and number of entries in the header of a packed page. */
export function levelOf({ bytes }: Block, at: number): number {
  return bytes[at + 26] as number;
}

export function entriesOf({ view }: Block, at: number): number {
  return view.getUint16(at + 24, true);
}

/** The words behind the header of an image without a fault. */
export function payloadOf(block: Block, at: number): Uint32Array<ArrayBuffer> {
  const { buffer, byteOffset } = block.bytes;
  return new Uint32Array(buffer, byteOffset + at + PAGE_HEADER_BYTES, payloadBytesOf(block, at) >>> 2);
}

/** Copies an image of form 0 without a fault to a node. Returns false if it does not fit. */
export function decodePlain(
  block: Block,
  at: number,
  words: Uint32Array,
  base: number,
  capacityWords: number,
): boolean {
  const { view } = block;
  const lowWords = view.getUint32(at + 24, true);
  const heapWords = view.getUint32(at + 28, true);
  if (lowWords + heapWords > capacityWords) return false;
  const payload = payloadOf(block, at);
  words.set(payload.subarray(0, lowWords), base);
  words.set(payload.subarray(lowWords), base + capacityWords - heapWords);
  return true;
}
