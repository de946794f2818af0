/**
 * Loads the index of a checkpoint: the root, the mapping, the inner pages level by level, and as many leaves as fit
 * into memory, with several megabytes of reads at a time. The pager (index/pager.ts) reads the other leaves on demand.
 *
 * LOADER-1. The bytes between images are not needed. If a run of images cannot be read, each image is read by itself.
 *
 * Damaged data fails with ERR_AIOKV_CORRUPT; the loader never continues with part of an index. Data that cannot be read
 * fails with ERR_AIOKV_IO and the byte.
 */
import { MIB, alignDown, alignUp, calendarMs } from '@aiokv/core';
import type { AiokvError } from '@aiokv/core';
import { allocateAligned, prefault } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, Queue } from '@aiokv/aio';
import { corrupt, unreadable } from '../failure/errors.ts';
import type { Planted } from '../failure/planted.ts';
import { isPossibleEntry, isPossiblePart, readEntry, readPart } from '../format/checkpoint.ts';
import type { MappingEntry, PartReference } from '../format/checkpoint.ts';
import { readRoot, rootLength } from '../format/checkpoint-root.ts';
import type { CheckpointRoot } from '../format/checkpoint-root.ts';
import { PART_HEADER_BYTES, ENTRY_BYTES, partBytes } from '../format/checkpoint.ts';
import { pageFault } from '../format/page.ts';
import { isPossibleSegmentEntry, readSegmentEntry, readTablePart, tablePartBytes } from '../format/segment-table.ts';
import { SegmentKind } from '../format/segment.ts';
import type { Superblock } from '../format/superblock.ts';
import type { ProgressReporter } from './progress.ts';
import { readOrCause } from './segment-reader.ts';
import { decodeImage, node } from '../tree/index.ts';
import type { NodeMemory } from '../tree/index.ts';
import { nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import type { Standing } from '../checkpoint/standing.ts';
import type { LoadedTree } from '../index/key-index-parts.ts';
import type { Mapping } from '../index/mapping.ts';
import type { SegmentTable } from '../file/segment-table.ts';
import { Slots } from '../file/slots.ts';

export interface LoadedIndex extends LoadedTree {
  readonly standing: Standing;
}

/** What a load fills. */
export interface LoadTarget {
  readonly memory: NodeMemory;
  readonly mapping: Mapping;
  readonly segments: SegmentTable;
}

/** Leaves are read until this part of the memory is used. */
const FILLED_PART = 0.9;
/** Images next to each other are read together, up to so many bytes. */
const READ_BYTES = 512 * 1024;
const READS_AT_ONCE = 8;
/** Leaves are grouped by regions of the file of so many sectors. */
const SEGMENT_UNITS = 8192;

/** Smaller arenas are not worth touching ahead. */
const TOUCHED_BYTES = 4 * MIB;

/** Has a thread touch memory before it is needed: copying a page to untouched memory takes several times as long. */
function touchAhead(memory: NodeMemory): void {
  for (let part = memory.untouchedAhead(); part !== null; part = memory.untouchedAhead()) {
    if (part.arena.byteLength < TOUCHED_BYTES) continue;
    // Best effort: without it the opening only takes longer.
    prefault(part.arena, part.fromByte, part.lengthBytes).catch(() => undefined);
  }
}

export class IndexLoader {
  readonly #queue: Queue;
  readonly #file: DirectFile;
  readonly #budget: TurnBudget;
  readonly #progress: ProgressReporter;
  readonly #planted: Planted;
  /** Buffers for reads of pages, by reader. New memory for each read would cost more than the read. */
  readonly #rooms: AlignedBuffer[] = [];
  #fileBytes = 0;

  constructor(queue: Queue, file: DirectFile, budget: TurnBudget, progress: ProgressReporter, planted: Planted) {
    this.#queue = queue;
    this.#file = file;
    this.#budget = budget;
    this.#progress = progress;
    this.#planted = planted;
  }

  /**
   * Fills an empty memory, mapping and segment table with the checkpoint that the superblock names.
   *
   * @param limitBytes of memory for nodes; inner pages are read even if they exceed it
   * @throws AiokvError ERR_AIOKV_CORRUPT, ERR_AIOKV_IO; SystemCallError
   */
  async load(
    superblock: Superblock,
    { memory, mapping, segments }: LoadTarget,
    limitBytes: number,
  ): Promise<LoadedIndex> {
    this.#fileBytes = await this.#file.sizeBytes();
    const root = await this.#readRoot(superblock);
    const slots = await this.#readSegments(superblock, root, segments);
    const ids = await this.#readMapping(root, mapping);
    if (ids.length !== root.pages) throw this.#damaged('mapping', 'a page is missing');
    const units = ids.map((id) => mapping.unitsOf(id));
    memory.restore(ids, units);
    let imagesBytes = 0;
    for (const id of ids) imagesBytes += mapping.imageBytesOf(id);
    this.#progress.begin('index', Math.min(imagesBytes, limitBytes * FILLED_PART));
    const leaves = await this.#readInner(root, mapping, memory);
    await this.#readLeaves(leaves, mapping, memory, limitBytes * FILLED_PART);
    this.#progress.end();
    return {
      standing: {
        slots,
        pages: ids.length,
        imagesBytes,
        mappingBytes: partBytes(ids.length),
        isCounted: root.tableParts !== null,
      },
      sequence: superblock.checkpointSequence,
      rootPage: root.rootPage,
      keys: root.keys,
      units: units.reduce((sum, count) => sum + count, 0),
    };
  }

  async #readRoot({ checkpointRoot, checkpointSequence, geometry }: Superblock): Promise<CheckpointRoot> {
    // The file may end with the segment, and the segment with the root.
    const { segmentBytes, writeAlignment } = geometry;
    const leftBytes = segmentBytes - ((checkpointRoot - geometry.headerBytes) % segmentBytes);
    const first = await this.#read(checkpointRoot, Math.min(writeAlignment, leftBytes));
    const length = rootLength(first.buffer, first.at);
    if (length === null || length > segmentBytes) throw this.#damaged('root', 'magic');
    const { buffer, at } =
      length <= first.buffer.byteLength - first.at ? first : await this.#read(checkpointRoot, length);
    const root = readRoot(buffer, at);
    if (root === null || root.sequence !== checkpointSequence) throw this.#damaged('root', 'checksum');
    return root;
  }

  /** Fills the segment table. Returns the slots of the index segments. */
  async #readSegments(
    { geometry, checkpointRoot, checkpointSequence }: Superblock,
    root: CheckpointRoot,
    segments: SegmentTable,
  ): Promise<Set<number>> {
    const slots = new Set(root.slots ?? []);
    const slotCount = Slots.slotCountOf(geometry, this.#fileBytes);
    let free = 0;
    for (const part of root.tableParts ?? []) {
      if (!isPossiblePart(part, this.#fileBytes)) throw this.#damaged('root', 'position of the segment table');
      const { buffer, at } = await this.#read(part.fileOffset, part.bytes);
      const entries = readTablePart(buffer, at, part);
      if (entries === null) throw this.#damaged('segment table', 'checksum');
      for (let i = 0; i < entries; i++) {
        const entry = readSegmentEntry(buffer, at + tablePartBytes(i));
        // SEGT-1.
        const isPossible = entry.slot >= free && isPossibleSegmentEntry(entry, geometry.segmentBytes, slotCount);
        if (!isPossible) throw this.#damaged('segment table', 'entry');
        free = entry.slot + 1;
        segments.restore(entry);
        if (entry.kind === SegmentKind.index) slots.add(entry.slot);
      }
      await nextTurn();
    }
    // Those of the root and of its parts are in use, named or not.
    slots.add(segments.slotOf(checkpointRoot));
    for (const { fileOffset } of [...root.mappingParts, ...(root.tableParts ?? [])])
      slots.add(segments.slotOf(fileOffset));
    const bornMs = calendarMs();
    for (const slot of slots) {
      if (!segments.has(slot)) segments.begin(slot, SegmentKind.index, checkpointSequence, bornMs);
    }
    return slots;
  }

  /** Fills the mapping. Returns the ids of all pages, ascending. */
  async #readMapping({ mappingParts }: CheckpointRoot, mapping: Mapping): Promise<number[]> {
    const ids: number[] = [];
    let free = 1;
    for (const part of mappingParts) {
      if (!isPossiblePart(part, this.#fileBytes)) throw this.#damaged('root', 'position of the mapping');
      const { buffer, at } = await this.#read(part.fileOffset, part.bytes);
      for (const entry of this.#entriesOf(part, buffer, at)) {
        // Page ids must ascend.
        if (entry.pageId < free || !isPossibleEntry(entry, this.#fileBytes)) throw this.#damaged('mapping', 'entry');
        free = entry.pageId + 1;
        mapping.set(entry);
        ids.push(entry.pageId);
      }
      await nextTurn();
    }
    return ids;
  }

  *#entriesOf(part: PartReference, buffer: AlignedBuffer, at: number): Generator<MappingEntry> {
    const entries = readPart(buffer, at, part);
    if (entries === null) throw this.#damaged('mapping', 'checksum');
    for (let i = 0; i < entries; i++) yield readEntry(buffer, at + PART_HEADER_BYTES + i * ENTRY_BYTES);
  }

  /** Reads the inner pages and returns the leaves. Checks that every child exists and every page has one parent. */
  async #readInner({ rootPage, pages }: CheckpointRoot, mapping: Mapping, memory: NodeMemory): Promise<number[]> {
    if (rootPage === 0) {
      if (pages > 0) throw this.#damaged('index', 'pages without a parent');
      return [];
    }
    if (!mapping.has(rootPage)) throw this.#damaged('root', 'its page is missing');
    await this.#readPages([rootPage], mapping, memory);
    let ids = [rootPage];
    let seen = 1;
    for (let level = node.level(memory.words(rootPage), memory.base(rootPage)); level > 0; level--) {
      const children: number[] = [];
      for (const id of ids) {
        const words = memory.words(id);
        const base = memory.base(id);
        if (node.level(words, base) !== level) throw this.#damaged(`page ${id}`, 'level');
        for (let child = 0; child <= node.count(words, base); child++) children.push(node.childAt(words, base, child));
        if (this.#budget.isSpent()) await nextTurn();
      }
      for (const id of children) if (!mapping.has(id)) throw this.#damaged(`page ${id}`, 'missing');
      seen += children.length;
      if (seen > pages) throw this.#damaged('index', 'pages with two parents');
      if (level > 1) await this.#readPages(children, mapping, memory);
      ids = children;
    }
    if (seen !== pages) throw this.#damaged('index', 'pages without a parent');
    return ids;
  }

  /** Reads leaves region by region, so that the reads are few and long, until the limit is reached. */
  async #readLeaves(
    leaves: readonly number[],
    mapping: Mapping,
    memory: NodeMemory,
    limitBytes: number,
  ): Promise<void> {
    const bySegment = new Map<number, number[]>();
    for (const id of leaves) {
      if (memory.isResident(id)) continue;
      const segment = Math.floor(mapping.fileOffsetOf(id) / this.#file.alignment.offset / SEGMENT_UNITS);
      const others = bySegment.get(segment);
      if (others === undefined) bySegment.set(segment, [id]);
      else others.push(id);
      if (this.#budget.isSpent()) await nextTurn();
    }
    for (const ids of bySegment.values()) {
      let bytes = memory.bytesUsed;
      const chosen = ids.filter((id) => (bytes += mapping.unitsOf(id) * memory.nodeBytes) <= limitBytes);
      await this.#readPages(chosen, mapping, memory);
      for (const id of chosen) {
        if (node.level(memory.words(id), memory.base(id)) !== 0) throw this.#damaged(`page ${id}`, 'level');
      }
      if (chosen.length < ids.length) return;
    }
  }

  /** Reads absent pages, several runs of neighbouring images at a time. */
  async #readPages(ids: readonly number[], mapping: Mapping, memory: NodeMemory): Promise<void> {
    const byPlace = [...ids].sort((a, b) => mapping.fileOffsetOf(a) - mapping.fileOffsetOf(b));
    let next = 0;
    const imagesBytes = ids.reduce((sum, id) => sum + mapping.imageBytesOf(id), 0);
    const roomBytes = Math.min(READ_BYTES, imagesBytes) + 2 * this.#file.alignment.offset;
    const reader = async (_: unknown, number: number): Promise<void> => {
      const room = this.#roomOf(number, roomBytes);
      while (next < byPlace.length) {
        const first = next;
        const from = mapping.fileOffsetOf(byPlace[first] as number);
        let end = from;
        for (; next < byPlace.length; next++) {
          const id = byPlace[next] as number;
          const imageEnd = mapping.fileOffsetOf(id) + mapping.imageBytesOf(id);
          if (next > first && (imageEnd - from > READ_BYTES || mapping.fileOffsetOf(id) - end > READ_BYTES / 8)) break;
          end = imageEnd;
        }
        await this.#readRun(byPlace.slice(first, next), from, end, mapping, memory, room);
      }
    };
    await Promise.all(Array.from({ length: Math.min(READS_AT_ONCE, ids.length) }, reader));
  }

  /** The buffer of a reader, with at least so many bytes. */
  #roomOf(reader: number, leastBytes: number): AlignedBuffer {
    const room = this.#rooms[reader];
    if (room !== undefined && room.byteLength >= leastBytes) return room;
    return (this.#rooms[reader] = allocateAligned(leastBytes));
  }

  async #readRun(
    ids: readonly number[],
    from: number,
    end: number,
    mapping: Mapping,
    memory: NodeMemory,
    room: AlignedBuffer,
  ): Promise<void> {
    let run: { readonly buffer: AlignedBuffer; readonly at: number };
    try {
      run = await this.#read(from, end - from, room);
    } catch (error) {
      if (ids.length < 2 || (error as AiokvError).code !== 'ERR_AIOKV_IO') throw error;
      // LOADER-1.
      for (const id of ids) {
        const fileOffset = mapping.fileOffsetOf(id);
        await this.#readRun([id], fileOffset, fileOffset + mapping.imageBytesOf(id), mapping, memory, room);
      }
      return;
    }
    const { buffer, at } = run;
    for (const id of ids) {
      const entry = mapping.entryOf(id);
      const imageAt = at + entry.fileOffset - from;
      const fault = pageFault(buffer, imageAt, entry.imageBytes, entry);
      if (fault !== null && !(fault === 'tag' && this.#planted.uncheckedTag === true)) {
        throw this.#damaged(`page ${id}`, fault);
      }
      if (memory.isResident(id)) throw this.#damaged(`page ${id}`, 'two parents');
      memory.admit(id);
      touchAhead(memory);
      const capacity = entry.units * memory.unitWords;
      if (!decodeImage(buffer, imageAt, memory.words(id), memory.base(id), capacity)) {
        throw this.#damaged(`page ${id}`, 'contents');
      }
      this.#progress.advance(entry.imageBytes);
      if (this.#budget.isSpent()) await nextTurn();
    }
  }

  /**
   * Reads the sectors that cover a range of the file. Returns a buffer and the offset of the range in it.
   *
   * @param room the buffer to use if it is large enough
   */
  async #read(
    fileOffset: number,
    lengthBytes: number,
    room?: AlignedBuffer,
  ): Promise<{ buffer: AlignedBuffer; at: number }> {
    const unit = this.#file.alignment.offset;
    const offset = alignDown(fileOffset, unit);
    const length = alignUp(fileOffset + lengthBytes, unit) - offset;
    if (offset + length > this.#fileBytes) throw this.#damaged('index', 'beyond the end of the file');
    const buffer = room !== undefined && length <= room.byteLength ? room : allocateAligned(length);
    const cause = await readOrCause(this.#queue, this.#file, buffer, { offset, bufferOffset: 0, length });
    if (cause !== null) throw unreadable(this.#file.path, offset, cause);
    return { buffer, at: fileOffset - offset };
  }

  #damaged(part: string, fault: string): Error {
    return corrupt(`the ${part} of the checkpoint of ${this.#file.path} is damaged (${fault})`);
  }
}
