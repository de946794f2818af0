export { open } from './open.ts';
export { Store } from './store.ts';
export type { BatchOperation, StoreStatistics } from './store.ts';
export type { StoreIterator } from './iterator.ts';
export type { RangeOptions, StoreOptions, WriteOptions } from './options.ts';
export type { Durability } from './log/commit.ts';
