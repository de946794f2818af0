export { open } from './open.ts';
export { Store } from './store.ts';
export type { IoStatistics } from './file/direct-io.ts';
export type { MemoryStatistics, SpaceStatistics, StoreStatistics, WrittenStatistics } from './statistics.ts';
export type { BatchOperation, ConditionOptions, ExpiryOptions } from './write/write-batch.ts';
export type { Versioned } from './read/results.ts';
export type { StoreIterator } from './read/iterator.ts';
export type { Snapshot } from './read/snapshot.ts';
export type { KeyRange, RangeOptions } from './read/range.ts';
export type { CompactOptions, CompactProgress, StoreOptions, TouchOptions, WriteOptions } from './options.ts';
export type { Bytes } from './format/keys.ts';
export type { Durability } from './log/writer.ts';
export type { OpenProgress } from './recovery/progress.ts';
export type { Version } from './format/version.ts';
export type { Transaction } from './transaction/transaction.ts';
export type { TransactionIterator } from './transaction/transaction-iterator.ts';
export type {
  BeginOptions,
  TransactionBody,
  TransactionOptions,
  TransactionStatistics,
} from './transaction/transactions.ts';
