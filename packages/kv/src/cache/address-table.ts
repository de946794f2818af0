/**
 * Hash to address: where in its queue each cached record is. It does not know keys: the caller compares them.
 *
 * ```
 *   hash: 32 ─┬─ high bits ─► shard        hash │ address │ hash │ address │ ...      a power of two of slots, half of them free
 *             └─ low bits  ─► its first slot ──► on to the next while it is taken
 * ```
 *
 * ADDRESSES-1. A shard doubles by itself, in one step: so it is kept small, and there are many.
 * ADDRESSES-2. A lookup passes few slots. What would stand behind more of them is not added.
 */
import { assert } from '@aiokv/core';

/** No address. */
export const NOWHERE = -1;

const FIRST_SLOTS = 8;
/** ADDRESSES-2. Ten are rare in a table that is half full. */
const PROBES_MOST = 64;

export class AddressTable {
  readonly #shards: Int32Array[];
  readonly #counts: Int32Array;
  readonly #shift: number;
  #size = 0;
  #slots: number;
  /** Where `first` and `next` have stopped: the slot, and how many were passed. */
  #shard: Int32Array;
  #slot = 0;
  #passed = 0;
  #hash = 0;

  /** @param shardBits 1 to 16 */
  constructor(shardBits: number) {
    this.#shards = Array.from({ length: 2 ** shardBits }, () => newShard(FIRST_SLOTS));
    this.#counts = new Int32Array(this.#shards.length);
    this.#shift = 32 - shardBits;
    this.#slots = this.#shards.length * FIRST_SLOTS;
    this.#shard = this.#shards[0] as Int32Array;
  }

  get size(): number {
    return this.#size;
  }

  get bytes(): number {
    return this.#slots * 8;
  }

  /** The first address with this hash, or `NOWHERE`. */
  first(hash: number): number {
    const shard = this.#shards[hash >>> this.#shift] as Int32Array;
    this.#shard = shard;
    this.#hash = hash;
    this.#slot = (hash << 1) & (shard.length - 1);
    this.#passed = 0;
    return this.#here();
  }

  /** The next one after `first` or `next`, without a change between. */
  next(): number {
    this.#step();
    return this.#here();
  }

  /** Adds an address. Returns false if there is no room for it (ADDRESSES-2). */
  add(hash: number, address: number): boolean {
    const number = hash >>> this.#shift;
    let shard = this.#shards[number] as Int32Array;
    // A slot has two words.
    if (4 * ((this.#counts[number] as number) + 1) > shard.length) shard = this.#double(number);
    // Half of the slots are taken by less: `#double` has failed.
    if (8 * ((this.#counts[number] as number) + 1) > 3 * shard.length || !place(shard, hash, address)) return false;
    this.#counts[number] = (this.#counts[number] as number) + 1;
    this.#size++;
    return true;
  }

  /** Gives a record that moves its new address. */
  replace(hash: number, address: number, by: number): void {
    this.#seek(hash, address);
    this.#shard[this.#slot + 1] = by;
  }

  remove(hash: number, address: number): void {
    this.#seek(hash, address);
    const shard = this.#shard;
    const mask = shard.length - 1;
    let hole = this.#slot;
    // Those behind move up, unless they would stand before their first slot.
    for (let at = (hole + 2) & mask; shard[at + 1] !== NOWHERE; at = (at + 2) & mask) {
      const first = ((shard[at] as number) << 1) & mask;
      if (((at - first) & mask) < ((at - hole) & mask)) continue;
      shard[hole] = shard[at] as number;
      shard[hole + 1] = shard[at + 1] as number;
      hole = at;
    }
    shard[hole + 1] = NOWHERE;
    const number = hash >>> this.#shift;
    this.#counts[number] = (this.#counts[number] as number) - 1;
    this.#size--;
  }

  #seek(hash: number, address: number): void {
    let found = this.first(hash);
    while (found !== address && found !== NOWHERE) found = this.next();
    assert(found === address, 'a cached record is in the table');
  }

  #step(): void {
    this.#slot = (this.#slot + 2) & (this.#shard.length - 1);
    this.#passed++;
  }

  #here(): number {
    const shard = this.#shard;
    for (; this.#passed < PROBES_MOST; this.#step()) {
      const address = shard[this.#slot + 1] as number;
      if (address === NOWHERE || shard[this.#slot] === this.#hash) return address;
    }
    return NOWHERE;
  }

  #double(number: number): Int32Array {
    const old = this.#shards[number] as Int32Array;
    const shard = newShard(old.length);
    for (let at = 0; at < old.length; at += 2) {
      if (old[at + 1] === NOWHERE) continue;
      // It fails for keys that were made to collide only. The old shard does for them.
      if (!place(shard, old[at] as number, old[at + 1] as number)) return old;
    }
    this.#slots += old.length / 2;
    this.#shards[number] = shard;
    return shard;
  }
}

function newShard(slots: number): Int32Array {
  return new Int32Array(2 * slots).fill(NOWHERE);
}

function place(shard: Int32Array, hash: number, address: number): boolean {
  const mask = shard.length - 1;
  let at = (hash << 1) & mask;
  for (let passed = 0; shard[at + 1] !== NOWHERE; passed++) {
    if (passed === PROBES_MOST - 1) return false;
    at = (at + 2) & mask;
  }
  shard[at] = hash;
  shard[at + 1] = address;
  return true;
}
