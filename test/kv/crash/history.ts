/**
 * Random histories of a store, and what the store may hold after a crash in the middle of one.
 *
 * A history is a list of steps that is drawn from a seed before anything runs, so that steps can be left
 * out of it to find out which of them matter (shrink.ts).
 *
 * Every write of a history is a group (a put, a deletion, or a batch) that the store takes as a whole.
 * Groups are numbered in the order in which they were called, which is the order of admission. After a
 * crash the store must hold exactly what the first k groups leave behind, for some k that is not below
 * the last group acknowledged as flushed, and not above the last one called.
 */
import { KIB } from '@aiokv/core';
import type { Random } from '@aiokv/core';
import type { BatchOperation, Durability, Store } from '@aiokv/kv';
import { fragmentValueBytes, maxRecordBytes } from '../../../packages/kv/src/format/extent.ts';
import { paddedRecordBytes } from '../../../packages/kv/src/format/record.ts';

export interface Group {
  readonly operations: readonly BatchOperation[];
  readonly durability: Durability;
}

interface PacedWrite {
  readonly group: Group;
  /** Turns of the event loop that pass after the call. */
  readonly turns: number;
}

/** What a user does next. Writes and reads are called and not awaited; `settle` awaits all of them. */
export type Step =
  | { readonly type: 'write'; readonly group: Group }
  | { readonly type: 'get' | 'getSync'; readonly key: string }
  | { readonly type: 'getMany'; readonly keys: readonly string[] }
  | { readonly type: 'iterate'; readonly reverse: boolean }
  /** Writes over some segments, and a checkpoint: what cleanings find. Nothing is cut meanwhile. */
  | { readonly type: 'prelude'; readonly groups: readonly Group[] }
  /** A checkpoint, or a compaction, and writes until it is durable. */
  | { readonly type: 'checkpoint'; readonly isCompaction: boolean; readonly writes: readonly PacedWrite[] }
  | { readonly type: 'flush' | 'settle' | 'reopen' };

/**
 * Small segments and few buffers keep an opening cheap and make histories cross segments. The index has more pages
 * than there is memory for.
 */
export const GEOMETRY = {
  segmentBytes: 64 * 1024,
  writeBufferBytes: 1024 * 1024,
  queueDepth: 8,
  memoryBytes: 32 * 1024,
};
const LOG_GEOMETRY = { pageBytes: 4096, writeAlignment: 4096, segmentBytes: GEOMETRY.segmentBytes, headerBytes: 0 };
/** Of the groups, so many take more than the store admits in one step. */
const LONG_CHANCE = 0.05;
/** Values from here on may stand in fragments, of which no two are the same. */
const LONG_VALUE_CHARACTERS = 56_000;
const MARK_EVERY = 1000;
/** More than there are frames, each of which holds one such value. */
const BURST_WRITES = 7;
const BURST_CHARACTERS = 45_000;
const BURST_CHANCE = 0.03;
/** Of the histories, so many begin behind segments with records that were replaced. */
const PRELUDE_CHANCE = 0.85;
const PRELUDE_WRITES = 24;
/** Of their values, one in so many is in fragments. */
const PRELUDE_LONG_EVERY = 10;

const KEYS = 12;
/** Half of the keys are long, so that even these few take several leaves. */
export const ALL_KEYS: readonly string[] = Array.from({ length: KEYS }, (_, i) =>
  i < KEYS / 2 ? `key${i}` : `key${i}${'-'.repeat(1200)}`,
);

/** A range that ends before it begins takes no sequence number, and the ledger counts them. */
const SORTED_KEYS = [...ALL_KEYS].sort();

/** Draws the steps of one history. */
export class HistoryMaker {
  readonly #random: Random;
  #values: number;

  /** @param values numbers the values; a history that goes on from another begins where that one ended */
  constructor(random: Random, values = 0) {
    this.#random = random;
    this.#values = values;
  }

  get values(): number {
    return this.#values;
  }

