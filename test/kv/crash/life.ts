/**
 * One life of a store on a simulated disk: runs the steps of a history while a fault strikes, and checks
 * everything that the store says meanwhile. What may be found on the disk afterwards is sweep.ts.
 *
 * LIFE-1. Every promise settles, unless a request never completes.
 * LIFE-2. Whatever fails, fails with an Error that has a code, which is not that of a broken invariant.
 * LIFE-3. A read answers with what the latest write admitted before its call left behind, or fails.
 * LIFE-4. A store that opens holds what the ledger allows (`admissible`).
 */
import { ManualClock } from '@aiokv/core';
import type { SimulatedDisk } from '@aiokv/aio';
import type { Store } from '@aiokv/kv';
import { openPlanted } from '../../../packages/kv/src/open.ts';
import type { Planted } from '../../../packages/kv/src/failure/planted.ts';
import { GEOMETRY, call, contentsOf, readAll } from './history.ts';
import type { Group, Ledger, Step } from './history.ts';
import type { Watch } from './watch.ts';

export const DIRECTORY = '/store';

/** What a write gets when the file could not grow. */
const GROWTH_CODES: ReadonlySet<string> = new Set(['ERR_AIOKV_NO_SPACE', 'ERR_AIOKV_IO']);

/** Time stands still, so that nothing but the seed decides what happens. All runs clean. */
export function openStill(disk: SimulatedDisk, planted: Planted = {}): Promise<Store> {
  return openPlanted(
    DIRECTORY,
    { ...GEOMETRY, platform: disk, clock: new ManualClock() },
    { eagerCleaning: true, ...planted },
  );
}

/** What is wrong. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

export type Ending =
  /** All steps were taken, or could not be because the store had failed; nothing is in use any more. */
  | 'closed'
  /** As that, and the last close failed. */
  | 'close failed'
  /** The machine was stopped: as the history wants it, or because something never completes. */
  | 'stopped';

export interface Admissible {
  /** Fewest groups that it must hold. */
  readonly from: number;
  /** What it holds may be older than what the disk holds: writing to it would prove nothing. */
  readonly isForged: boolean;
  /** What it holds must not be lost any more. */
  readonly isSafe: boolean;
}

export interface LifeHost {
  readonly disk: SimulatedDisk;
  readonly ledger: Ledger;
  readonly watch: Watch;
  readonly planted: Planted;
  /** Told before an opening. */
  opening(): void;
  /** What holds for a store that was opened amid faults. */
  admissible(isClosed: boolean): Admissible;
}

/** A code that a caller can act on, or a violation. */
export function codeOf(error: unknown, doing: string): string {
  if (error instanceof Violation) throw error;
  const code: unknown = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  if (typeof code !== 'string') throw new Violation(`${doing} failed without a code: ${String(error)}`);
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (!('code' in cause) || cause.code === 'ERR_AIOKV_INTERNAL') {
      throw new Violation(`${doing} broke an invariant: ${String(cause)}`);
    }
  }
  return code;
}

export class Life {
  readonly #host: LifeHost;
  #store: Store | null = null;
  #pending: Promise<void>[] = [];
  #isForged = false;
  /** The last close succeeded, and nothing was written since. */
  isClosed = false;
  /** A read in the thread of the caller met a request that never completes. */
  isBlocked = false;
  isInSync = false;

  constructor(host: LifeHost) {
    this.#host = host;
  }

  /** Opens, takes the steps, and closes if it is to. */
  async run(steps: readonly Step[], closes: boolean): Promise<Ending> {
    await this.#open(false);
    for (const step of steps) {
      if (this.#store === null || this.isBlocked || this.#isForged) break;
      await this.#take(step, this.#store);
    }
    await this.#settle();
    if (this.isBlocked || (this.#store !== null && (!closes || this.#isForged))) return 'stopped';
    if (this.#store !== null) await this.#close(this.#store);
    return this.isClosed ? 'closed' : 'close failed';
  }

  async #take(step: Step, store: Store): Promise<void> {
    switch (step.type) {
      case 'write':
        this.#call('a write', this.#write(store, step.group));
        break;
      case 'get':
        this.#call('get', this.#get(store, step.key));
        break;
      case 'getMany':
        this.#call('getMany', this.#getMany(store, step.keys));
        break;
      case 'getSync':
        this.#getSync(store, step.key);
        break;
      case 'iterate':
        this.#call('an iterator', this.#iterate(store, step.reverse));
        break;
      case 'flush':
        this.#call('flush', this.#flush(store));
        break;
      case 'checkpoint':
        if (step.isCompaction) this.#call('compact', store.compact());
        else this.#call('checkpoint', store.checkpoint());
        for (const { group } of step.writes) this.#call('a write', this.#write(store, group));
        break;
      case 'prelude':
        for (const group of step.groups) this.#call('a write', this.#write(store, group));
        this.#call('checkpoint', store.checkpoint());
        break;
      case 'settle':
        await this.#settle();
        break;
      case 'reopen':
        await this.#settle();
        if (this.isBlocked) break;
        await this.#close(store);
        await this.#open(this.isClosed);
    }
  }

  #call(doing: string, work: Promise<void>): void {
    this.#pending.push(work.catch((error: unknown) => void codeOf(error, doing)));
  }

  async #settle(): Promise<void> {
    const pending = this.#pending;
    this.#pending = [];
    await Promise.all(pending);
  }

  async #write(store: Store, group: Group): Promise<void> {
    const { ledger } = this.#host;
    const number = ledger.called + 1;
    this.isClosed = false;
    try {
      await call(store, ledger, group);
    } catch (error) {
      // A write for which the file could not grow changes nothing, and those behind it go on; nothing else lets others pass.
      const hasNoRoom = GROWTH_CODES.has(codeOf(error, 'a write'));
      if (hasNoRoom || !ledger.isAdmitted(number, store.statistics().sequence)) ledger.refuse(number);
      throw error;
    }
  }

