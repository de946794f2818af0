/** SQLite by better-sqlite3: one table of keys and values. All of its calls are synchronous. */
import { join } from 'node:path';
import { load } from './install.ts';
import { ENTRIES_AT_ONCE, LAST_KEY, visitInTurns } from './store.ts';
import type { BenchStore, DurabilityClass, OpenRequest, Put, ScanRange } from './store.ts';

/** What is used of it. */
interface Sqlite {
  pragma(text: string): unknown;
  exec(text: string): unknown;
  prepare(text: string): Statement;
  transaction(run: (puts: readonly Put[]) => void): (puts: readonly Put[]) => void;
  close(): unknown;
}

interface Row {
  readonly key: Buffer;
  readonly value: Buffer;
}

interface Statement {
  run(...values: unknown[]): unknown;
  get(...values: unknown[]): { readonly value: Buffer } | undefined;
  all(...values: unknown[]): readonly Row[];
}

const SYNCHRONOUS: Readonly<Record<DurabilityClass, string>> = { none: 'OFF', written: 'NORMAL', flushed: 'FULL' };
const CACHE_KIB = 65_536;
/** A row of a table without a rowid should be smaller than a twentieth of a page, of 4,096 bytes. */
const LARGEST_WITHOUT_ROWID_BYTES = 200;

export async function openBetterSqlite3(request: OpenRequest): Promise<BenchStore> {
  const { directory, durability, valueBytes = 1000, options = {} } = request;
  const Database = load('better-sqlite3') as new (path: string) => Sqlite;
  const db = new Database(join(directory, 'data.db'));
  const pragmas = {
    journal_mode: 'WAL',
    synchronous: SYNCHRONOUS[durability],
    cache_size: -CACHE_KIB,
    ...options,
  };
  for (const [name, value] of Object.entries(pragmas)) db.pragma(`${name}=${String(value)}`);
  const kind = valueBytes <= LARGEST_WITHOUT_ROWID_BYTES ? 'without rowid' : '';
  db.exec(`create table if not exists records (key blob primary key, value blob) ${kind}`);
  const put = db.prepare('insert or replace into records values (?, ?)');
  const remove = db.prepare('delete from records where key = ?');
  const get = db.prepare('select value from records where key = ?');
  const pages = {
    upwards: db.prepare('select key, value from records where key >= ? order by key limit ?'),
    further: db.prepare('select key, value from records where key > ? order by key limit ?'),
    downwards: db.prepare('select key, value from records where key < ? order by key desc limit ?'),
  };
  const all = db.transaction((puts) => {
    for (const { key, value } of puts) put.run(key, value);
  });
  return {
    async put(key, value) {
      put.run(key, value);
    },
    async write(puts) {
      all(puts);
    },
    async delete(key) {
      remove.run(key);
    },
    async get(key) {
      return get.get(key)?.value;
    },
    async scan(range, visit) {
      await visitInTurns(rowsOf(range, pages), ({ key, value }) => visit(key, value));
    },
    // A checkpoint syncs the log, carries it over, and syncs the database.
    async flush() {
      db.pragma('wal_checkpoint(TRUNCATE)');
    },
    // Its tree is in order.
    compact: async () => undefined,
    async close() {
      db.close();
    },
  };
}

type Pages = Readonly<Record<'upwards' | 'further' | 'downwards', Statement>>;

/** Page by page: while a statement is iterated over, the connection takes no other, and clients share one connection. */
function* rowsOf({ gte = Buffer.alloc(0), limit, reverse }: ScanRange, pages: Pages): Generator<Row> {
  let [statement, from] = reverse ? [pages.downwards, LAST_KEY] : [pages.upwards, gte];
  for (let left = limit; left > 0;) {
    const wanted = Math.min(left, ENTRIES_AT_ONCE);
    const rows = statement.all(from, wanted);
    // In reverse the scan ends where the range begins.
    for (const row of rows) {
      if (reverse && row.key.compare(gte) < 0) return;
      yield row;
    }
    if (rows.length < wanted) return;
    from = (rows[rows.length - 1] as Row).key;
    if (!reverse) statement = pages.further;
    left -= rows.length;
  }
}
