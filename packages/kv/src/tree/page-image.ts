/**
 * Between nodes in memory and their images on the device (format/page.ts): makes the image of a node, and a node of an
 * image. It does no I/O, and does not say whether an image is whole: `pageFault` does.
 */
import { assert } from '@aiokv/core';
import {
  PAGE_HEADER_BYTES,
  decodePlain,
  entriesOf,
  imageBytes,
  isPacked,
  levelOf,
  payloadOf,
  sealPage,
} from '../format/page.ts';
import type { Block } from '../format/words.ts';
import * as node from './node.ts';
import type { NodeMemory } from './nodes.ts';
import { pack, unpack } from './packed-node.ts';

/** A packed node can be longer than the node by two bits an entry. */
const MOST_BYTES = PAGE_HEADER_BYTES + 4 * node.NODE_WORDS_MAX + 2048;

/** The image of one page, made before there is a place for it. */
export class PageImage {
  readonly block: Block;
  /** Bytes of the image, padding included. */
  lengthBytes = 0;
  /** See PAGE-1. */
  tag = 0;
  readonly #payload: Uint32Array<ArrayBuffer>;

  constructor() {
    const buffer = new ArrayBuffer(MOST_BYTES);
    this.block = { bytes: new Uint8Array(buffer), view: new DataView(buffer) };
    this.#payload = new Uint32Array(buffer, PAGE_HEADER_BYTES);
  }

  /** @param checkpoint the sequence of the checkpoint that is written */
  make(memory: NodeMemory, pageId: number, checkpoint: number): void {
    const words = memory.words(pageId);
    const base = memory.base(pageId);
    const payload = this.#payload;
    payload.fill(0, 0, this.lengthBytes >>> 2);
    const payloadBytes = pack(words, base, payload);
    this.lengthBytes = imageBytes(payloadBytes);
    assert(this.lengthBytes <= MOST_BYTES, 'a packed node is hardly longer than the node');
    this.tag = sealPage(this.block, 0, {
      pageId,
      units: memory.units(pageId),
      checkpoint,
      level: node.level(words, base),
      entries: node.count(words, base),
      payloadBytes,
    });
  }

  copyTo({ bytes }: Block, at: number): void {
    bytes.set(this.block.bytes.subarray(0, this.lengthBytes), at);
  }
}

/** Makes a node of an image without a fault, in either form. Returns false if it is none or does not fit. */
export function decodeImage(
  block: Block,
  at: number,
  words: Uint32Array,
  base: number,
  capacityWords: number,
): boolean {
  if (isPacked(block, at)) {
    return unpack(payloadOf(block, at), levelOf(block, at), entriesOf(block, at), words, base, capacityWords);
  }
  if (!decodePlain(block, at, words, base, capacityWords)) return false;
  node.setBirth(words, base, 0);
  return true;
}
