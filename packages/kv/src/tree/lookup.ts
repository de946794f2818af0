/**
 * Looks up a key below a root, for the live tree and for snapshots. It only reads nodes. It stops at a leaf that is not
 * in memory; the caller loads the leaf and decides what happens to the lookup.
 */
import type { Entry } from './entry.ts';
import type { Fence } from './fence.ts';
import * as node from './node.ts';
import { MARK_USED } from './nodes.ts';
import type { NodeMemory } from './nodes.ts';
import type { Probe } from './probe.ts';

declare const leafBrand: unique symbol;

/** The leaf that a lookup needs and that is not in memory. Opaque: callers only hand it back to the index. */
export interface AbsentLeaf {
  readonly [leafBrand]: true;
}

/** The result of a lookup, or the leaf that must be loaded first. */
export type Lookup = typeof FOUND | typeof MISSING | AbsentLeaf;
export const FOUND = 0;
export const MISSING = -1;

/**
 * The page id of an absent leaf, for the index only. At run time a leaf is its page id, so that a lookup allocates
 * nothing.
 */
export function pageOf(leaf: AbsentLeaf): number {
  return leaf as unknown as number;
}

/** The leaf with this page id. */
export function absentLeaf(pageId: number): AbsentLeaf {
  return pageId as unknown as AbsentLeaf;
}

/**
 * Copies the entry of the key in the tree below `root` to `into`. `root` is 0 for an empty tree. `into` changes only
 * when the key is found.
 */
export function lookup(memory: NodeMemory, root: number, probe: Probe, into: Entry): Lookup {
  if (root === 0) return MISSING;
  const leaf = leafOf(memory, root, probe);
  if (!memory.isResident(leaf)) return absentLeaf(leaf);
  memory.mark(leaf, MARK_USED);
  return lookInLeaf(memory.words(leaf), memory.base(leaf), probe, into) ? FOUND : MISSING;
}

/**
 * The only leaf below `root` that can hold the key; it may be absent.
 *
 * @param fence becomes that of the leaf
 */
export function leafOf(memory: NodeMemory, root: number, probe: Probe, fence?: Fence): number {
  fence?.open();
  if (!memory.isResident(root)) return root;
  let id = root;
  let words = memory.words(id);
  let base = memory.base(id);
  for (let level = node.level(words, base); level > 0; level--) {
    const found = node.search(words, base, probe);
    const child = found >= 0 ? found + 1 : ~found;
    if (fence !== undefined && child < node.count(words, base)) {
      node.loadKey(words, base, child, fence.key);
      fence.close();
    }
    id = node.childAt(words, base, child);
    if (level === 1) return id;
    words = memory.words(id);
    base = memory.base(id);
  }
  return id;
}

/**
 * Copies the entry of the last key that is not after this one to `into`. All nodes must be in memory. False: there is no
 * such key.
 */
export function floor(memory: NodeMemory, root: number, probe: Probe, into: Entry): boolean {
  if (root === 0) return false;
  let id = root;
  // The subtree just before the path: it has the key if the leaf has not.
  let before = 0;
  for (let level = levelOf(memory, root); level > 0; level--) {
    const words = memory.words(id);
    const base = memory.base(id);
    const found = node.search(words, base, probe);
    const child = found >= 0 ? found + 1 : ~found;
    if (child > 0) before = node.childAt(words, base, child - 1);
    id = node.childAt(words, base, child);
  }
  const found = node.search(memory.words(id), memory.base(id), probe);
  let index = found >= 0 ? found : ~found - 1;
  if (index < 0) {
    if (before === 0) return false;
    id = before;
    for (let level = levelOf(memory, id); level > 0; level--) {
      const words = memory.words(id);
      const base = memory.base(id);
      id = node.childAt(words, base, node.count(words, base));
    }
    index = node.count(memory.words(id), memory.base(id)) - 1;
  }
  node.loadEntry(memory.words(id), memory.base(id), index, into);
  return true;
}

function levelOf(memory: NodeMemory, id: number): number {
  return node.level(memory.words(id), memory.base(id));
}

/** Copies the entry of the key in this leaf to `into`; false when the leaf does not hold the key. */
export function lookInLeaf(words: Uint32Array, base: number, probe: Probe, into: Entry): boolean {
  const found = node.search(words, base, probe);
  if (found < 0) return false;
  node.loadEntry(words, base, found, into);
  return true;
}
