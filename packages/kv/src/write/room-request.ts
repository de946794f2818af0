/**
 * What a write asks of the log when it has to wait for room, and what it does when the device is full: a run of the maintenance makes
 * some. A deletion goes on asking if another run has taken what one has made for it; a put asks once.
 */
import type { SlotUse } from '../file/slots.ts';
import type { LogWriter } from '../log/writer.ts';
import type { Maintenance } from '../maintenance/maintenance.ts';

const TRIES = 1;
const TRIES_OF_DELETION = 4;

export class RoomRequest {
  readonly use: SlotUse;
  #since: number;
  #triesLeft: number;

  /** @param since `LogWriter.growths` at the time of the call */
  constructor(use: SlotUse, since: number) {
    this.use = use;
    this.#since = since;
    this.#triesLeft = use === 'delete' ? TRIES_OF_DELETION : TRIES;
  }

  /** `LogWriter.growths` from which on a failed growth is the answer to the write. */
  get since(): number {
    return this.#since;
  }

  /**
   * Has a run make space, after the write has found none. Look for room again then.
   *
   * @param error what the write has found
   * @throws error if there was nothing to gain, or the write has had its tries
   */
  async makeSpace(error: unknown, maintenance: Maintenance, log: LogWriter): Promise<void> {
    if (this.#triesLeft-- === 0) throw error;
    await maintenance.makeSpace(error, this.use);
    this.#since = log.growths;
  }
}
