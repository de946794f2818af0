/**
 * Random transactions on a store, what each of them has seen, and whether that is serializable.
 *
 * Every commit puts a key of its own beside what it writes. The version of that key is the place of the commit in the order of all
 * commits. So the check is exact: the transactions are run again on a sorted map, one after the other in that order, and each must see
 * there what it has seen; one that has written nothing, where its snapshot stands. Of those that a crash has cut off, the keys are
 * missing: they must be the last ones, and none of them may have been acknowledged as flushed.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Random } from '@aiokv/core';
import type { Store, Transaction } from '@aiokv/kv';
import { sequenceOfVersion } from '../../packages/kv/src/format/version.ts';

export interface RangeAsked {
  readonly gte: string;
  readonly lt: string;
  readonly reverse: boolean;
  readonly limit: number;
}

/** What was done, and what was seen. */
type Step =
  | { readonly kind: 'get'; readonly key: string; readonly seen: string | undefined }
  | { readonly kind: 'has'; readonly key: string; readonly seen: string }
  | { readonly kind: 'range'; readonly range: RangeAsked; readonly seen: readonly string[] }
  | { readonly kind: 'put'; readonly key: string; readonly value: string }
  | { readonly kind: 'del'; readonly key: string }
  | { readonly kind: 'deleteRange'; readonly gte: string; readonly lt: string };

interface Record {
  readonly id: number;
  readonly steps: readonly Step[];
  readonly isWriter: boolean;
  /** The last write before it, as it saw the store. */
  readonly begun: number;
  /** Null: nobody knows yet. */
  outcome: 'flushed' | 'buffered' | 'conflict' | null;
  /** Where it stands in the order of commits. */
  at: number | null;
}

const KEYS = 10;
const MARKS = 'mark/';

function keyOf(n: number): string {
  return `key${n}`;
}

/** The rows of a range in a model, as an iterator returns them. */
export function rowsOf(model: ReadonlyMap<string, string>, { gte, lt, reverse, limit }: RangeAsked): string[] {
  const keys = [...model.keys()].filter((key) => key >= gte && key < lt).sort();
  if (reverse) keys.reverse();
  return keys.slice(0, limit).map((key) => `${key}=${model.get(key)}`);
}

function textOf(seen: unknown): string {
  return seen === undefined ? 'nothing' : JSON.stringify(seen);
}

/** Values may be long. */
function brief(text: string): string {
  return text.replace(/\.{3,}/g, '…');
}

export class TransactionHistory {
  readonly random: Random;
  readonly records: Record[] = [];
  conflicts = 0;
  readonly #marks: string;
  #nextId = 0;
  #nextValue = 0;
  /** What the store holds at its end, as the check has found it. */
  found: ReadonlyMap<string, string> = new Map();
  readonly #start: ReadonlyMap<string, string>;

  /**
   * @param life of the store: marks of other lives are other keys
   * @param start what the store holds
   */
  constructor(random: Random, life: number, start: ReadonlyMap<string, string>) {
    this.random = random;
    this.#marks = `${MARKS}${life}/`;
    this.#start = start;
  }

