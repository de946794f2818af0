export { localPlatform, openFile, openQueue, openShards } from './open.ts';
export { Queue } from './queue.ts';
export type {
  GetEventsOptions,
  PollOptions,
  RequestOptions,
  TransferOptions,
  VectorOptions,
} from './request-options.ts';
export type { CompletionPolicy, QueueOptions, QueuePolicy } from './queue-options.ts';
export type { HistogramBucket, HistogramSnapshot, QueueStatistics } from './statistics.ts';
export type { CompleteMessage, FallbackMessage, QueueMessage, SubmitMessage } from './diagnostics.ts';
export { AbortedError } from './abort.ts';
export type { EarlyEnd } from './abort.ts';
export { ioPriority } from './checks.ts';
export { Shards } from './shards.ts';
export type { ShardOptions } from './shards.ts';
export type { CompletionHandler } from './slots.ts';
export { AlignedBuffer, BufferPool, DEFAULT_ALIGNMENT, allocateAligned } from './buffers.ts';
export { Completions, Opcode, RequestFlag } from './engine.ts';
export type { Engine, EngineFeatures, EngineName, EngineOptions, UringOptions } from './engine.ts';
export type { Alignment, DirectFile, OpenFileOptions, Platform } from './platform.ts';
export { linuxPlatform } from './linux.ts';
export { prefault } from './prefault.ts';
export { portablePlatform } from './portable.ts';
export { LOCK_FILE_PREFIX } from './portable-lock.ts';
export { qualifyFile } from './qualify.ts';
export type {
  NowaitKind,
  NowaitOutcome,
  Qualification,
  QualificationFigures,
  QualifyOptions,
  RequestFigures,
  RequestKind,
  Verdict,
} from './qualify.ts';
export { SimulatedDisk } from './engines/simulated.ts';
export { foreignInterface, requireForeignInterface } from './ffi/load.ts';
export type { ForeignInterface, ForeignInterfaceName } from './ffi/port.ts';
export * as raw from './raw/index.ts';
