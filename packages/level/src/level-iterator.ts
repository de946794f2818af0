/**
 * An iterator of Level over a walk of the store. abstract-level keeps its state: one read at a time, `limit`, the end,
 * closing. So nothing here is called while a read is pending, but an abort.
 */
import { AbstractIterator } from 'abstract-level';
import type { AbstractLevel } from 'abstract-level';
import { AbortError } from './errors.ts';
import { isInRange } from './range.ts';
import type { LevelRange } from './range.ts';
import { nextEntries } from './walk.ts';
import type { Entry, Walk } from './walk.ts';

export interface IteratorRequest extends LevelRange {
  readonly values: boolean;
  readonly signal?: AbortSignal | null;
}

export class LevelIterator<K, V> extends AbstractIterator<AbstractLevel<Buffer, K, V>, K, V> {
  readonly #range: LevelRange;
  readonly #walk: Walk;
  readonly #signal: AbortSignal | null;
  /** The last seek was to a key outside of the range. */
  #isOutside = false;

  constructor(db: AbstractLevel<Buffer, K, V>, walk: Walk, options: IteratorRequest) {
    super(db, options as object);
    this.#range = options;
    this.#walk = walk;
    this.#signal = options.signal ?? null;
    this.#signal?.addEventListener('abort', this.#abort, { once: true });
  }

  /** @internal */
  async _next(): Promise<Entry | undefined> {
    if (this.#isOutside) return undefined;
    const { done, value } = await this.#walk.next();
    if (this.#signal?.aborted === true) throw new AbortError(this.#signal.reason);
    return done === true ? undefined : value;
  }

  /** @internal As `_next`, without its promise for each entry. */
  async _nextv(size: number): Promise<Entry[]> {
    let entries: Entry[] = [];
    while (entries.length < size && !this.#isOutside) {
      const more = await nextEntries(this.#walk, size - entries.length);
      if (more.length === 0) break;
      if (entries.length === 0) entries = more;
      else for (const entry of more) entries.push(entry);
    }
    if (this.#signal?.aborted === true) throw new AbortError(this.#signal.reason);
    return entries;
  }

  /** @internal */
  _seek(target: Buffer): void {
    this.#isOutside = !isInRange(target, this.#range);
    if (!this.#isOutside) this.#walk.seek(target);
  }

  /** @internal */
  async _close(): Promise<void> {
    this.#signal?.removeEventListener('abort', this.#abort);
    await this.#walk.return();
  }

  /** Answers the pending read. What goes wrong is told by `_close`, which ends the walk again. */
  readonly #abort = (): void => {
    this.#walk.return().catch(() => undefined);
  };
}
