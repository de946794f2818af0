export { open } from './open.ts';
export { Store } from './store.ts';
export type { StoreStatistics } from './store.ts';
export type { BatchOperation, ConditionOptions } from './group.ts';
export type { Versioned } from './sinks.ts';
export type { StoreIterator } from './iterator.ts';
export type { RangeOptions, StoreOptions, WriteOptions } from './options.ts';
export type { Durability } from './log/commit.ts';
export type { OpenProgress } from './progress.ts';