  async #flush(store: Store): Promise<void> {
    const through = this.#host.ledger.called;
    await store.flush();
    this.#host.ledger.acknowledge(through);
  }

  async #get(store: Store, key: string): Promise<void> {
    const { sequence } = store.statistics();
    const value = await store.get(key);
    this.#require('get', sequence, key, value);
  }

  async #getMany(store: Store, keys: readonly string[]): Promise<void> {
    const { sequence } = store.statistics();
    const values = await store.getMany(keys);
    for (const [i, key] of keys.entries()) this.#require('getMany', sequence, key, values[i]);
  }

  #getSync(store: Store, key: string): void {
    // The thread would block for good: nothing could be told apart any more.
    if (this.#host.watch.inFlight >= GEOMETRY.queueDepth) return;
    const { sequence } = store.statistics();
    this.isInSync = true;
    try {
      this.#require('getSync', sequence, key, store.getSync(key));
    } catch (error) {
      if (!this.isBlocked) codeOf(error, 'getSync');
    } finally {
      this.isInSync = false;
    }
  }

  async #iterate(store: Store, reverse: boolean): Promise<void> {
    const { sequence } = store.statistics();
    const found = contentsOf(await readAll(store, reverse));
    const expected = contentsOf(this.#host.ledger.mapAt(sequence));
    if (found !== expected) throw new Violation(`an iterator went over ${found}, not ${expected}`);
  }

  #require(doing: string, sequence: number, key: string, value: Buffer | undefined): void {
    const expected = this.#host.ledger.mapAt(sequence).get(key);
    const found = value?.toString();
    if (found === expected) return;
    throw new Violation(`${doing} of ${key} answered ${shown(found)}, not ${shown(expected)}`);
  }

  async #close(store: Store): Promise<void> {
    const { ledger } = this.#host;
    this.#store = null;
    this.isClosed = false;
    try {
      await store.close();
    } catch (error) {
      codeOf(error, 'close');
      return;
    }
    // A store that had latched closes without saving anything: whoever wrote was told.
    if (store.statistics().flushedThrough < store.statistics().sequence) return;
    ledger.acknowledge(ledger.called);
    this.isClosed = true;
  }

  /** LIFE-4. There is no store if it does not open; one that cannot be read is left alone. */
  async #open(isClosed: boolean): Promise<void> {
    const { disk, ledger, planted } = this.#host;
    this.#host.opening();
    try {
      this.#store = await openStill(disk, planted);
    } catch (error) {
      codeOf(error, 'open');
      return;
    }
    const store = this.#store;
    let contents: string;
    try {
      contents = contentsOf(await readAll(store));
    } catch (error) {
      codeOf(error, 'reading after an opening');
      this.#isForged = true;
      return;
    }
    const { from, isForged, isSafe } = this.#host.admissible(isClosed);
    this.#isForged = isForged;
    if (isForged) {
      requirePrefix(ledger, contents, 0, 'a store that was opened on lies');
      return;
    }
    const through = requirePrefix(ledger, contents, from, 'a store that was opened amid faults');
    ledger.restart(through, store.statistics().sequence);
    if (isSafe) ledger.acknowledge(ledger.called);
    this.isClosed = isClosed;
  }
}

/** How many groups it holds. */
export function requirePrefix(ledger: Ledger, contents: string, from: number, what: string): number {
  const found = ledger.find(contents, from, ledger.called);
  if (found >= 0) return found;
  const earlier = ledger.find(contents, 0, from - 1);
  if (earlier < 0) throw new Violation(`${what} holds what no prefix leaves behind: ${contents.slice(0, 300)}`);
  throw new Violation(`${what} holds the first ${earlier} groups of ${ledger.called}, but must hold ${from}`);
}

function shown(value: string | undefined): string {
  return value === undefined ? 'nothing' : `${value.slice(0, 16)} (${value.length} bytes)`;
}
