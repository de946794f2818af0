/** Compares what a search found with what is known and let pass. */
import type { ExecutionContext } from 'ava';

/** What may be there, and why; in the order of the text. */
export type Exceptions = Readonly<Record<string, string>>;

/** Fails on what is found and not known, and on what is known and found no more. */
export function matches(t: ExecutionContext, found: readonly string[], known: Exceptions): void {
  const unique = [...new Set(found)].sort();
  t.deepEqual(
    unique.filter((each) => !Object.hasOwn(known, each)),
    [],
    'new, and not allowed',
  );
  t.deepEqual(
    Object.keys(known).filter((each) => !unique.includes(each)),
    [],
    'no longer there: take it out of test/structure/exceptions.ts',
  );
}
