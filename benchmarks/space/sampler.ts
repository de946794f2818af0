/**
 * What a process and its store cost, each second and for each phase, as lines of JSON. Looking takes well below a
 * millisecond: some calls of stat and two small files of /proc.
 *
 * ```
 *   begin(phase) ── sample ── sample ── … ── sample of the rest, phase: its totals ◄── end
 * ```
 */
import type { Store } from '@aiokv/kv';
import { highestRssBytes, spaceBytesOf, writtenBytes } from '../meters/footprint.ts';
import { flatNumbers } from '../common/statistics.ts';
import { LoopMeter } from '../meters/loop-meter.ts';
import type { LoopFigures } from '../meters/loop-meter.ts';
import { Latencies } from './latencies.ts';
import type { LatencyFigures } from './latencies.ts';
import type { Task } from './options.ts';

export type PhaseName = 'load' | 'overwrite' | 'delete' | 'idle';

/** What an interval, or a whole phase, has measured. */
interface Measured extends LoopFigures {
  readonly phase: PhaseName;
  /** Of this interval, or phase. */
  readonly seconds: number;
  /** Keys and values. */
  readonly putBytes: number;
  readonly writtenBytes: number;
  readonly puts: LatencyFigures;
  readonly gets: LatencyFigures;
}

export interface Sample extends Measured {
  readonly kind: 'sample';
  /** Since the first phase began. */
  readonly atSeconds: number;
  /** Keys and values of the records that are there. */
  readonly liveBytes: number;
  /** All blocks of the directory. */
  readonly allocatedBytes: number;
  readonly rssBytes: number;
  /** Of the phase so far. */
  readonly phasePutBytes: number;
  readonly phaseWrittenBytes: number;
  readonly statistics: Readonly<Record<string, number>>;
}

export interface Phase extends Measured {
  readonly kind: 'phase';
  readonly highestRssBytes: number;
}

/** What a run consists of, for whoever reads its lines later. */
export interface Start {
  readonly kind: 'run';
  readonly task: Task;
}

export type Line = Start | Sample | Phase;

const PERIOD_MS = 1000;

/** Counters at the beginning of an interval or a phase. */
class Mark {
  readonly startMs = performance.now();
  readonly written = writtenBytes();
  readonly loop = new LoopMeter();
  readonly putBytes: number;

  constructor(putBytes: number) {
    this.putBytes = putBytes;
  }
}

export class Sampler {
  readonly puts = new Latencies();
  readonly gets = new Latencies();
  /** Keys and values that puts have been acknowledged for, and that of them which is there. */
  putBytes = 0;
  liveBytes = 0;
  readonly #directory: string;
  readonly #store: Store;
  readonly #emit: (line: Line) => void;
  readonly #startMs = performance.now();
  #phase: PhaseName = 'load';
  #phaseMark: Mark | null = null;
  #mark: Mark | null = null;
  #timer: NodeJS.Timeout | undefined;

  constructor(directory: string, store: Store, emit: (line: Line) => void) {
    this.#directory = directory;
    this.#store = store;
    this.#emit = emit;
  }

  begin(phase: PhaseName): void {
    this.#phase = phase;
    this.#phaseMark = new Mark(this.putBytes);
    this.#mark = new Mark(this.putBytes);
    this.#timer = setInterval(() => {
      this.#sample();
      this.#mark = new Mark(this.putBytes);
    }, PERIOD_MS);
  }

  end(): void {
    clearInterval(this.#timer);
    this.#sample();
    const measured = this.#since(this.#phaseMark as Mark, this.puts.takePhase(), this.gets.takePhase());
    this.#emit({ kind: 'phase', ...measured, highestRssBytes: highestRssBytes() });
  }

  #sample(): void {
    const { putBytes, written } = this.#phaseMark as Mark;
    this.#emit({
      kind: 'sample',
      ...this.#since(this.#mark as Mark, this.puts.takeInterval(), this.gets.takeInterval()),
      atSeconds: (performance.now() - this.#startMs) / 1000,
      liveBytes: this.liveBytes,
      allocatedBytes: spaceBytesOf(this.#directory),
      rssBytes: process.memoryUsage.rss(),
      phasePutBytes: this.putBytes - putBytes,
      phaseWrittenBytes: writtenBytes() - written,
      statistics: flatNumbers(this.#store.statistics()),
    });
  }

  #since(mark: Mark, puts: LatencyFigures, gets: LatencyFigures): Measured {
    return {
      phase: this.#phase,
      seconds: (performance.now() - mark.startMs) / 1000,
      putBytes: this.putBytes - mark.putBytes,
      writtenBytes: writtenBytes() - mark.written,
      puts,
      gets,
      ...mark.loop.stop(),
    };
  }
}
