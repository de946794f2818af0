/**
 * The image of an index page on the device: a node of the tree without the free space in its middle.
 *
 * ```
 *   0      8         12      16          24          28           32
 *   ├──────┼─────────┼───────┼───────────┼───────────┼────────────┼───────────┬────────────┬───────────
 *   │ hash │ page id │ units │ checkpoint│ low words │ heap words │ low words │ heap words │ 0 to 8 bytes
 *   │ u64  │ u32     │ u32   │ sequence  │ u32       │ u32        │           │            │
 *   └──────┴─────────┴───────┴───────────┴───────────┴────────────┴───────────┴────────────┴───────────
 *   hash = XXH64 of everything after it, without the padding
 *
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

/** The words of a node. Only the first `lowWords` and those from `heapLow` on are in use. */
export interface NodeWords {
  readonly words: Uint32Array;
  readonly base: number;
  readonly capacityWords: number;
  readonly lowWords: number;
  readonly heapLow: number;
}

export interface PageHeader {
  readonly pageId: number;
  readonly units: number;
  /** Sequence of the checkpoint that wrote the page. */
  readonly checkpoint: number;
}

/** Bytes of the image of a node, padding included. */
export function imageBytes({ capacityWords, lowWords, heapLow }: NodeWords): number {
  return alignUp(PAGE_HEADER_BYTES + 4 * (lowWords + capacityWords - heapLow), PAGE_ALIGNMENT);
}

/** Writes an image at `at`, a multiple of 8, to zeroed bytes. Returns its tag (PAGE-1). */
export function encodePage(block: Block, at: number, header: PageHeader, node: NodeWords): number {
  const { bytes, view } = block;
  const { words, base, capacityWords, lowWords, heapLow } = node;
  view.setUint32(at + 8, header.pageId, true);
  view.setUint32(at + 12, header.units, true);
  writeU53(view, at + 16, header.checkpoint);
  view.setUint32(at + 24, lowWords, true);
  view.setUint32(at + 28, capacityWords - heapLow, true);
  const payload = new Uint32Array(bytes.buffer, bytes.byteOffset + at + PAGE_HEADER_BYTES);
  payload.set(words.subarray(base, base + lowWords), 0);
  payload.set(words.subarray(base + heapLow, base + capacityWords), lowWords);
  const end = at + PAGE_HEADER_BYTES + 4 * (lowWords + capacityWords - heapLow);
  writeXxh64(bytes.subarray(at + 8, end), view, at);
  return tagOf(block, at);
}

/** The lowest 16 bits of the hash of the image at `at`. */
function tagOf({ view }: Block, at: number): number {
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
  const payloadWords = view.getUint32(at + 24, true) + view.getUint32(at + 28, true);
  const end = PAGE_HEADER_BYTES + 4 * payloadWords;
  if (alignUp(end, PAGE_ALIGNMENT) !== lengthBytes) return 'length';
  if (!matchesXxh64(bytes.subarray(at + 8, at + end), view, at)) return 'checksum';
  if (tagOf(block, at) !== expected.tag) return 'tag';
  if (view.getUint32(at + 8, true) !== expected.pageId) return 'page id';
  return view.getUint32(at + 12, true) === expected.units ? null : 'units';
}

/** Copies an image without a fault to a node. Returns false if it does not fit. */
export function decodePage(block: Block, at: number, words: Uint32Array, base: number, capacityWords: number): boolean {
  const { bytes, view } = block;
  const lowWords = view.getUint32(at + 24, true);
  const heapWords = view.getUint32(at + 28, true);
  if (lowWords + heapWords > capacityWords) return false;
  const payload = new Uint32Array(bytes.buffer, bytes.byteOffset + at + PAGE_HEADER_BYTES, lowWords + heapWords);
  words.set(payload.subarray(0, lowWords), base);
  words.set(payload.subarray(lowWords), base + capacityWords - heapWords);
  return true;
}
