/**
 * Databases of other kinds as sources. Their packages are no dependencies of this one: whoever imports from one installs it,
 * in the directory where the command runs or beside `aiokv`.
 */
import { createRequire } from 'node:module';
import { isAbsolute, join } from 'node:path';
import process from 'node:process';
import { CliError } from '../errors.ts';
import type { SomeEntries } from './sources.ts';

const ENTRIES_AT_ONCE = 256;

/** What is used of classic-level. */
interface LevelDatabase {
  open(options: object): Promise<void>;
  iterator(options: object): { nextv(size: number): Promise<[Buffer, Buffer][]>; close(): Promise<void> };
  close(): Promise<void>;
}

/** A directory of LevelDB. Opening it replays and removes its own log, as LevelDB does. */
export async function* readLevel(directory: string): AsyncGenerator<SomeEntries> {
  const { ClassicLevel } = packageNamed('classic-level') as {
    ClassicLevel: new (directory: string, options: object) => LevelDatabase;
  };
  const encodings = { keyEncoding: 'buffer', valueEncoding: 'buffer' };
  const database = new ClassicLevel(directory, { ...encodings, createIfMissing: false });
  try {
    await database.open({ createIfMissing: false });
  } catch (error) {
    throw unopened(directory, 'LevelDB', error);
  }
  try {
    const iterator = database.iterator({ ...encodings, fillCache: false });
    for (;;) {
      const entries = await iterator.nextv(ENTRIES_AT_ONCE);
      if (entries.length === 0) break;
      yield entries;
    }
  } finally {
    await database.close();
  }
}

/** What is used of lmdb. */
interface LmdbDatabase {
  getRange(options: object): Iterable<{ key: Buffer; value: Buffer }>;
  openDB(options: object): LmdbDatabase;
  close(): Promise<void>;
}

/** An environment of LMDB, a directory or a file. Keys and values are the bytes that it has. */
export async function* readLmdb(path: string, name: string | undefined): AsyncGenerator<SomeEntries> {
  const { open } = packageNamed('lmdb') as { open: (options: object) => LmdbDatabase };
  const encodings = { encoding: 'binary', keyEncoding: 'binary' };
  let root: LmdbDatabase;
  let database: LmdbDatabase;
  try {
    root = open({ path, readOnly: true, ...encodings });
    database = name === undefined ? root : root.openDB({ name, ...encodings });
  } catch (error) {
    throw unopened(path, 'LMDB', error);
  }
  try {
    let entries: (readonly [Buffer, Buffer])[] = [];
    for (const { key, value } of database.getRange({ snapshot: true })) {
      // Its buffers are used again with the next entry.
      entries.push([Buffer.from(key), Buffer.from(value)]);
      if (entries.length === ENTRIES_AT_ONCE) {
        yield entries;
        entries = [];
      }
    }
    if (entries.length > 0) yield entries;
  } finally {
    await root.close();
  }
}

function unopened(path: string, kind: string, error: unknown): CliError {
  const { message, cause } = error as Error;
  const detail = cause instanceof Error ? `${message}: ${cause.message}` : message;
  return new CliError(
    'ERR_AIOKV_CLI_FILE',
    `${path} cannot be opened as a database of ${kind}: ${detail}`,
    'look at the path, and whether another process has it open',
    { cause: error },
  );
}

/** Of the directory where the command runs, or beside this file. @throws CliError when it is in neither */
export function packageNamed(name: string): unknown {
  const file = typeof __filename === 'string' && isAbsolute(__filename) ? __filename : undefined;
  const here: unknown = import.meta.url;
  // As CommonJS there is no `import.meta`, as an ES module no `__filename`.
  const places = [join(process.cwd(), 'none'), here, file].filter((place) => typeof place === 'string');
  let failure: unknown;
  for (const place of places) {
    try {
      return createRequire(place)(name);
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'MODULE_NOT_FOUND') throw error;
      failure ??= error;
    }
  }
  throw new CliError(
    'ERR_AIOKV_CLI_PACKAGE',
    `this needs the package ${name}, which is not installed`,
    `npm install ${name}`,
    { cause: failure },
  );
}
