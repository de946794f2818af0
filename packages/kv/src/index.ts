export { open } from './open.ts';
export { Store } from './store.ts';
export type { StoreStatistics } from './store.ts';
export type { BatchOperation, ConditionOptions } from './write/write-batch.ts';
export type { Versioned } from './read/results.ts';
export type { StoreIterator } from './read/iterator.ts';
export type { RangeOptions, StoreOptions, WriteOptions } from './options.ts';
export type { Durability } from './log/writer.ts';
export type { OpenProgress } from './recovery/progress.ts';
