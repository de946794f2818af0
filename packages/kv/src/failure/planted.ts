/**
 * Defects that tests can switch on, to prove that the crash tests find them; and eight switches that are no defects. Production
 * code never sets one: `open` passes `NONE_PLANTED`.
 */
export interface Planted {
  /** No defect: keys share one tag, so that most addresses that are found are those of other keys. */
  readonly oneAddressTag?: boolean;
  /** No defect: every run cleans whatever has dead bytes, however little that is; on a full device only where it gains a slot (SLOTS-7). */
  readonly eagerCleaning?: boolean;
  /** No defect: what any scan has read is moved, wherever it lies, in the next run. */
  readonly eagerOrder?: boolean;
  /** No defect: told how many records a step for the sake of scans has moved. */
  readonly onOrdered?: (records: number) => void;
  /** No defect: an opening merges what it has replayed, however little that is. */
  readonly eagerMerges?: boolean;
  /** No defect: leaves of merged memtables that somebody reads leave memory however little they take, or never. */
  readonly oldPages?: 'eager' | 'resident';
  /** No defect: notes what was hot in the file of hot keys, however little that is. */
  readonly eagerNotes?: boolean;
  /** No defect: told how many records a cleaning has moved. */
  readonly onMoved?: (records: number) => void;
  /** No defect: told how many fragments of a long value have moved. */
  readonly onMovedPieces?: (pieces: number) => void;
  /** Acknowledges before the flush, which is always one of its own. */
  readonly earlyAcknowledgement?: boolean;
  /** Takes a write with RWF_DSYNC for a flush of all that was written before. */
  readonly coveringDsync?: boolean;
  /** Frees the index segments of the previous checkpoint before the superblock of the next one is durable. */
  readonly earlyReuse?: boolean;
  /** As that, the segments with records in which nothing lives any more. */
  readonly earlyRecordReuse?: boolean;
  /** Accepts an intact page without comparing its tag. */
  readonly uncheckedTag?: boolean;
  /** Starts the replay after the flushed records instead of after the checkpoint, possibly inside a batch. */
  readonly lateStart?: boolean;
  /** Uses the same epoch at every opening. */
  readonly sameEpoch?: boolean;
  /** Replays the records of a batch that a crash cut off. */
  readonly tornBatches?: boolean;
  /** Does not write the unconfirmed tail again. */
  readonly unsecuredTail?: boolean;
  /** Saves the superblock of a checkpoint before its pages are flushed. */
  readonly unflushedPages?: boolean;
  /** Moves records of a victim to which the tree does not lead. */
  readonly uncomparedMoves?: boolean;
  /** Enters the new places of records before the records are written. */
  readonly earlyMoves?: boolean;
  /** A merge forgets the ranges that it has to delete, so that what they hide in the tree is back when it has ended. */
  readonly earlyForgottenRanges?: boolean;
  /** A merge deletes what was put into a range after the range was deleted. */
  readonly swallowedPuts?: boolean;
  /** Caches what a read brings without asking whether its key was written meanwhile. */
  readonly uncheckedFills?: boolean;
  /** Keeps addresses although their entries change in this way. */
  readonly keptAddresses?: 'merged' | 'moved' | 'swept';
  /** Takes addresses from leaves to which the tree does not lead any more. */
  readonly uncheckedLeaves?: boolean;
  /** Asks the tree of now, not that of the call, after an address has led to another key. */
  readonly lateTree?: boolean;
  /** A superblock does not say by which time records were over. */
  readonly forgottenHorizon?: boolean;
  /** A commit asks whether keys that it has read were written since, but not ranges. */
  readonly phantoms?: boolean;
  /** Some records that leave the tree are not uncounted. */
  readonly miscounted?: boolean;
}

export const NONE_PLANTED: Planted = {};
