/** What the process that is measured tells, as lines of JSON. */
import type { LoopFigures } from '../meters/loop-meter.ts';

interface Memory {
  readonly rssBytes: number;
  /** Since the load, the opening or the burst began. */
  readonly highestRssBytes: number;
  readonly heapBytes: number;
  readonly externalBytes: number;
}

/** Before a store was opened. */
interface Base {
  readonly kind: 'base';
  readonly rssBytes: number;
}

export interface Second extends Memory, LoopFigures {
  readonly kind: 'second';
  /** Of the engine that loads the same. */
  readonly isBeside: boolean;
  readonly atSeconds: number;
  /** So far, and of this second. */
  readonly records: number;
  readonly perSecond: number;
  readonly statistics: Readonly<Record<string, number>>;
}

export interface Step extends Memory {
  readonly kind: 'step';
  readonly isBeside: boolean;
  readonly records: number;
  /** Of this step. */
  readonly perSecond: number;
  readonly statistics: Readonly<Record<string, number>>;
}

export interface Loaded extends Memory {
  readonly kind: 'loaded';
  readonly isBeside: boolean;
  readonly seconds: number;
  readonly perSecond: number;
  /** Of all threads, for a record. */
  readonly cpuUs: number;
}

export interface Cold extends Memory {
  readonly kind: 'cold';
  readonly openSeconds: number;
  readonly gets: number;
  readonly perSecond: number;
  /** Of the device: of records and of pages of the index. */
  readonly readsPerGet: number;
  readonly pageReadsPerGet: number;
}

export interface Burst extends Memory {
  readonly kind: 'burst';
  readonly what: 'gets' | 'puts';
  readonly count: number;
  readonly seconds: number;
}

export type Line = Base | Second | Step | Loaded | Cold | Burst;
