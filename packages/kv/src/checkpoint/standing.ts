/** The checkpoint on the device, and how long the index may become that replaces it. Numbers only. */
import { KIB } from '@aiokv/core';

/** The current checkpoint on the device. */
export interface Standing {
  /** Slots of its index segments. */
  readonly slots: ReadonlySet<number>;
  /** Whether the segment table says what lives in the segments of the log; not so in a store of version 0.1. */
  readonly isCounted: boolean;
  /** How many pages it has, bytes of their images, and of the mapping that leads to them. */
  readonly pages: number;
  readonly imagesBytes: number;
  readonly mappingBytes: number;
}

/** PNODE-3. A page that changes becomes longer by what is new in it, and by at most this part of its memory. */
const GROWN_PART = 1 / 8;
/** An entry takes at least so much of a memtable. */
const LEAST_ENTRY_BYTES = 20;

/** Entries that replace others make pages longer by this part of what they take of a memtable. */
const REPLACED_PART = 1 / 8;

/** Bytes of the images of all pages, and of their mapping, after a merge of so much of memtables: an upper bound. */
export function mostIndexBytes(standing: Standing, memtableBytes: number, pageBytes: number): number {
  const { pages, imagesBytes, mappingBytes } = standing;
  const changed = Math.min(pages, memtableBytes / LEAST_ENTRY_BYTES);
  return imagesBytes + memtableBytes + changed * GROWN_PART * pageBytes + mappingBytes;
}

/** The same, as an estimate, if only this part of the memtables is of new keys. */
export function likelyIndexBytes(
  standing: Standing,
  memtableBytes: number,
  pageBytes: number,
  newKeysPart: number,
): number {
  const lessBytes = (1 - REPLACED_PART) * (1 - newKeysPart) * memtableBytes;
  return mostIndexBytes(standing, memtableBytes, pageBytes) - lessBytes;
}

/** An upper bound, if each page had at least the 1 KiB that `partsOf` takes for it: the root leads to no more pages than that. */
export function mostMappedBytes({ pages }: Standing, memtableBytes: number): number {
  return pages * KIB + memtableBytes;
}
