/** The databases by their names on the command line. */
import { BasicDb } from './basic-db.ts';
import type { Db } from './db.ts';
import { KvDb } from './kv-db.ts';
import { MemoryDb } from './memory-db.ts';
import { SetupError } from './setup-error.ts';

export type Phase = 'load' | 'run';
type Maker = (properties: ReadonlyMap<string, string>, phase: Phase) => Db;

const DATABASES: Readonly<Record<string, { readonly text: string; readonly make: Maker }>> = {
  kv: {
    text: "aiokv's store in the directory kv.path; every other kv.<option> goes to its open",
    make: (properties, phase) => new KvDb(properties, phase === 'load'),
  },
  memory: { text: 'a map in memory, empty at the start of each phase', make: () => new MemoryDb() },
  basic: { text: 'keeps nothing: what the benchmark itself costs', make: () => new BasicDb() },
};

export function makeDatabase(name: string, properties: ReadonlyMap<string, string>, phase: Phase): Db {
  const known = Object.hasOwn(DATABASES, name) ? DATABASES[name] : undefined;
  if (known === undefined) {
    throw new SetupError(`there is no database '${name}': it is one of ${Object.keys(DATABASES).join(', ')}`);
  }
  return known.make(properties, phase);
}

/** One line for each database, for --help. */
export function describeDatabases(): string[] {
  return Object.entries(DATABASES).map(([name, { text }]) => `  ${name.padEnd(8)} ${text}`);
}
