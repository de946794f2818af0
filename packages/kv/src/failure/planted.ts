/**
 * Defects that tests can switch on, to prove that the crash tests find them. Production code never sets one: `open`
 * passes `NONE_PLANTED`.
 */
export interface Planted {
  /** Acknowledges before the flush. */
  readonly earlyAcknowledgement?: boolean;
  /** Frees the slots of the previous checkpoint before the superblock of the next one is durable. */
  readonly earlyReuse?: boolean;
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
}

export const NONE_PLANTED: Planted = {};
