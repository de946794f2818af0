/**
 * A lookup that waits for its leaf. When it comes, the addresses of its keys go to the address cache, so that the next get of one
 * of them can do without.
 *
 * ```
 *   leaf    … │ k - 16 │ … │ k, asked for │ … │ k + 15 │ …
 *             └──── where there is room ──┴────────────┘        so all keys are known after some gets for each leaf
 * ```
 */
import type { AddressCache } from '../cache/address-cache.ts';
import type { Planted } from '../failure/planted.ts';
import { isOverAt } from '../format/index-entry.ts';
import { MAX_KEY_BYTES } from '../format/record.ts';
import { Entry, Probe, lookInLeaf, node } from '../tree/index.ts';
import type { Tree } from '../tree/index.ts';
import type { PageWaiter } from './pager.ts';

/** Receives the answer of a lookup whose leaf had to be read, once. */
export interface LateAnswer {
  /** It must not change until the answer. */
  readonly key: Uint8Array;
  /** @param entry valid only during the call */
  foundLate(entry: Entry): void;
  missingLate(): void;
  /** The leaf cannot be read. */
  failedLate(error: Error): void;
}

/** Keys whose addresses are taken at once, those around the one that was asked for. */
const KEYS_AT_ONCE = 32;

/** Scratch for a lookup in one leaf. Valid within one step. */
const probe = new Probe(MAX_KEY_BYTES);
const entry = new Entry();

/** Fills addresses of the live tree in. */
export class LeafAddresses {
  readonly #tree: Tree;
  readonly #addresses: AddressCache;
  readonly #isPlanted: boolean;

  constructor(tree: Tree, addresses: AddressCache, planted: Planted) {
    this.#tree = tree;
    this.#addresses = addresses;
    this.#isPlanted = planted.uncheckedLeaves === true;
  }

  /** ADDRESS-2. Takes those of a leaf that was read for this key, in the step in which it is in memory. */
  take(pageId: number, words: Uint32Array, base: number, key: Uint8Array, keyBytes: number): void {
    const tree = this.#tree;
    if (!this.#addresses.isOpenTo(tree.size)) return;
    if (tree.leafOf(key, keyBytes) !== pageId && !this.#isPlanted) return;
    probe.load(key, keyBytes);
    const found = node.search(words, base, probe);
    const at = found < 0 ? ~found : found;
    if (found >= 0) this.#takeOne(words, base, found, true);
    const end = Math.min(node.count(words, base), at + KEYS_AT_ONCE / 2);
    for (let i = Math.max(0, at - KEYS_AT_ONCE / 2); i < end; i++) {
      if (i !== found) this.#takeOne(words, base, i, false);
    }
  }

  #takeOne(words: Uint32Array, base: number, index: number, isAsked: boolean): void {
    node.loadEntry(words, base, index, entry);
    node.loadKey(words, base, index, probe);
    this.#addresses.fill(probe, entry, isAsked);
  }
}

/** Looks up a key in a leaf. */
export function findInLeaf(words: Uint32Array, base: number, key: Uint8Array, keyBytes: number, into: Entry): boolean {
  probe.load(key, keyBytes);
  return lookInLeaf(words, base, probe, into);
}

export class LeafLookup implements PageWaiter {
  readonly #answer: LateAnswer;
  readonly #addresses: LeafAddresses;
  readonly #momentMs: number;

  /** @param momentMs that of the lookup: see `ExpiryClock.momentMs` */
  constructor(answer: LateAnswer, addresses: LeafAddresses, momentMs: number) {
    this.#answer = answer;
    this.#addresses = addresses;
    this.#momentMs = momentMs;
  }

  pageLoaded(words: Uint32Array, base: number, pageId: number): void {
    const { key } = this.#answer;
    this.#addresses.take(pageId, words, base, key, key.length);
    const isThere = findInLeaf(words, base, key, key.length, entry) && !isOverAt(entry, this.#momentMs);
    if (isThere) this.#answer.foundLate(entry);
    else this.#answer.missingLate();
  }

  pageFailed(error: Error): void {
    this.#answer.failedLate(error);
  }
}
