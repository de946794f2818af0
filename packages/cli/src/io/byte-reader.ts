/** Exact numbers of bytes from a stream, which is read no further ahead than one of its chunks. */

export class ByteReader {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);
  #taken = 0;

  constructor(source: AsyncIterable<Buffer>) {
    this.#chunks = source[Symbol.asyncIterator]();
  }

  /** Bytes that were handed out. */
  get taken(): number {
    return this.#taken;
  }

  /** The next bytes; fewer at the end of the stream. They are not used again. */
  async read(length: number): Promise<Buffer> {
    let found = this.#rest;
    if (found.length < length) {
      const parts = [found];
      let bytes = found.length;
      while (bytes < length) {
        const { done, value } = await this.#chunks.next();
        if (done === true) break;
        parts.push(value);
        bytes += value.length;
      }
      found = Buffer.concat(parts, bytes);
    }
    const taken = found.subarray(0, length);
    this.#rest = found.subarray(taken.length);
    this.#taken += taken.length;
    return taken;
  }
}
