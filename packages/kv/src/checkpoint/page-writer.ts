/**
 * Saves pages of the tree: makes their images, and hands these to a segment writer. From then on a page does not change
 * any more, and when its chunk is on the device it may leave memory.
 *
 * ```
 *   fresh ── save: image in a chunk, place in the mapping ──► sealed ── chunk written ──► stored ─► the pager may evict it
 * ```
 *
 * SAVE-1. Children are saved before their parents (SNAP-5).
 * SAVE-2. A page is evicted only when its image is on the device. Its image is read only when it is not in memory.
 * SAVE-4. Leaves of a merged memtable are pages from then on that only older versions need: no checkpoint names them.
 * SAVE-3. `saveLeaves` leaves out the newest leaves, which the merge may still change.
 */
import { Fifo, nextTurn } from '@aiokv/core';
import type { TurnBudget } from '@aiokv/core';
import type { KeyIndex } from '../index/key-index.ts';
import { MARK_FRESH, MARK_RETIRED, MARK_SEALED, MARK_STORED, PageImage, node } from '../tree/index.ts';
import type { Place, SegmentWriter } from './segment-writer.ts';

export interface PageWriterOptions {
  readonly index: KeyIndex;
  readonly writer: SegmentWriter;
  readonly budget: TurnBudget;
  readonly sequence: number;
}

interface SavedPage {
  readonly pageId: number;
  readonly fileOffset: number;
  readonly chunk: number;
}

/** Leaves that a merge may still change: the one that it is in, and its neighbours. */
const LEAVES_IN_USE = 8;

export class PageWriter {
  readonly #options: PageWriterOptions;
  /** Inner pages that were met among the fresh ones; they are saved last. */
  #inner: number[] = [];
  /** Of the page that is being saved. */
  readonly #image = new PageImage();
  /** Pages whose chunk is not known to be on the device, oldest first. */
  readonly #unwritten = new Fifo<SavedPage>();

  constructor(options: PageWriterOptions) {
    this.#options = options;
  }

  /**
   * Saves the leaves that the merge has left behind.
   *
   * @throws AiokvError ERR_AIOKV_NO_SPACE and what else `Slots.prepare` throws: call it again when there is space;
   *   SystemCallError of a write
   */
  async saveLeaves(): Promise<void> {
    await this.#saveLeavesBut(LEAVES_IN_USE);
  }

  /** Saves all pages that are left, when the merge has ended. Throws as `saveLeaves`. */
  async saveRest(): Promise<void> {
    await this.#saveLeavesBut(0);
    const { memory, tree } = this.#options.index;
    const byLevel: number[][] = [];
    for (const id of this.#inner) {
      // It may have been freed meanwhile, and another page may have its id.
      if (!tree.isFresh(id)) continue;
      const level = node.level(memory.words(id), memory.base(id));
      if (level > 0) (byLevel[level] ??= []).push(id);
    }
    for (const ids of byLevel) {
      for (const id of ids ?? []) {
        const saved = tree.isFresh(id) ? this.#saveFresh(id) : null;
        if (saved !== null) await saved;
        if (this.#options.budget.isSpent()) await nextTurn();
      }
    }
    this.#inner = [];
  }

  /**
   * Gives a saved page a new place. It is read if it is not in memory; if it cannot be read it stays where it is. Throws
   * as `saveLeaves`.
   */
  async move(id: number): Promise<void> {
    const { memory, mapping, pager } = this.#options.index;
    const oldOffset = mapping.fileOffsetOf(id);
    // A page that only readers need may be freed at each wait, and another one may have its id.
    const isThere = (): boolean =>
      memory.units(id) !== 0 && (memory.marks(id) & MARK_SEALED) !== 0 && mapping.fileOffsetOf(id) === oldOffset;
    if (!isThere()) return;
    const isRead = await pager.pin([id]).then(
      () => true,
      () => false,
    );
    if (!isRead) return;
    try {
      if (!isThere()) return;
      this.#image.make(memory, id, this.#options.sequence);
      const place = await this.#options.writer.place(this.#image.lengthBytes);
      if (isThere()) this.#save(id, place);
    } finally {
      pager.letGo(id);
    }
  }

  /**
   * SAVE-4. Saves a leaf that only readers need, which no tree saves.
   *
   * @param isNeeded whether it still is, after a wait
   * @returns false if there is no space: it stays in memory
   * @throws SystemCallError of a write
   */
  async saveOld(id: number, isNeeded: () => boolean): Promise<boolean> {
    const { writer, index, sequence } = this.#options;
    this.#image.make(index.memory, id, sequence);
    const place = writer.placeHere(this.#image.lengthBytes) ?? (await writer.placeIfRoom(this.#image.lengthBytes));
    if ('noRoom' in place) return false;
    if (!isNeeded()) return true;
    index.memory.mark(id, MARK_RETIRED);
    this.#save(id, place);
    return true;
  }

  /** @returns null when it is saved: to wait for nothing costs more than to save a page */
  #saveFresh(id: number): Promise<void> | null {
    const { writer, index, sequence } = this.#options;
    this.#image.make(index.memory, id, sequence);
    const place = writer.placeHere(this.#image.lengthBytes);
    if (place === null) return writer.place(this.#image.lengthBytes).then((later) => this.#save(id, later));
    this.#save(id, place);
    return null;
  }

  /** Saves the page whose image was made last. */
  #save(id: number, { block, at, fileOffset, chunk }: Place): void {
    const { memory, mapping } = this.#options.index;
    const { lengthBytes, tag } = this.#image;
    this.#image.copyTo(block, at);
    mapping.set({ pageId: id, fileOffset, imageBytes: lengthBytes, units: memory.units(id), tag });
    // SAVE-2.
    memory.unmark(id, MARK_FRESH | MARK_STORED);
    memory.mark(id, MARK_SEALED);
    this.#unwritten.push({ pageId: id, fileOffset, chunk });
    this.#noteWritten();
  }

  /** Waits until everything is on the device, not flushed. */
  async finish(): Promise<void> {
    await this.#options.writer.finish();
    this.#noteWritten();
  }

  async #saveLeavesBut(kept: number): Promise<void> {
    const { tree, memory } = this.#options.index;
    while (tree.freshCount > kept) {
      const id = tree.peekFresh();
      if (id !== 0 && node.level(memory.words(id), memory.base(id)) > 0) this.#inner.push(id);
      else if (id !== 0) {
        const saved = this.#saveFresh(id);
        if (saved !== null) await saved;
      }
      tree.shiftFresh();
      if (this.#options.budget.isSpent()) await nextTurn();
    }
  }

  #noteWritten(): void {
    const { memory, mapping } = this.#options.index;
    const { writtenChunks } = this.#options.writer;
    for (let page = this.#unwritten.peek(); page !== undefined; page = this.#unwritten.peek()) {
      if (page.chunk > writtenChunks) return;
      this.#unwritten.shift();
      // The id may have gone to another page.
      const isSame = mapping.fileOffsetOf(page.pageId) === page.fileOffset;
      if (isSame && (memory.marks(page.pageId) & MARK_SEALED) !== 0) memory.mark(page.pageId, MARK_STORED);
    }
  }
}
