/**
 * Random histories of a store, and what the store may hold after a crash in the middle of one.
 *
 * Every write of a history is a group (a put, a deletion, or a batch) that the store takes as a whole.
 * Groups are numbered in the order in which they were called, which is the order of admission. After a
 * crash the store must hold exactly what the first k groups leave behind, for some k that is not below
 * the last group acknowledged as flushed, and not above the last one called.
 */
import type { Random } from '@aiokv/core';
import type { BatchOperation, Durability, Store } from '@aiokv/kv';

export interface Group {
  readonly operations: readonly BatchOperation[];
  readonly durability: Durability;
}

const KEYS = 12;
let valueCounter = 0;

/** A random group; `valueBytes` is the length of long values. Values are never the same twice, so that every prefix of a history can be told apart. */
export function randomGroup(random: Random, valueBytes = 20_000): Group {
  const durability = random.chance(0.6) ? 'flushed' : random.chance(0.5) ? 'written' : 'buffered';
  const count = valueBytes > 20_000 || random.chance(0.7) ? 1 : 1 + random.below(8);
  const operations = Array.from({ length: count }, (): BatchOperation => {
    const key = `key${random.below(KEYS)}`;
    if (random.chance(0.15)) return { type: 'del', key };
    const isLong = random.chance(valueBytes > 20_000 ? 0.8 : 0.1);
    const size = isLong ? valueBytes : random.chance(0.3) ? 3000 : 40;
    return { type: 'put', key, value: `${valueCounter++}:${'v'.repeat(random.below(size))}` };
  });
  return { operations, durability };
}

/** A store's contents as one string that two contents share only if they are the same. */
export type Contents = string;

/** What the calls so far allow, kept while a history runs. */
export class Ledger {
  /** Contents after each prefix of the groups; index 0 is the start. */
  readonly prefixes: Contents[];
  readonly #map: Map<string, string>;
  /** Prefixes below this would have lost something acknowledged. */
  flushedThrough = 0;

  constructor(start: ReadonlyMap<string, string>) {
    this.#map = new Map(start);
    this.prefixes = [contentsOf(this.#map)];
  }

  get called(): number {
    return this.prefixes.length - 1;
  }

  note(group: Group): number {
    for (const operation of group.operations) {
      const key = operation.key as string;
      if (operation.type === 'put') this.#map.set(key, operation.value as string);
      else this.#map.delete(key);
    }
    this.prefixes.push(contentsOf(this.#map));
    return this.called;
  }

  acknowledge(group: number): void {
    this.flushedThrough = Math.max(this.flushedThrough, group);
  }
}

/** Calls a group's write and keeps the ledger; settles when it is acknowledged. */
export async function call(store: Store, ledger: Ledger, group: Group): Promise<void> {
  const { operations, durability } = group;
  const [only] = operations;
  const number = ledger.note(group);
  if (operations.length === 1 && only !== undefined) {
    if (only.type === 'put') await store.put(only.key, only.value, { durability });
    else await store.del(only.key, { durability });
  } else await store.batch(operations, { durability });
  if (durability === 'flushed') ledger.acknowledge(number);
}

export async function readAll(store: Store): Promise<Map<string, string>> {
  const map = new Map<string, string>();
  for await (const [key, value] of store.iterator()) map.set(key.toString(), value.toString());
  return map;
}

export function contentsOf(map: ReadonlyMap<string, string>): Contents {
  return [...map]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${value.length}:${value.slice(0, 16)}`)
    .join('|');
}
