/** One turn of commits.ts: one engine, in a process of its own. Prints its figures as one line of JSON. */
import { mkdtempSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { open } from '@aiokv/kv';

const VALUE_BYTES = 200;
const KEY_BYTES = 24;
const FIRST_PUTS = 1000;
const MORE_PUTS = 10_000;

export interface CommitTask {
  readonly engine: 'aiokv' | 'better-sqlite3' | 'classic-level';
  readonly directory: string;
  /** A file beside the packages of the other engines. */
  readonly enginesPath: string;
  readonly writers: number;
}

/** Puts a second. */
export interface CommitFigures {
  readonly first: number;
  readonly more: number;
  readonly firstAgain: number;
  readonly cpuUs: number;
}

interface Database {
  put(key: Buffer): unknown;
  close(): unknown;
}

/** What is used of better-sqlite3. */
interface Sqlite {
  pragma(text: string): unknown;
  exec(text: string): unknown;
  prepare(text: string): { run(...values: unknown[]): unknown };
  close(): unknown;
}

/** What is used of classic-level. */
interface Level {
  open(): Promise<void>;
  put(key: Buffer, value: Buffer, options: object): Promise<void>;
  close(): Promise<void>;
}

const { engine, directory, enginesPath, writers } = JSON.parse(process.argv[2] as string) as CommitTask;
const load = createRequire(enginesPath);
const value = Buffer.alloc(VALUE_BYTES, 7);
let keys = 0;

async function openDatabase(path: string): Promise<Database> {
  if (engine === 'aiokv') {
    const store = await open(path);
    return { put: (key) => store.put(key, value), close: () => store.close() };
  }
  if (engine === 'better-sqlite3') {
    const database = new (load('better-sqlite3') as new (path: string) => Sqlite)(join(path, 'data.db'));
    database.pragma('journal_mode=WAL');
    database.pragma('synchronous=FULL');
    database.exec('create table records (key blob primary key, value blob) without rowid');
    const statement = database.prepare('insert or replace into records values (?, ?)');
    return { put: (key) => statement.run(key, value), close: () => database.close() };
  }
  const { ClassicLevel } = load('classic-level') as { ClassicLevel: new (path: string, options: object) => Level };
  const level = new ClassicLevel(path, { keyEncoding: 'buffer', valueEncoding: 'buffer' });
  await level.open();
  return { put: (key) => level.put(key, value, { sync: true }), close: () => level.close() };
}

/** Puts a second of so many puts, and their CPU time. */
async function commit(database: Database, puts: number): Promise<{ rate: number; cpuUs: number }> {
  const startMs = performance.now();
  const before = process.cpuUsage();
  let left = puts;
  const writer = async (): Promise<void> => {
    while (left-- > 0) {
      const key = Buffer.alloc(KEY_BYTES, 107);
      key.writeUInt32BE(Math.imul(++keys, 0x9e3779b1) >>> 0, 0);
      await database.put(key);
    }
  };
  await Promise.all(Array.from({ length: writers }, writer));
  const { user, system } = process.cpuUsage(before);
  return { rate: (puts / (performance.now() - startMs)) * 1000, cpuUs: (user + system) / puts };
}

async function withDatabase<T>(name: string, use: (database: Database) => Promise<T>): Promise<T> {
  // It is removed at the end: a file system that frees blocks is slow.
  const path = mkdtempSync(join(directory, name));
  const database = await openDatabase(path);
  const result = await use(database);
  await database.close();
  return result;
}

const warm = await withDatabase('first', async (database) => {
  const first = await commit(database, FIRST_PUTS);
  const more = await commit(database, writers === 1 ? MORE_PUTS : 10 * MORE_PUTS);
  return { first: first.rate, more: more.rate, cpuUs: more.cpuUs };
});
const again = await withDatabase('again', (database) => commit(database, FIRST_PUTS));
const figures: CommitFigures = { ...warm, firstAgain: again.rate };
console.log(JSON.stringify(figures));
