/** What databases are called, on the command line and in front of their own properties. */
export const DATABASE_NAMES = [
  'kv',
  'level',
  'lmdb',
  'classic-level',
  'rocksdb',
  'rocksdb-native',
  'better-sqlite3',
  'memory',
  'basic',
] as const;
export type DatabaseName = (typeof DATABASE_NAMES)[number];

/** Whether a property is one of a database, which says itself what it means. */
export function isOfDatabase(property: string): boolean {
  return property === 'durability' || DATABASE_NAMES.some((name) => property.startsWith(`${name}.`));
}
