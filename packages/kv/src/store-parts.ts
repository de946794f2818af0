/** What a store is made of: `open` puts it together, and `Store` has it work. Types only. */
import type { Random } from '@aiokv/core';
import type { DirectFile, Queue } from '@aiokv/aio';
import type { FailureGate } from './failure/failure-gate.ts';
import type { Planted } from './failure/planted.ts';
import type { IoStatistics } from './file/direct-io.ts';
import type { HotFilePlace } from './file/hot-file.ts';
import type { ReadEpochs } from './file/read-epochs.ts';
import type { ReadPace } from './file/read-pace.ts';
import type { Geometry } from './format/superblock.ts';
import type { CommitHistory } from './index/commit-history.ts';
import type { KeyIndex } from './index/key-index.ts';
import type { OpenSnapshots } from './index/open-snapshots.ts';
import type { LogWriter } from './log/writer.ts';
import type { Checkpointer } from './checkpoint/checkpointer.ts';
import type { CompactionParts } from './clean/compaction.ts';
import type { Maintenance } from './maintenance/maintenance.ts';
import type { StoreOptions } from './options.ts';
import type { SuperblockKeeper } from './file/superblocks.ts';
import type { TurnBudget } from '@aiokv/core';

export interface StoreParts {
  readonly options: StoreOptions;
  readonly io: IoStatistics;
  readonly geometry: Geometry;
  readonly file: DirectFile;
  readonly queue: Queue;
  readonly log: LogWriter;
  readonly index: KeyIndex;
  readonly budget: TurnBudget;
  readonly superblocks: SuperblockKeeper;
  readonly checkpointer: Checkpointer;
  readonly maintenance: Maintenance;
  readonly gate: FailureGate;
  readonly snapshots: OpenSnapshots;
  readonly history: CommitHistory;
  readonly random: Random;
  readonly epochs: ReadEpochs;
  readonly pace: ReadPace;
  readonly planted: Planted;
  /** Where it is noted what was hot. */
  readonly place: HotFilePlace;
  /** What a compaction is made of. */
  readonly compaction: CompactionParts;
}
