/**
 * The time by which records expire: the later of the clock of the calendar, which may be set back, and the latest time that
 * counted before, of this opening or of an earlier one.
 *
 * ```
 *   calendar     ──12:00────12:01────11:30────11:31──── … ────12:02──►      set back
 *   this clock     12:00    12:01    12:01    12:01            12:02
 *   superblock     horizon 11:58 ─ checkpoint ─► 12:01 ─────────────────    what an opening begins with
 * ```
 *
 * EXPIRY-1. It never goes back while a store is open. An opening begins where the last checkpoint or the last close was.
 * EXPIRY-2. The superblock of a checkpoint names a horizon that is no earlier than any time by which the checkpoint has
 *     dropped something. So what was dropped because it was over is over after a crash, too, and so is all that was over with it.
 * EXPIRY-3. A store in which nothing expires never asks what time it is.
 *
 * docs/format.md, "Expiry".
 */
import { NONE_PLANTED } from '../failure/planted.ts';
import type { Planted } from '../failure/planted.ts';
import { FEATURE_EXPIRY } from '../format/superblock.ts';
import type { Superblock } from '../format/superblock.ts';

export class ExpiryClock {
  /** Whether something may expire here. */
  #isUsed: boolean;
  #latestMs: number;
  readonly #calendarMs: () => number;
  readonly #isForgotten: boolean;

  /**
   * @param isUsed whether there may be something that expires
   * @param horizonMs that of the superblock
   */
  constructor(calendarMs: () => number, isUsed: boolean, horizonMs: number, planted: Planted = NONE_PLANTED) {
    this.#isForgotten = planted.forgottenHorizon === true;
    this.#calendarMs = calendarMs;
    this.#isUsed = isUsed;
    this.#latestMs = horizonMs;
  }

  get isUsed(): boolean {
    return this.#isUsed;
  }

  /** From now on there may be something that expires. */
  use(): void {
    this.#isUsed = true;
  }

  /** EXPIRY-1. In whole milliseconds since 1970. */
  nowMs(): number {
    const calendarMs = Math.floor(this.#calendarMs());
    if (calendarMs > this.#latestMs) this.#latestMs = calendarMs;
    return this.#latestMs;
  }

  /** The moment at which a reader looks, by which it judges all that it meets. EXPIRY-3: 0 while nothing expires. */
  get momentMs(): number {
    return this.#isUsed ? this.nowMs() : 0;
  }

  /** EXPIRY-2. What a superblock with these features says of expiry. */
  noted(features: bigint): Pick<Superblock, 'incompatibleFeatures' | 'expiryHorizonMs'> {
    const incompatibleFeatures = this.#isUsed ? features | FEATURE_EXPIRY : features;
    return { incompatibleFeatures, expiryHorizonMs: this.#isForgotten ? 0 : this.momentMs };
  }

  /** Whether what expires at this time is over. @param expiresAtMs 0: it never expires */
  isOver(expiresAtMs: number): boolean {
    return expiresAtMs !== 0 && expiresAtMs <= this.nowMs();
  }
}
