/** Walks of the commands over a range: many entries at once, ended by a signal, and with an end in any case. */
import type { KeyRange, RangeOptions, Store, StoreIterator } from '@aiokv/kv';
import type { Session } from './session.ts';

const ENTRIES_AT_ONCE = 256;

/** @param each may return a promise to wait for, or null */
export async function walkEntries(
  session: Session,
  store: Store,
  range: Partial<RangeOptions>,
  each: (key: Buffer, value: Buffer) => Promise<void> | null,
): Promise<void> {
  await walk(session, store.iterator(range), ([key, value]) => each(key, value));
}

export async function walkKeys(
  session: Session,
  store: Store,
  range: Partial<RangeOptions>,
  each: (key: Buffer) => Promise<void> | null,
): Promise<void> {
  await walk(session, store.keys(range), each);
}

/** The first key of a range, or undefined. */
export async function firstKey(store: Store, range: Partial<KeyRange>): Promise<Buffer | undefined> {
  const keys = store.keys({ ...range, limit: 1 });
  try {
    const [key] = await keys.nextMany(1);
    return key;
  } finally {
    await keys.return();
  }
}

async function walk<Row>(
  session: Session,
  iterator: StoreIterator<Row>,
  each: (row: Row) => Promise<void> | null,
): Promise<void> {
  try {
    for (;;) {
      const rows = await iterator.nextMany(ENTRIES_AT_ONCE);
      if (rows.length === 0) return;
      for (const row of rows) {
        const wait = each(row);
        if (wait !== null) await wait;
      }
      session.checkSignal();
    }
  } finally {
    await iterator.return();
  }
}
