/**
 * Defects that tests can switch on, to see whether the crash tests find them. Production code never sets one: `open`
 * hands down `NONE_PLANTED`.
 */
export interface Planted {
  /** Acknowledges before the flush. */
  readonly earlyAcknowledgement?: boolean;
  /** Gives the slots of the checkpoint before back before the superblock of the next is durable. */
  readonly earlyReuse?: boolean;
  /** Takes a page for the one that is meant when it is whole. */
  readonly uncheckedTag?: boolean;
  /** Lets the replay start behind what was flushed instead of behind the checkpoint, inside a batch perhaps. */
  readonly lateStart?: boolean;
  /** Leaves the epoch out of what is hashed: it is always the same. */
  readonly sameEpoch?: boolean;
  /** Replays the records of a batch that a crash cut off. */
  readonly tornBatches?: boolean;
  /** Serves what recovery has accepted without writing it again. */
  readonly unsecuredTail?: boolean;
  /** Takes pages that changed after the cut of a checkpoint for what that checkpoint holds. */
  readonly latePages?: boolean;
}

export const NONE_PLANTED: Planted = {};
