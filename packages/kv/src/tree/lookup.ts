/**
 * The way from a root to the entry of a key, for the live tree and for snapshots. It reads nodes only, and
 * stops where the leaf is not in memory: who loads it, and what becomes of the question then, is the
 * caller's affair.
 */
import type { Entry } from './entry.ts';
import * as node from './node.ts';
import { MARK_USED } from './nodes.ts';
import type { NodeMemory } from './nodes.ts';
import type { Probe } from './probe.ts';

declare const leafBrand: unique symbol;

/** A leaf that is not in memory and that decides a lookup. Opaque: it is handed back to the index, and nothing else. */
export interface AbsentLeaf {
  readonly [leafBrand]: true;
}

/** What a lookup found out, or which leaf must be in memory to know. */
export type Lookup = typeof FOUND | typeof MISSING | AbsentLeaf;
export const FOUND = 0;
export const MISSING = -1;

/** The page of an absent leaf; for the index alone. At run time a leaf is the id of its page, so that no lookup allocates. */
export function pageOf(leaf: AbsentLeaf): number {
  return leaf as unknown as number;
}

function absentLeaf(pageId: number): AbsentLeaf {
  return pageId as unknown as AbsentLeaf;
}

/**
 * Fills `into` with what the key leads to in the tree below `root`, which is 0 for an empty one.
 * `into` is untouched unless it is found.
 */
export function lookup(memory: NodeMemory, root: number, probe: Probe, into: Entry): Lookup {
  if (root === 0) return MISSING;
  const leaf = leafOf(memory, root, probe);
  if (!memory.isResident(leaf)) return absentLeaf(leaf);
  memory.mark(leaf, MARK_USED);
  return lookInLeaf(memory.words(leaf), memory.base(leaf), probe, into) ? FOUND : MISSING;
}

/** The leaf in which a key stands if it is anywhere below `root`; it may be absent. */
function leafOf(memory: NodeMemory, root: number, probe: Probe): number {
  if (!memory.isResident(root)) return root;
  let id = root;
  let words = memory.words(id);
  let base = memory.base(id);
  for (let level = node.level(words, base); level > 0; level--) {
    const found = node.search(words, base, probe);
    id = node.childAt(words, base, found >= 0 ? found + 1 : ~found);
    if (level === 1) return id;
    words = memory.words(id);
    base = memory.base(id);
  }
  return id;
}

/** As `lookup`, in one leaf. */
export function lookInLeaf(words: Uint32Array, base: number, probe: Probe, into: Entry): boolean {
  const found = node.search(words, base, probe);
  if (found < 0) return false;
  const payload = node.payloadAt(words, base, found);
  into.word0 = words[payload] as number;
  into.word1 = words[payload + 1] as number;
  return true;
}
