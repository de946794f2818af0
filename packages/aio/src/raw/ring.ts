/**
 * The completion ring of a context, read in place. The handle of a context is the address of memory that the kernel
 * shares with the process, so reaping needs no system call.
 *
 * ```
 *   0     4    8      12     16      20       24         28             32
 *   ├─────┼────┼──────┼──────┼───────┼────────┼──────────┼──────────────┼─────────┬─────────┬──
 *   │ id  │ nr │ head │ tail │ magic │ compat │ incompat │ header bytes │ event 0 │ event 1 │ … nr events
 *   └─────┴────┴──────┴──────┴───────┴────────┴──────────┴──────────────┴─────────┴─────────┴──
 *   head: the next event to read, ours to move     tail: the next event to write, the kernel's to move
 * ```
 *
 * `struct aio_ring`, fs/aio.c. `nr` is no power of two. After Seastar's src/core/linux-aio.cc and QEMU's
 * block/linux-aio.c: the tail is loaded with acquire, so that the events before it are seen, and the head
 * is stored with release, so that they were read before the kernel writes there again.
 *
 * AIORING-1. There is one reaper.
 * AIORING-2. The memory is not touched after `drop`: it is about to be unmapped.
 */
import type { Completions } from '../engine.ts';

const HEADER_BYTES = 32;
const EVENT_WORDS = 8;
const MAGIC = 0xa10a10a1 | 0;
const NR = 1;
const HEAD = 2;
const TAIL = 3;
const MAGIC_AT = 4;
const INCOMPAT = 6;
const HEADER_LENGTH = 7;

export class CompletionRing {
  #words: Int32Array | null;
  readonly #nr: number;

  private constructor(words: Int32Array, nr: number) {
    this.#words = words;
    this.#nr = nr;
  }

  /**
   * The ring at the context's address, or null when it cannot be read in place.
   *
   * @param viewOf gives a view of memory, or undefined where foreign memory cannot be viewed
   */
  static at(
    address: number,
    viewOf: (address: number, bytes: number) => Uint8Array | undefined,
  ): CompletionRing | null {
    const header = wordsOf(viewOf(address, HEADER_BYTES));
    if (header === null || header[MAGIC_AT] !== MAGIC || header[INCOMPAT] !== 0) return null;
    if (header[HEADER_LENGTH] !== HEADER_BYTES) return null;
    const nr = header[NR] as number;
    if (nr <= 0) return null;
    const words = wordsOf(viewOf(address, HEADER_BYTES + nr * EVENT_WORDS * 4));
    return words === null ? null : new CompletionRing(words, nr);
  }

  /** Whether no event waits; costs some 10 ns. */
  get isEmpty(): boolean {
    const words = this.#words;
    return words === null || words[HEAD] === Atomics.load(words, TAIL);
  }

  /**
   * Appends events to `completions`, as far as there is room.
   *
   * @param tags receives the upper words of the requests' data, at the same places
   * @returns false when head or tail make no sense; the ring must not be read in place any more
   */
  reap(completions: Completions, tags: Uint32Array | null = null): boolean {
    const words = this.#words;
    if (words === null) return true;
    const nr = this.#nr;
    let head = words[HEAD] as number;
    const tail = Atomics.load(words, TAIL);
    if (head < 0 || head >= nr || tail < 0 || tail >= nr) return false;
    if (head === tail) return true;
    const { slots, results } = completions;
    let count = completions.count;
    while (head !== tail && count < slots.length) {
      const at = HEADER_BYTES / 4 + head * EVENT_WORDS;
      slots[count] = words[at] as number;
      results[count] = words[at + 4] as number;
      if (tags !== null) tags[count] = words[at + 1] as number;
      count++;
      if (++head === nr) head = 0;
    }
    completions.count = count;
    Atomics.store(words, HEAD, head);
    return true;
  }

  /** See AIORING-2. */
  drop(): void {
    this.#words = null;
  }
}

function wordsOf(bytes: Uint8Array | undefined): Int32Array | null {
  return bytes === undefined ? null : new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}
