/**
 * What every store is to the benchmarks: bytes under keys, by the same calls, in one of three classes of durability.
 * catalog.ts names them all; README.md says how each is set, and by whose advice.
 *
 * ```
 *   class      a write that was acknowledged
 *   none       may go with the process, or the store may be unusable after a loss of power
 *   written    survives kill -9; after a loss of power the newest may be missing, and the store opens and is whole
 *   flushed    survives a loss of power
 * ```
 *
 * STORES-1. A store is set to the weakest it has that still keeps what the class says. One that has nothing for a class
 * is a gap in the tables of this class; figures of two classes never stand in one table.
 */
export const DURABILITY_CLASSES = ['none', 'written', 'flushed'] as const;
export type DurabilityClass = (typeof DURABILITY_CLASSES)[number];

/** One of a batch, as the interfaces of Level and of aiokv take it. */
export interface Put {
  readonly type: 'put';
  readonly key: Buffer;
  readonly value: Buffer;
}

export interface ScanRange {
  /** Where it begins; undefined: at the first key, in reverse at the last. */
  readonly gte?: Buffer;
  readonly limit: number;
  readonly reverse: boolean;
}

export interface BenchStore {
  /** Each settles when the store acknowledges, which is what the class of its opening is about. */
  put(key: Buffer, value: Buffer): Promise<unknown>;
  /** All or none. */
  write(puts: readonly Put[]): Promise<unknown>;
  delete(key: Buffer): Promise<unknown>;
  get(key: Buffer): Promise<Uint8Array | null | undefined>;
  /** Walks, by the fastest way that the store has, and settles at the end. The caller sees each entry. */
  scan(range: ScanRange, visit: (key: Uint8Array, value: Uint8Array) => void): Promise<void>;
  /** Settles when all that was written survives power loss. */
  flush(): Promise<unknown>;
  /** Puts all into the order of the keys. */
  compact(): Promise<unknown>;
  close(): Promise<unknown>;
}

export interface OpenRequest {
  readonly directory: string;
  readonly durability: DurabilityClass;
  /** Whether long scans are what it is for: some stores advise other settings for them. */
  readonly isForScans?: boolean;
  /** Bytes of a value, for a store that advises another table for small ones. */
  readonly valueBytes?: number;
  /** Options of the store itself, which beat those of its class. */
  readonly options?: Readonly<Record<string, unknown>>;
}

/** Entries that are taken together, where a store can give many. */
export const ENTRIES_AT_ONCE = 1000;
/** A store whose walk does not wait would keep the loop from everything else. */
const LONGEST_TURN_MS = 1;
/** Behind every key. */
export const LAST_KEY = Buffer.alloc(64, 0xff);

/** Hands out what a store iterates without waiting, and lets the loop turn. */
export async function visitInTurns<T>(entries: Iterable<T>, visit: (entry: T) => void): Promise<void> {
  let turnMs = performance.now();
  for (const entry of entries) {
    visit(entry);
    if (performance.now() - turnMs < LONGEST_TURN_MS) continue;
    await new Promise((resolve) => setImmediate(resolve));
    turnMs = performance.now();
  }
}
