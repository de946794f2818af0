/**
 * What a queue counts. Counting costs a few nanoseconds a request: the clock is read once for each batch that is
 * submitted and once for each that is reaped, and histograms are counters in typed arrays.
 *
 * ```
 *   bucket of a value v >= 4: 4 buckets for each power of two, so a bucket's bounds are within 25 % of each other
 *     exponent e = floor(log2 v), part p = the two bits behind the leading one ──► 4 e + p - 4
 *   below 4: the value itself
 * ```
 */
import { nowMs } from '@aiokv/core';

/** A bucket of a histogram that is not empty: values from `from` up to, but not including, `below`. */
export interface HistogramBucket {
  readonly from: number;
  readonly below: number;
  readonly count: number;
}

export interface HistogramSnapshot {
  readonly count: number;
  readonly mean: number;
  readonly max: number;
  readonly p50: number;
  readonly p99: number;
  readonly buckets: readonly HistogramBucket[];
}

const BUCKETS = 124;

/** Whole numbers from 0 to 2^31; recording allocates nothing. */
export class Histogram {
  readonly #counts = new Float64Array(BUCKETS);
  #count = 0;
  #sum = 0;
  #max = 0;

  record(value: number): void {
    const whole = value | 0;
    const at = bucketOf(whole);
    this.#counts[at] = (this.#counts[at] as number) + 1;
    this.#count++;
    this.#sum += whole;
    if (whole > this.#max) this.#max = whole;
  }

  snapshot(): HistogramSnapshot {
    const buckets: HistogramBucket[] = [];
    for (let at = 0; at < BUCKETS; at++) {
      const count = this.#counts[at] as number;
      if (count > 0) buckets.push({ from: lowest(at), below: lowest(at + 1), count });
    }
    const count = this.#count;
    const mean = count === 0 ? 0 : this.#sum / count;
    return { count, mean, max: this.#max, p50: this.#percentile(0.5), p99: this.#percentile(0.99), buckets };
  }

  /** The upper end of the bucket that reaches this part of the values, but at most the greatest value. */
  #percentile(part: number): number {
    let seen = 0;
    for (let at = 0; at < BUCKETS; at++) {
      seen += this.#counts[at] as number;
      if (seen >= this.#count * part && seen > 0) return Math.min(lowest(at + 1) - 1, this.#max);
    }
    return 0;
  }
}

function bucketOf(value: number): number {
  if (value < 4) return Math.max(0, value);
  const exponent = 31 - Math.clz32(value);
  return 4 * exponent + ((value >>> (exponent - 2)) & 3) - 4;
}

/** The smallest value of a bucket. */
function lowest(bucket: number): number {
  if (bucket < 4) return bucket;
  const exponent = (bucket + 4) >> 2;
  return (4 + ((bucket + 4) & 3)) * 2 ** (exponent - 2);
}

/** A snapshot of a queue. Counts begin when the queue was made. */
export interface QueueStatistics {
  readonly accepted: number;
  readonly completed: number;
  /** Taken back before they were submitted: aborted, or past their deadline. */
  readonly withdrawn: number;
  readonly inFlight: number;
  readonly waiting: number;
  /** Calls of the engine's `submit`; `accepted / submitCalls` is the mean batch. */
  readonly submitCalls: number;
  /** Calls that the engine answered with "again later". */
  readonly retries: number;
  /** Requests that a thread carried out, because the kernel would have blocked (`neverBlock`). */
  readonly fallbacks: number;
  /** Times the loop looked for completions without having been woken. */
  readonly peeks: number;
  /** Times the kernel woke the loop. */
  readonly wakeups: number;
  /** Requests of each `submit`. */
  readonly batches: HistogramSnapshot;
  /** From `submit` until the completion was reaped, in microseconds. */
  readonly latencyUs: HistogramSnapshot;
  /** Requests in flight, right after each `submit`. */
  readonly depths: HistogramSnapshot;
  /** Mean number of requests in flight, over the time with any in flight. */
  readonly meanInFlight: number;
}

/** The counters of a queue, written by its pipeline. */
export class QueueCounters {
  accepted = 0;
  completed = 0;
  withdrawn = 0;
  submitCalls = 0;
  retries = 0;
  fallbacks = 0;
  peeks = 0;
  wakeups = 0;
  readonly #batches = new Histogram();
  readonly #latencyUs = new Histogram();
  readonly #depths = new Histogram();
  readonly #submittedMs: Float64Array;
  /** Requests in flight times milliseconds; the milliseconds; when both were last updated. */
  #area = 0;
  #busyMs = 0;
  #sinceMs = 0;

  constructor(slots: number) {
    this.#submittedMs = new Float64Array(slots);
  }

  /** A batch was submitted: `count` slots of a ring, from `head`. */
  noteSubmitted(ring: Uint32Array, head: number, count: number, inFlightBefore: number): void {
    const atMs = nowMs();
    for (let i = 0; i < count; i++) this.#submittedMs[ring[head + i] as number] = atMs;
    this.#passTime(atMs, inFlightBefore);
    this.#batches.record(count);
    this.#depths.record(inFlightBefore + count);
  }

  /** Completions were reaped: the first `count` of `slots`. */
  noteReaped(slots: Uint32Array, count: number, inFlightBefore: number): void {
    const atMs = nowMs();
    for (let i = 0; i < count; i++) {
      this.#latencyUs.record((atMs - (this.#submittedMs[slots[i] as number] as number)) * 1000);
    }
    this.#passTime(atMs, inFlightBefore);
  }

  snapshot(inFlight: number, waiting: number): QueueStatistics {
    this.#passTime(nowMs(), inFlight);
    const { accepted, completed, withdrawn, submitCalls, retries, fallbacks, peeks, wakeups } = this;
    return {
      accepted,
      completed,
      withdrawn,
      inFlight,
      waiting,
      submitCalls,
      retries,
      fallbacks,
      peeks,
      wakeups,
      batches: this.#batches.snapshot(),
      latencyUs: this.#latencyUs.snapshot(),
      depths: this.#depths.snapshot(),
      meanInFlight: this.#busyMs === 0 ? 0 : this.#area / this.#busyMs,
    };
  }

  #passTime(atMs: number, inFlight: number): void {
    if (inFlight > 0) {
      this.#area += inFlight * (atMs - this.#sinceMs);
      this.#busyMs += atMs - this.#sinceMs;
    }
    this.#sinceMs = atMs;
  }
}
