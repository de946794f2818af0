/**
 * The file beside the data that says which keys were hot: written when a store is closed, read when it is opened again.
 *
 * ```
 *   data.aiokv.hot.new ── blocks ─► flushed ─► renamed to data.aiokv.hot          stays until the next one takes its place
 * ```
 *
 * HOT-1. Nothing depends on it. A file that is lost, old, damaged, of another store or no such file at all means that a store
 *     starts with fewer values in memory. So no failure here is reported.
 * HOT-2. Only who has the lock of the data file touches it.
 *
 * It goes through the page cache: a direct write that makes a file longer takes some 10 ms on ext4, and there may be 128 of them.
 */
import { dirname, join } from 'node:path';
import { allocateAligned, Opcode } from '@aiokv/aio';
import type { DirectFile, Platform } from '@aiokv/aio';
import { HOT_BLOCK_BYTES, HotBlockReader, HotBlockWriter } from '../format/hot-keys.ts';
import type { HotKey } from '../format/hot-keys.ts';

export const HOT_FILE = 'data.aiokv.hot';
export const HOT_FILE_TEMPORARY = 'data.aiokv.hot.new';

/** Where the file of a store is. */
export interface HotFilePlace {
  readonly platform: Platform;
  /** The path of the data file. */
  readonly dataPath: string;
  /** Of the store. */
  readonly uuid: Uint8Array;
}

function pathOf({ dataPath }: HotFilePlace, name: string): string {
  return join(dirname(dataPath), name);
}

/** Reads the file, block by block. */
export class HotFileReader {
  readonly #file: DirectFile;
  readonly #block = allocateAligned(HOT_BLOCK_BYTES);
  readonly #keys = new HotBlockReader(this.#block);
  readonly #uuid: Uint8Array;
  #at = 0;

  private constructor(file: DirectFile, uuid: Uint8Array) {
    this.#file = file;
    this.#uuid = uuid;
  }

  /** Null if there is none. Never rejects (HOT-1). */
  static async open(place: HotFilePlace): Promise<HotFileReader | null> {
    try {
      const file = await place.platform.open(pathOf(place, HOT_FILE), { readOnly: true, direct: 'never' });
      return new HotFileReader(file, place.uuid);
    } catch {
      return null;
    }
  }

  /** The keys of the next block, the hottest first, until the next call. Null if there is none. Never rejects. */
  async nextBlock(): Promise<HotBlockReader | null> {
    const transferred = await this.#file.transferOnThread(Opcode.read, this.#block, 0, HOT_BLOCK_BYTES, this.#at);
    if (transferred !== HOT_BLOCK_BYTES) return null;
    this.#at += HOT_BLOCK_BYTES;
    this.#keys.begin(this.#uuid);
    return this.#keys;
  }

  async close(): Promise<void> {
    await this.#file.close().catch(() => undefined);
  }
}

/** Removes the file, if there is one. Never rejects. */
export async function removeHotFile(place: HotFilePlace): Promise<void> {
  await place.platform.remove(pathOf(place, HOT_FILE)).catch(() => undefined);
}

/** Writes the file anew. */
export class HotFileWriter {
  readonly #place: HotFilePlace;
  readonly #file: DirectFile;
  readonly #block = allocateAligned(HOT_BLOCK_BYTES);
  readonly #writer = new HotBlockWriter(this.#block);
  readonly #mostBytes: number;
  #at = 0;
  #isWhole = true;

  private constructor(place: HotFilePlace, file: DirectFile, mostBytes: number) {
    this.#place = place;
    this.#file = file;
    this.#mostBytes = mostBytes;
  }

  /** @param mostBytes of the file; one block is always allowed */
  static async begin(place: HotFilePlace, mostBytes: number): Promise<HotFileWriter> {
    const path = pathOf(place, HOT_FILE_TEMPORARY);
    // One that a crash has left.
    await place.platform.remove(path).catch(() => undefined);
    const file = await place.platform.open(path, { create: true, exclusive: true, direct: 'never' });
    return new HotFileWriter(place, file, mostBytes);
  }

  /** Adds a key. Returns false if the block is full: write it first. */
  add(key: Readonly<HotKey>): boolean {
    return this.#writer.add(key);
  }

  /** Writes the block. Returns whether another one may follow. */
  async write(): Promise<boolean> {
    this.#writer.seal(this.#place.uuid);
    const transferred = await this.#file.transferOnThread(Opcode.write, this.#block, 0, HOT_BLOCK_BYTES, this.#at);
    this.#isWhole &&= transferred === HOT_BLOCK_BYTES;
    this.#at += HOT_BLOCK_BYTES;
    return this.#isWhole && this.#at + HOT_BLOCK_BYTES <= this.#mostBytes;
  }

  /** The file takes the place of the one before, if all of it was written. */
  async finish(): Promise<void> {
    const { platform } = this.#place;
    const { path } = this.#file;
    if (!this.#writer.isEmpty) await this.write();
    try {
      if (this.#isWhole) await this.#file.sync();
    } catch {
      this.#isWhole = false;
    }
    await this.#file.close();
    if (this.#isWhole) await platform.rename(path, pathOf(this.#place, HOT_FILE));
    else await platform.remove(path);
  }
}
