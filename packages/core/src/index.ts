export { AiokvError, AiokvRangeError, AiokvTypeError, ERROR_CODES, SystemCallError, assert } from './errors.ts';
export type { ErrorCode } from './errors.ts';
export { GIB, KIB, MIB, alignDown, alignUp, isAligned, isPowerOfTwo } from './units.ts';
export type { Brand, FileOffset, Sequence } from './units.ts';
export { matchesXxh64, writeXxh64, xxh32 } from './checksum.ts';
export { createCodec } from './codec.ts';
export type { Codec } from './codec.ts';
export {
  abortSignal,
  boolean,
  instance,
  integer,
  nearestName,
  oneOf,
  powerOfTwo,
  refuseUnknown,
  resolveOptions,
  unknownNameIn,
} from './options.ts';
export type { OptionRule, OptionShape } from './options.ts';
export { resolvePath } from './paths.ts';
export type {
  KeyValueBytes,
  KeyValueConditions,
  KeyValueIterator,
  KeyValueIteratorOptions,
  KeyValueOperation,
  KeyValueRange,
  KeyValueReads,
  KeyValueSnapshot,
  KeyValueStore,
  KeyValueWriteOptions,
} from './key-value-store.ts';
export { Random } from './random.ts';
export { ManualClock, systemClock } from './clock.ts';
export type { Clock } from './clock.ts';
export { SLICE_MS, TurnBudget, nextTurn } from './turn.ts';
export { Fifo } from './fifo.ts';
export { Waiters } from './waiters.ts';
export type { Waiter } from './waiters.ts';
export {
  calendarMs,
  clearImmediate,
  clearTimeout,
  nextTick,
  nowMs,
  queueMicrotask,
  setImmediate,
  setTimeout,
} from './timers.ts';