  #key(): string {
    return keyOf(this.random.below(KEYS));
  }

  #bounds(): { gte: string; lt: string } {
    const [from, to] = [this.random.below(KEYS), this.random.below(KEYS)].sort((a, b) => a - b) as [number, number];
    return { gte: keyOf(from), lt: to === KEYS - 1 ? 'key~' : keyOf(to + 1) };
  }

  /** Others run meanwhile, or do not. */
  async #pause(): Promise<void> {
    for (let turns = this.random.below(4); turns > 0; turns--) await nextTurn();
  }

  #value(): string {
    const length = this.random.chance(0.1) ? 3000 : this.random.chance(0.5) ? 4 : 60;
    return `v${this.#nextValue++}`.padEnd(length, '.');
  }

  async #step(transaction: Transaction, steps: Step[], mayWrite: boolean): Promise<void> {
    const { random } = this;
    const choice = random.float();
    if (choice < 0.3) {
      const key = this.#key();
      const value = random.chance(0.5) ? await transaction.get(key) : (await transaction.getMany([key]))[0];
      steps.push({ kind: 'get', key, seen: value?.toString() });
    } else if (choice < 0.36) {
      const key = this.#key();
      steps.push({ kind: 'has', key, seen: String(await transaction.has(key)) });
    } else if (choice < 0.55 || !mayWrite) {
      const limit = random.chance(0.3) ? 1 + random.below(3) : Infinity;
      const range = { ...this.#bounds(), reverse: random.chance(0.4), limit };
      const seen: string[] = [];
      // Some end early by the limit, others by leaving the loop: the rest of the range was not read.
      const asked = random.chance(0.5) ? range : { ...range, limit: Infinity };
      for await (const [key, value] of transaction.iterator(asked)) {
        seen.push(`${key.toString()}=${value.toString()}`);
        if (seen.length >= limit) break;
      }
      steps.push({ kind: 'range', range, seen });
    } else if (choice < 0.85) {
      const [key, value] = [this.#key(), this.#value()];
      transaction.put(key, value);
      steps.push({ kind: 'put', key, value });
    } else if (choice < 0.95) {
      const key = this.#key();
      transaction.del(key);
      steps.push({ kind: 'del', key });
    } else {
      const bounds = this.#bounds();
      transaction.deleteRange(bounds);
      steps.push({ kind: 'deleteRange', ...bounds });
    }
  }

  /** One transaction with a few steps. */
  async run(store: Store): Promise<void> {
    const { random } = this;
    const durability = random.chance(0.2) ? 'flushed' : 'buffered';
    const transaction = store.begin({ durability });
    const steps: Step[] = [];
    const mayWrite = random.chance(0.9);
    for (let left = 1 + random.below(6); left > 0; left--) {
      await this.#step(transaction, steps, mayWrite);
      await this.#pause();
    }
    if (random.chance(0.05)) {
      transaction.rollback();
      return;
    }
    const id = this.#nextId++;
    const isWriter = steps.some(({ kind }) => kind === 'put' || kind === 'del' || kind === 'deleteRange');
    if (isWriter) transaction.put(`${this.#marks}${id}`, '');
    const record: Record = { id, steps, isWriter, begun: transaction.sequence, outcome: null, at: null };
    this.records.push(record);
    try {
      await transaction.commit();
      record.outcome = isWriter ? durability : 'buffered';
    } catch (error) {
      if ((error as { code?: string }).code !== 'ERR_AIOKV_CONFLICT') throw error;
      record.outcome = 'conflict';
      this.conflicts++;
    }
  }

  /** A write that is no transaction, or more of them at once. */
  async write(store: Store): Promise<void> {
    const id = this.#nextId++;
    const steps: Step[] = [];
    for (let left = 1 + this.random.below(2); left > 0; left--) {
      const key = this.#key();
      const choice = this.random.float();
      if (choice < 0.7) steps.push({ kind: 'put', key, value: this.#value() });
      else if (choice < 0.9) steps.push({ kind: 'del', key });
      else steps.push({ kind: 'deleteRange', ...this.#bounds() });
    }
    const record: Record = { id, steps, isWriter: true, begun: 0, outcome: null, at: null };
    this.records.push(record);
    const operations = steps.map(({ kind, ...rest }) => ({ type: kind, ...rest }));
    await store.batch([...operations, { type: 'put', key: `${this.#marks}${id}`, value: '' }] as never, {
      durability: 'buffered',
    });
    record.outcome = 'buffered';
  }

  /**
   * Compares all that was recorded with what the store holds.
   *
   * @param store as it is now, or as it was opened after a crash
   * @returns what does not fit; empty: the history is serializable
   */
  async check(store: Store): Promise<string[]> {
    const wrong: string[] = [];
    for (const record of this.records) {
      if (!record.isWriter) continue;
      const mark = await store.getVersioned(`${this.#marks}${record.id}`);
      record.at = mark === undefined ? null : sequenceOfVersion(mark.version);
      if (record.at !== null && record.outcome === 'conflict') wrong.push(`${record.id} had a conflict and is there`);
      if (record.at === null && record.outcome === 'flushed') wrong.push(`${record.id} was flushed and is lost`);
    }
    const model = new Map(this.#start);
    const commits = this.records.filter(({ at }) => at !== null).sort((a, b) => (a.at as number) - (b.at as number));
    const readers = this.records.filter(({ isWriter, outcome }) => !isWriter && outcome !== null);
    readers.sort((a, b) => a.begun - b.begun);
    let last = 0;
    for (const record of commits) {
      while (readers[0] !== undefined && readers[0].begun < (record.at as number)) {
        wrong.push(...this.#replay(new Map(model), readers.splice(0, 1)[0] as Record));
      }
      wrong.push(...this.#replay(model, record));
      last = record.at as number;
    }
    for (const reader of readers) {
      // After a crash, what it saw may be lost.
      if (reader.begun <= last || this.#lost === 0) wrong.push(...this.#replay(new Map(model), reader));
    }
    const found = new Map<string, string>();
    for await (const [key, value] of store.iterator({ lt: MARKS })) found.set(key.toString(), value.toString());
    const all = { gte: '', lt: MARKS, reverse: false, limit: Infinity };
    const [held, expected] = [textOf(rowsOf(found, all)), textOf(rowsOf(model, all))];
    if (held !== expected) wrong.push(`the store holds ${brief(held)}, not ${brief(expected)}`);
    this.found = found;
    return wrong;
  }

  /** Commits of the last check that nothing is left of. */
  get #lost(): number {
    return this.records.filter(({ isWriter, at, outcome }) => isWriter && at === null && outcome !== 'conflict').length;
  }

  /** Runs it on the model. */
  #replay(model: Map<string, string>, { id, steps }: Record): string[] {
    const wrong: string[] = [];
    for (const step of steps) {
      if (step.kind === 'put') model.set(step.key, step.value);
      else if (step.kind === 'del') model.delete(step.key);
      else if (step.kind === 'deleteRange') {
        for (const key of model.keys()) if (key >= step.gte && key < step.lt) model.delete(key);
      } else {
        let expected: unknown;
        if (step.kind === 'get') expected = model.get(step.key);
        else if (step.kind === 'has') expected = String(model.has(step.key));
        else expected = rowsOf(model, step.range);
        const [seen, should] = [textOf(step.seen), textOf(expected)];
        if (seen !== should) wrong.push(`${id} saw ${brief(seen)}, not ${brief(should)}`);
      }
    }
    return wrong;
  }
}
