/**
 * Reads slots of the data file, whole or in part, several reads under way at a time. What is in them is for others.
 */
import { AiokvError } from '@aiokv/core';
import type { AlignedBuffer, DirectFile, Queue } from '@aiokv/aio';
import { requireFull } from '../failure/errors.ts';
import { Slots } from '../file/slots.ts';
import type { Geometry } from '../format/superblock.ts';

const READ_BYTES = 256 * 1024;

export class SegmentReader {
  readonly queue: Queue;
  readonly file: DirectFile;
  readonly #geometry: Geometry;

  constructor(queue: Queue, file: DirectFile, geometry: Geometry) {
    this.queue = queue;
    this.file = file;
    this.#geometry = geometry;
  }

  /** Reads a slot, or its beginning, into the beginning of `buffer`. */
  async read(slot: number, buffer: AlignedBuffer, lengthBytes = this.#geometry.segmentBytes): Promise<void> {
    const base = Slots.offsetOf(this.#geometry, slot);
    const reads: Promise<void>[] = [];
    buffer.bytes.fill(0, lengthBytes);
    for (let at = 0; at < lengthBytes; at += READ_BYTES) {
      const length = Math.min(READ_BYTES, lengthBytes - at);
      reads.push(
        this.queue
          .read(this.file, buffer, { offset: base + at, bufferOffset: at, length })
          .then((result) => requireFull('read', result, length, this.file.path)),
      );
    }
    await Promise.all(reads);
  }

  /** A place that was read twice. */
  twoAnswers(fileOffset: number): AiokvError {
    return new AiokvError(
      'ERR_AIOKV_IO',
      `byte ${fileOffset} of ${this.file.path} was read twice and differed: check the device, then open the store again`,
    );
  }
}
