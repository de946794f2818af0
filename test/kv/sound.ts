/** Whether a store holds what a model says. */
import type { ExecutionContext } from 'ava';
import type { Store } from '@aiokv/kv';
import { readAll } from './crash/history.ts';

/** The same keys with the same values. Of those that differ only the beginning is told: they may be long. */
export function requireEqual(
  t: ExecutionContext,
  found: ReadonlyMap<string, string>,
  expected: ReadonlyMap<string, string>,
  what: string,
): void {
  t.is(found.size, expected.size, what);
  for (const [key, value] of expected) {
    if (found.get(key) === value) continue;
    t.fail(`${what}: ${shorten(key)} is ${shorten(found.get(key))}, not ${shorten(value)}`);
  }
}

/** Values, counts and trees. Waits for the run under way, whose trees are not those of the index. */
export async function requireSound(
  t: ExecutionContext,
  store: Store,
  model: ReadonlyMap<string, string>,
  what: string,
): Promise<void> {
  requireEqual(t, await readAll(store), model, what);
  await store.verifySegments();
  store.verifyIndex();
}

export function shorten(text: string | undefined): string | undefined {
  return text?.slice(0, 20);
}
