/**
 * A dump: the entries of a store as one stream of bytes, in the order of their keys. It can be written and read without
 * a look back, in blocks, each with a checksum. The README of this package describes it.
 *
 * ```
 *   │ header │ block │ block │ … │ end │
 *
 *   header   0 magic `AIOKVDMP`   8 version u32   12 flags u32   16 random, 8 bytes   24 XXH64 of 0 to 23          32 bytes
 *   block    0 XXH64 of all that follows in the block   8 the first 8 bytes of the block before, or 24 to 31 of the header
 *           16 bytes of payload u32   20 entries u32   24 kind u32: 1 entries, 2 end   28 zero u32   32 payload
 *   payload  of entries: for each   0 bytes of key u32   4 bytes of value u32   8 key, value
 *            of the end:            0 entries in all u64   8 bytes of keys and values in all u64
 * ```
 *
 * All numbers are little-endian.
 *
 * DUMP-1. Each block names the sum of the block before, so that a block that is missing, moved or of another dump is found.
 * DUMP-2. Nothing of a block is used before its sum is right, and a dump without its end is not the whole.
 * DUMP-3. A length is compared with the most that there can be before memory is taken for it.
 */
import { randomBytes } from 'node:crypto';
import { KIB, MIB, matchesXxh64, writeXxh64 } from '@aiokv/core';
import { CliError } from '../errors.ts';

const HEADER_BYTES = 32;
const BLOCK_HEADER_BYTES = 32;
const MAGIC = Buffer.from('AIOKVDMP');
const VERSION = 1;
const ENTRIES = 1;
const END = 2;
/** A block is sealed when the next entry does not fit; a longer entry has a block of its own. */
const PAYLOAD_BYTES = 256 * KIB;
const ENTRY_HEADER_BYTES = 8;
/** DUMP-3. The longest key and the longest value. */
const MOST_PAYLOAD_BYTES = ENTRY_HEADER_BYTES + 4 * KIB + 64 * MIB;

export type Entry = readonly [key: Buffer, value: Buffer];

export class DumpWriter {
  #previous: Buffer;
  #block = newBlock(PAYLOAD_BYTES);
  #used = BLOCK_HEADER_BYTES;
  #entries = 0;
  #totalEntries = 0;
  #totalBytes = 0;
  readonly header: Buffer;

  constructor() {
    this.header = Buffer.alloc(HEADER_BYTES);
    MAGIC.copy(this.header);
    this.header.writeUInt32LE(VERSION, 8);
    randomBytes(8).copy(this.header, 16);
    writeXxh64(this.header.subarray(0, 24), viewOf(this.header), 24);
    this.#previous = this.header.subarray(24);
  }

  get entries(): number {
    return this.#totalEntries;
  }

  get bytes(): number {
    return this.#totalBytes;
  }