  key(): string {
    return ALL_KEYS[this.#random.below(KEYS)] as string;
  }

  /** A random group; `valueBytes` is the length of long values. Values are never the same twice, so that every prefix of a history can be told apart. */
  group(valueBytes = 20_000): Group {
    const random = this.#random;
    const durability = random.chance(0.6) ? 'flushed' : random.chance(0.5) ? 'written' : 'buffered';
    if (random.chance(LONG_CHANCE)) return { operations: this.#longOperations(), durability };
    const count = valueBytes > 20_000 || random.chance(0.7) ? 1 : 1 + random.below(8);
    const operations = Array.from({ length: count }, (): BatchOperation => {
      const key = this.key();
      if (random.chance(0.15)) return this.#deletion(key);
      const isLong = random.chance(valueBytes > 20_000 ? 0.8 : 0.1);
      const size = isLong ? valueBytes : random.chance(0.3) ? 3000 : 40;
      return { type: 'put', key, value: `${this.#values++}:${'v'.repeat(random.below(size))}` };
    });
    return { operations, durability };
  }

  /** Of a key, or of a range from it on. It draws nothing more: the other steps of a seed stay what they are. */
  #deletion(key: string): BatchOperation {
    const choice = this.#values % 8;
    if (choice < 4) return { type: 'del', key };
    if (choice === 4) return { type: 'deleteRange' };
    if (choice === 5) return { type: 'deleteRange', gt: key };
    const last = Math.min(KEYS - 1, SORTED_KEYS.indexOf(key) + 1 + (choice & 3));
    return { type: 'deleteRange', gte: key, lte: SORTED_KEYS[last] as string };
  }

  /** A batch that puts every key. */
  allKeys(): Group {
    const operations = ALL_KEYS.map((key): BatchOperation => ({ type: 'put', key, value: `${this.#values++}:` }));
    return { operations, durability: 'flushed' };
  }

  /** A batch over several frames and segments, or values in fragments, or both. */
  #longOperations(): BatchOperation[] {
    const random = this.#random;
    const put = (length: number): BatchOperation => ({
      type: 'put',
      key: this.key(),
      value: longValue(this.#values++, length),
    });
    const long = Array.from({ length: random.below(3) }, () => put(LONG_VALUE_CHARACTERS + random.below(100 * KIB)));
    const rest = Array.from({ length: long.length === 0 ? 6 : random.below(3) }, () => put(random.below(20 * KIB)));
    return random.shuffle([
      ...long,
      ...rest,
      ...(random.chance(0.3) ? [{ type: 'del' as const, key: this.key() }] : []),
    ]);
  }

  /** Writes in one turn that take all frames, and have to wait for more while the file grows. */
  burst(): Step[] {
    const random = this.#random;
    return Array.from({ length: BURST_WRITES }, (): Step => {
      const value = longValue(this.#values++, BURST_CHARACTERS - random.below(KIB));
      const durability = random.chance(0.5) ? 'flushed' : random.chance(0.5) ? 'written' : 'buffered';
      return { type: 'write', group: { operations: [{ type: 'put', key: this.key(), value }], durability } };
    });
  }

  /** Writes in rounds, checkpoints amid writes, now and then a reopening: what the power is cut in. */
  writing(): Step[] {
    const random = this.#random;
    const steps: Step[] = random.chance(PRELUDE_CHANCE) ? [this.prelude()] : [];
    if (random.chance(0.3)) steps.push({ type: 'write', group: this.allKeys() });
    for (let round = 3 + random.below(8); round > 0; round--) {
      for (let calls = 1 + random.below(3); calls > 0; calls--) steps.push({ type: 'write', group: this.group() });
      if (random.chance(BURST_CHANCE)) for (const step of this.burst()) steps.push(step);
      if (random.chance(0.3)) steps.push(this.checkpoint());
      if (random.chance(0.6)) steps.push({ type: 'settle' });
      if (random.chance(0.1)) steps.push({ type: 'reopen' });
    }
    return steps;
  }

  prelude(): Step {
    const random = this.#random;
    const groups = Array.from({ length: PRELUDE_WRITES }, (): Group => {
      const short = `${this.#values}:${'v'.repeat(random.below(random.chance(0.5) ? 20_000 : 400))}`;
      const isLong = this.#values % PRELUDE_LONG_EVERY === 0;
      // Without a draw. The last fragment shares its segment with what comes next, and dies later than that.
      const value = isLong ? longValue(this.#values, LONG_VALUE_CHARACTERS + 4 * short.length) : short;
      this.#values++;
      return { operations: [{ type: 'put', key: this.key(), value }], durability: 'buffered' };
    });
    return { type: 'prelude', groups };
  }

  /** Without a draw, so that histories stay what they were. */
  #isCompactionNext(): boolean {
    return this.#values % 16 === 0;
  }

  checkpoint(): Step {
    const random = this.#random;
    const pauseTurns = random.chance(0.5) ? 2 : 12;
    const length = random.below(8);
    const writes = Array.from({ length }, () => ({ group: this.group(30_000), turns: random.below(pauseTurns) }));
    return { type: 'checkpoint', isCompaction: this.#isCompactionNext(), writes };
  }

  /** A few calls of every kind: what faults are injected into. */
  short(): Step[] {
    const random = this.#random;
    const steps = Array.from({ length: 2 + random.below(4) }, (): Step => {
      const choice = random.below(100);
      if (choice < 45) return { type: 'write', group: this.group(9000) };
      if (choice < 54) return { type: 'get', key: this.key() };
      if (choice < 63) return { type: 'getSync', key: this.key() };
      if (choice < 68) return { type: 'getMany', keys: [this.key(), this.key(), this.key()] };
      if (choice < 74) return { type: 'iterate', reverse: random.chance(0.5) };
      if (choice < 79) return { type: 'flush' };
      if (choice < 84) return { type: 'checkpoint', isCompaction: this.#isCompactionNext(), writes: [] };
      if (choice < 92) return { type: 'settle' };
      return { type: 'reopen' };
    });
    return random.chance(BURST_CHANCE) ? [...this.burst(), ...steps] : steps;
  }
}

/** One line for a person who wants to know what happened. */
export function describeStep(step: Step): string {
  switch (step.type) {
    case 'write':
      return describeGroup(step.group);
    case 'get':
    case 'getSync':
      return `${step.type} ${shortOf(step.key)}`;
    case 'getMany':
      return `getMany ${step.keys.map(shortOf).join(' ')}`;
    case 'iterate':
      return step.reverse ? 'iterate backwards' : 'iterate';
    case 'prelude':
      return `prelude: ${step.groups.map(describeGroup).join(', ')}`;
    case 'checkpoint':
      return `${step.isCompaction ? 'compaction' : 'checkpoint'}${step.writes.map(({ group, turns }) => `, ${describeGroup(group)}, ${turns} turns`).join('')}`;
    default:
      return step.type;
  }
}

function shortOf(key: string): string {
  return key.slice(0, 6);
}

function describeGroup({ operations, durability }: Group): string {
  const parts = operations.map((operation) => {
    if (operation.type === 'del') return `del ${shortOf(operation.key as string)}`;
    if (operation.type === 'deleteRange') {
      const { gte, gt, lte } = operation as Record<string, string | undefined>;
      return `deleteRange ${shortOf(gte ?? gt ?? '')}${gt === undefined ? '' : ' (not itself)'} to ${shortOf(lte ?? 'end')}`;
    }
    const value = operation.value as string;
    return `put ${shortOf(operation.key as string)} #${value.slice(0, value.indexOf(':'))} of ${value.length} bytes`;
  });
  return `${operations.length > 1 ? `batch (${parts.join(', ')})` : (parts[0] as string)} ${durability}`;
}

/** A store's contents as one string that two contents share only if they are the same. */
export type Contents = string;

/** What the calls so far allow, kept while a history runs. */
export class Ledger {
  readonly #groups: Group[] = [];
  /** Groups that came to nothing: refused, or lost where that is allowed. */
  readonly #void = new Set<number>();
  /** Contents after each prefix of the groups, as far as they were asked for; index 0 is the start. */
  #maps: ReadonlyMap<string, string>[];
  #prefixes: Contents[] = [];
  /** A store was opened when it held so many groups, and had given so many sequence numbers. */
  #base = { groups: 0, sequence: 0 };
  /** Prefixes below this would have lost something acknowledged as flushed, or as written. */
  flushedThrough = 0;
  writtenThrough = 0;

  constructor(start: ReadonlyMap<string, string> = new Map()) {
    this.#maps = [start];
  }

  clone(): Ledger {
    const copy = new Ledger(this.#maps[0]);
    copy.#groups.push(...this.#groups);
    for (const number of this.#void) copy.#void.add(number);
    copy.flushedThrough = this.flushedThrough;
    copy.writtenThrough = this.writtenThrough;
    return copy;
  }

  get called(): number {
    return this.#groups.length;
  }

  note(group: Group): number {
    return this.#groups.push(group);
  }

  acknowledge(group: number, durability: Durability = 'flushed'): void {
    if (durability === 'flushed') this.flushedThrough = Math.max(this.flushedThrough, group);
    if (durability !== 'buffered') this.writtenThrough = Math.max(this.writtenThrough, group);
  }

  /** The store did not admit this group. */
  refuse(group: number): void {
    this.#void.add(group);
    this.#maps.length = 1;
    this.#prefixes = [];
  }

  /** Whether a store that has given so many sequence numbers has admitted this group. */
  isAdmitted(group: number, sequence: number): boolean {
    let at = this.#base.sequence;
    for (let number = this.#base.groups + 1; number <= group; number++) at += this.#recordsOf(number);
    return at <= sequence;
  }

  /** A store was opened that holds the first `through` groups and stands at this sequence number; what it lacks is gone. */
  restart(through: number, sequence: number): void {
    for (let group = through + 1; group <= this.called; group++) this.refuse(group);
    this.#base = { groups: this.called, sequence };
  }

  mapAfter(groups: number): ReadonlyMap<string, string> {
    while (this.#maps.length <= groups) {
      const number = this.#maps.length;
      const before = this.#maps[number - 1] as ReadonlyMap<string, string>;
      if (this.#void.has(number)) this.#maps.push(before);
      else this.#maps.push(applied(before, this.#groups[number - 1] as Group));
    }
    return this.#maps[groups] as ReadonlyMap<string, string>;
  }

  contentsAfter(groups: number): Contents {
    return (this.#prefixes[groups] ??= contentsOf(this.mapAfter(groups)));
  }

  /** What reads must answer that were called when the store had given so many sequence numbers. */
  mapAt(sequence: number): ReadonlyMap<string, string> {
    let { groups, sequence: at } = this.#base;
    while (at < sequence) {
      groups++;
      at += this.#recordsOf(groups);
    }
    return this.mapAfter(groups);
  }

  #recordsOf(group: number): number {
    if (this.#void.has(group)) return 0;
    return (this.#groups[group - 1] as Group).operations.reduce((sum, operation) => sum + recordsOf(operation), 0);
  }

  /** The first prefix from `from` to `to` groups with these contents, or -1. */
  find(contents: Contents, from: number, to: number): number {
    for (let groups = from; groups <= to; groups++) if (this.contentsAfter(groups) === contents) return groups;
    return -1;
  }
}

/** One for each operation, and one for each fragment of its value. */
function recordsOf(operation: BatchOperation): number {
  if (operation.type !== 'put') return 1;
  const keyBytes = Buffer.byteLength(operation.key as string);
  const valueBytes = Buffer.byteLength(operation.value as string);
  if (paddedRecordBytes(keyBytes, valueBytes) <= maxRecordBytes(LOG_GEOMETRY)) return 1;
  return 1 + Math.ceil(valueBytes / fragmentValueBytes(LOG_GEOMETRY, keyBytes));
}

/** Every thousand characters say which value they are of, and where in it they stand. */
function longValue(number: number, length: number): string {
  const parts = Array.from({ length: Math.ceil(length / MARK_EVERY) }, (_, i) =>
    `${number}:${i};`.padEnd(MARK_EVERY, 'v'),
  );
  return parts.join('').slice(0, length);
}

/** What tells a value from all others. */
function signOf(value: string): string {
  let sign = `${value.length}:${value.slice(0, 16)}`;
  if (value.length < LONG_VALUE_CHARACTERS) return sign;
  for (let at = MARK_EVERY; at < value.length; at += MARK_EVERY) sign += value.slice(at, value.indexOf(';', at));
  return sign;
}

function applied(before: ReadonlyMap<string, string>, group: Group): Map<string, string> {
  const map = new Map(before);
  for (const operation of group.operations) {
    if (operation.type === 'put') map.set(operation.key as string, operation.value as string);
    else if (operation.type === 'del') map.delete(operation.key as string);
    else for (const key of ALL_KEYS) if (isInRange(key, operation as Record<string, string>)) map.delete(key);
  }
  return map;
}

/** All keys are ASCII. */
function isInRange(key: string, { gt, gte, lte }: Record<string, string | undefined>): boolean {
  return (gt === undefined || key > gt) && (gte === undefined || key >= gte) && (lte === undefined || key <= lte);
}

/** Calls a group's write and keeps the ledger; settles when it is acknowledged. */
export async function call(store: Store, ledger: Ledger, group: Group): Promise<void> {
  const { operations, durability } = group;
  const [only] = operations;
  const number = ledger.note(group);
  // A `del` of a key that is not there takes no sequence number; in a batch it does, and the ledger counts them.
  if (operations.length === 1 && only?.type === 'put') await store.put(only.key, only.value, { durability });
  else if (operations.length === 1 && only?.type === 'deleteRange') {
    const { type: _, ...range } = only;
    await store.deleteRange(range, { durability });
  } else await store.batch(operations, { durability });
  ledger.acknowledge(number, durability);
}

export async function readAll(store: Store, reverse = false): Promise<Map<string, string>> {
  const map = new Map<string, string>();
  for await (const [key, value] of store.iterator({ reverse })) map.set(key.toString(), value.toString());
  return map;
}

export function contentsOf(map: ReadonlyMap<string, string>): Contents {
  return [...map]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${shortOf(key)}=${signOf(value)}`)
    .join('|');
}
