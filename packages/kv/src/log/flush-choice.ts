/**
 * How a frame is flushed if it is alone: with an `fdatasync` after its write, or by its write, which has RWF_DSYNC then. Which is
 * faster is up to the device, so it is measured with the frames themselves.
 *
 * ```
 *   trial: TRIAL_FRAMES each way, in turns ──► the way with the better median ──► HELD_FRAMES that way ──┐
 *     ▲                                                                                                  │
 *     └──────────────────────────────────────────────────────────────────────────────────────────────────┘
 * ```
 *
 * A write with RWF_DSYNC is one request instead of two, and takes two thirds of the processor time. A device without FUA does the
 * same for both; one with FUA need not flush what others have written. It knows nothing of the log, and has no clock.
 */

/** Of each way. A median of fewer says too little on a busy machine. */
const TRIAL_FRAMES = 16;
/** Devices change: another load beside, a full cache. */
const HELD_FRAMES = 4096;
/** RWF_DSYNC may take this much longer, for the processor time that it saves. */
const WORTH = 1.1;

export class FlushChoice {
  readonly #canWriteThrough: boolean;
  /** The way of the frames of now, when there is no trial. */
  #isThrough = false;
  /** Frames until the next trial; 0 in a trial. */
  #left = 0;
  readonly #through = new Measured();
  readonly #apart = new Measured();

  /** @param canWriteThrough whether the engine has RWF_DSYNC, and the file is direct */
  constructor(canWriteThrough: boolean) {
    this.#canWriteThrough = canWriteThrough;
  }

  /** Whether the next frame should be written with RWF_DSYNC. */
  get isThrough(): boolean {
    if (!this.#canWriteThrough) return false;
    return this.#left > 0 ? this.#isThrough : this.#through.count <= this.#apart.count;
  }

  /** A frame that was alone was flushed so, in this time from its submission. */
  note(isThrough: boolean, durationMs: number): void {
    if (!this.#canWriteThrough) return;
    if (this.#left > 0) {
      this.#left--;
      return;
    }
    (isThrough ? this.#through : this.#apart).add(durationMs);
    if (this.#through.count < TRIAL_FRAMES || this.#apart.count < TRIAL_FRAMES) return;
    this.#isThrough = this.#through.takeMedian() <= WORTH * this.#apart.takeMedian();
    this.#left = HELD_FRAMES;
  }
}

/** Durations of one way. */
class Measured {
  readonly #durationsMs = new Float64Array(TRIAL_FRAMES);
  count = 0;

  /** What is more than enough is left out. */
  add(durationMs: number): void {
    if (this.count < TRIAL_FRAMES) this.#durationsMs[this.count++] = durationMs;
  }

  /** Begins anew. */
  takeMedian(): number {
    this.count = 0;
    return this.#durationsMs.sort()[TRIAL_FRAMES >> 1] as number;
  }
}