  /** @returns a block that is full, or null */
  add(key: Buffer, value: Buffer): Buffer | null {
    const length = ENTRY_HEADER_BYTES + key.length + value.length;
    const full = this.#used + length > this.#block.length && this.#entries > 0 ? this.#seal(ENTRIES) : null;
    if (this.#used + length > this.#block.length) this.#block = newBlock(length);
    const block = this.#block;
    block.writeUInt32LE(key.length, this.#used);
    block.writeUInt32LE(value.length, this.#used + 4);
    block.set(key, this.#used + ENTRY_HEADER_BYTES);
    block.set(value, this.#used + ENTRY_HEADER_BYTES + key.length);
    this.#used += length;
    this.#entries++;
    this.#totalEntries++;
    this.#totalBytes += key.length + value.length;
    return full;
  }

  /** The last blocks. */
  end(): Buffer[] {
    const blocks = this.#entries > 0 ? [this.#seal(ENTRIES)] : [];
    this.#block.writeBigUInt64LE(BigInt(this.#totalEntries), BLOCK_HEADER_BYTES);
    this.#block.writeBigUInt64LE(BigInt(this.#totalBytes), BLOCK_HEADER_BYTES + 8);
    this.#used = BLOCK_HEADER_BYTES + 16;
    blocks.push(this.#seal(END));
    return blocks;
  }

  #seal(kind: number): Buffer {
    const block = this.#block.subarray(0, this.#used);
    block.set(this.#previous, 8);
    block.writeUInt32LE(this.#used - BLOCK_HEADER_BYTES, 16);
    block.writeUInt32LE(this.#entries, 20);
    block.writeUInt32LE(kind, 24);
    block.writeUInt32LE(0, 28);
    writeXxh64(block.subarray(8), viewOf(block), 0);
    this.#previous = block.subarray(0, 8);
    this.#block = newBlock(PAYLOAD_BYTES);
    this.#used = BLOCK_HEADER_BYTES;
    this.#entries = 0;
    return block;
  }
}

/** Where a dump is read from. */
interface Bytes {
  readonly taken: number;
  read(length: number): Promise<Buffer>;
}

/** The entries of a dump, block by block. @throws CliError ERR_AIOKV_CLI_DUMP */
export async function* readDump(source: Bytes): AsyncGenerator<Entry[]> {
  const header = await source.read(HEADER_BYTES);
  checkHeader(header);
  let previous = header.subarray(24);
  let entries = 0;
  let bytes = 0;
  for (;;) {
    const at = source.taken;
    const head = await source.read(BLOCK_HEADER_BYTES);
    if (head.length < BLOCK_HEADER_BYTES) throw cutOff(source.taken, entries);
    const payloadBytes = head.readUInt32LE(16);
    // DUMP-3.
    if (payloadBytes > MOST_PAYLOAD_BYTES) throw damaged(at, 'it says that it is longer than any can be', entries);
    const payload = await source.read(payloadBytes);
    if (payload.length < payloadBytes) throw cutOff(source.taken, entries);
    const summed = Buffer.concat([head.subarray(8), payload]);
    if (!matchesXxh64(summed, viewOf(head), 0)) throw damaged(at, 'its checksum is wrong', entries);
    // DUMP-1.
    if (!head.subarray(8, 16).equals(previous)) throw damaged(at, 'the block before it is another one', entries);
    previous = head.subarray(0, 8);
    const kind = head.readUInt32LE(24);
    if (kind === END) {
      checkTotals(payload, at, { entries, bytes });
      if ((await source.read(1)).length > 0) throw damaged(source.taken - 1, 'there are bytes behind the end', entries);
      return;
    }
    if (kind !== ENTRIES) throw damaged(at, `it is of a kind that this version does not know, ${kind}`, entries);
    const found = entriesOf(payload, head.readUInt32LE(20), at);
    entries += found.length;
    bytes += payload.length - ENTRY_HEADER_BYTES * found.length;
    yield found;
  }
}

function checkHeader(header: Buffer): void {
  if (header.length < HEADER_BYTES || !header.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw new CliError('ERR_AIOKV_CLI_DUMP', 'this is no dump of aiokv', '`aiokv import` takes other formats');
  }
  const version = header.readUInt32LE(8);
  if (version > VERSION) {
    throw new CliError('ERR_AIOKV_CLI_DUMP', `a newer aiokv wrote this dump, of version ${version}`, 'update aiokv');
  }
  if (!matchesXxh64(header.subarray(0, 24), viewOf(header), 24))
    throw damaged(0, 'the checksum of the header is wrong', 0);
}

function entriesOf(payload: Buffer, count: number, at: number): Entry[] {
  const entries: Entry[] = [];
  let offset = 0;
  while (offset + ENTRY_HEADER_BYTES <= payload.length) {
    const keyEnd = offset + ENTRY_HEADER_BYTES + payload.readUInt32LE(offset);
    const valueEnd = keyEnd + payload.readUInt32LE(offset + 4);
    if (valueEnd > payload.length) break;
    entries.push([payload.subarray(offset + ENTRY_HEADER_BYTES, keyEnd), payload.subarray(keyEnd, valueEnd)]);
    offset = valueEnd;
  }
  if (offset !== payload.length || entries.length !== count) throw damaged(at, 'its entries do not fill it', 0);
  return entries;
}

function checkTotals(payload: Buffer, at: number, { entries, bytes }: { entries: number; bytes: number }): void {
  const isWhole =
    payload.length === 16 &&
    payload.readBigUInt64LE(0) === BigInt(entries) &&
    payload.readBigUInt64LE(8) === BigInt(bytes);
  if (!isWhole) throw damaged(at, 'it counts other entries than there were', entries);
}

function damaged(at: number, what: string, entries: number): CliError {
  return new CliError(
    'ERR_AIOKV_CLI_DUMP',
    `the dump is damaged at byte ${at}: ${what}. The ${entries} entries before it are good`,
    'make another dump, or copy the file again',
  );
}

/** DUMP-2. */
function cutOff(at: number, entries: number): CliError {
  return new CliError(
    'ERR_AIOKV_CLI_DUMP',
    `the dump ends at byte ${at}, before its end. The ${entries} entries before it are good`,
    'copy the file again; if the command that wrote it failed, make another dump',
  );
}

function newBlock(payloadBytes: number): Buffer {
  return Buffer.allocUnsafeSlow(BLOCK_HEADER_BYTES + payloadBytes);
}

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
