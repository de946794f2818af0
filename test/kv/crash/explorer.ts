/**
 * Cuts the power at every I/O of random histories and looks at what is left.
 *
 * A history runs on a simulated disk. Whenever a request is submitted or completes, images are taken of
 * what the medium could hold if the power failed just then: with none, all, a random part or a torn part
 * of what was not flushed. Every image is compared with what the ledger allows, and opened unless one before it had the
 * same bytes. Some images live on: another history runs on them, and is cut in turn.
 *
 * ```
 *   history ─┬─ cut ─► image ─► opened, compared with the ledger
 *            ├─ cut ─► image ─► opened ─► history ─┬─ cut ─► image ─► …
 *            └─ kill -9 ─► opened on the same machine ─┬─ cut ─► image ─► opened, compared
 *                          (what is not flushed is still there)  └─ cut after the opening: just what it found
 * ```
 *
 * The last line is the second failure in a row: what a recovery reads may not be on the medium yet. Its
 * images are counted apart.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ManualClock, Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import type { Platform } from '@aiokv/aio';
import type { Store, StoreOptions } from '@aiokv/kv';
import { openPlanted } from '../../../packages/kv/src/open.ts';
import type { Planted } from '../../../packages/kv/src/failure/planted.ts';
import { GEOMETRY, HistoryMaker, Ledger, call, contentsOf, describeStep, readAll } from './history.ts';
import type { Step } from './history.ts';
import { Images } from './images.ts';
import type { Image } from './images.ts';
import { DIRECTORY } from './life.ts';
import { MortalProcess } from './mortal.ts';
import { shrink } from './shrink.ts';

export { GEOMETRY } from './history.ts';

const MODES = ['none', 'all', 'subset', 'torn'] as const;
/** Of the histories, so many are cleaned at every run. Small as they are, the others never are. */
const CLEANING_CHANCE = 0.9;
/** Of the histories, one in so many has scans, and what they meet is moved in the next run. */
const ORDERED_EVERY = 3;
/** Of the histories, so many are opened with hardly any memory for what is replayed. */
const MERGING_CHANCE = 0.15;
/** Of the histories, so many end with a kill and a recovery that is cut. */
const KILL_CHANCE = 0.3;
/** The cuts of a shrunk history fall where chance has it: it gets so many chances. */
const CUT_SEEDS = 4;

/** Time passes from step to step, and now and then while a step waits, so that nothing but the seed decides what happens. */
const STEP_MS = 300;
const TURNS_PER_STEP = 200;

/** Sizes that are not those of all histories. */
export type Sizes = Partial<Pick<StoreOptions, 'pageBytes' | 'segmentBytes'>>;

export interface Exploration {
  images: number;
  /** Images that hold the bytes of none before them in their history; of those the others are opened, too. */
  distinctImages: number;
  /** Images of cuts in the opening after a kill. */
  recoveryImages: number;
  histories: number;
  /** Histories in which a cleaning has moved records, and how many records that were. */
  cleanedHistories: number;
  movedRecords: number;
  /** Fragments of long values that were moved, also by compactions. */
  movedPieces: number;
  /** Records that were moved because a scan had met them. */
  orderedRecords: number;
  /** Each begins a history, and the one that lives on from it. */
  seeds: number;
  /** The first violation, shrunk: what was found, the steps, and how to see it again. */
  violation: string | null;
}

export const beginExploration = (): Exploration => ({
  images: 0,
  distinctImages: 0,
  recoveryImages: 0,
  histories: 0,
  cleanedHistories: 0,
  movedRecords: 0,
  movedPieces: 0,
  orderedRecords: 0,
  seeds: 0,
  violation: null,
});

/** One history, and the one that lives on from an image of it. Everything but the contents of segments follows from it. */
export interface CrashCase {
  readonly seed: number;
  /** Decides what the cuts leave. */
  readonly cuts: number;
  /** Numbers of the steps that are taken, those of the second history after those of the first. */
  readonly kept: readonly number[] | null;
}

/** A disk that a history goes on from, and what it holds. */
interface Survivor {
  readonly disk: SimulatedDisk;
  readonly contents: Map<string, string>;
}

interface Histories {
  readonly first: readonly Step[];
  readonly second: readonly Step[];
}

/**
 * Runs histories from `seed` on until `images` were checked or something is wrong.
 *
 * @param mostAttempts at shrinking what is wrong
 */
export async function explore(
  seed: number,
  images: number,
  planted: Planted = {},
  mostAttempts = 60,
  sizes: Sizes = {},
): Promise<Exploration> {
  const result = beginExploration();
  for (let next = seed; result.images < images && result.violation === null; next++) {
    result.seeds++;
    const found = await exploreCase({ seed: next, cuts: 0, kept: null }, planted, result, sizes);
    if (found !== null) result.violation = await report(next, found, planted, mostAttempts, sizes);
  }
  return result;
}

/** Runs one case; what is wrong with it, or null. */
export async function exploreCase(
  { seed, cuts, kept }: CrashCase,
  planted: Planted = {},
  result = beginExploration(),
  sizes: Sizes = {},
): Promise<string | null> {
  const all = historiesOf(seed);
  const isKept = (at: number): boolean => kept === null || kept.includes(at);
  const first = all.first.filter((_, i) => isKept(i));
  const second = all.second.filter((_, i) => isKept(all.first.length + i));
  const random = new Random(seed ^ (cuts << 16) ^ 0xc07);
  // It draws nothing: the other histories stay what they are.
  const hasScans = planted.eagerOrder ?? seed % ORDERED_EVERY === 0;
  const one = new Exploring({ ...planted, eagerOrder: hasScans }, random, result, sizes);
  try {
    const survivor = await one.run(new SimulatedDisk({ seed }), new Map(), first);
    if (survivor !== null && one.violation === null) await one.run(survivor.disk, survivor.contents, second);
  } catch (error) {
    // Nothing strikes a history but what cuts leave of it.
    return `a step of the history failed: ${String(error)}`;
  }
  return one.violation;
}

function historiesOf(seed: number): Histories {
  const maker = new HistoryMaker(new Random(seed));
  return { first: maker.writing(), second: maker.writing() };
}

/** Shrinks a case that has violated something, and tells all about it. */
async function report(
  seed: number,
  found: string,
  planted: Planted,
  mostAttempts: number,
  sizes: Sizes,
): Promise<string> {
  const { first, second } = historiesOf(seed);
  const attempt = async (kept: readonly number[]): Promise<{ what: string; cuts: number } | null> => {
    for (let cuts = 0; cuts < CUT_SEEDS; cuts++) {
      const what = await exploreCase({ seed, cuts, kept }, planted, undefined, sizes);
      if (what !== null) return { what, cuts };
    }
    return null;
  };
  const shrunk = await shrink(first.length + second.length, { what: found, cuts: 0 }, attempt, mostAttempts);
  const { kept } = shrunk;
  const described = kept.map((at) =>
    at < first.length
      ? `    ${describeStep(first[at] as Step)}`
      : `    on the survivor: ${describeStep(second[at - first.length] as Step)}`,
  );
  const variables = `AIOKV_CRASH_SEED=${seed} AIOKV_CRASH_STEPS=${kept.join(',')} AIOKV_CRASH_CUTS=${shrunk.found.cuts}`;
  const plants = Object.keys(planted).map((name) => `AIOKV_CRASH_PLANTED=${name} `);
  const command = `${plants.join('')}${variables} npm test -- test/kv/crash.test.ts`;
  return `seed ${seed}, ${shrunk.found.what}\n${described.join('\n')}\n  again: ${command}`;
}

class Exploring {
  violation: string | null = null;
  readonly #sizes: Sizes;
  readonly #planted: Planted;
  readonly #random: Random;
  readonly #result: Exploration;
  /** Records that cleanings have moved. */
  #moved = 0;
  /** Fragments of long values that cleanings and compactions have moved. */
  #movedPieces = 0;

  constructor(planted: Planted, random: Random, result: Exploration, sizes: Sizes) {
    this.#sizes = sizes;
    const eagerCleaning = random.chance(CLEANING_CHANCE);
    const eagerMerges = random.chance(MERGING_CHANCE);
    const onMoved = (records: number): void => {
      this.#moved += records;
    };
    const onMovedPieces = (pieces: number): void => {
      this.#movedPieces += pieces;
    };
    const onOrdered = (records: number): void => {
      this.#result.orderedRecords += records;
    };
    this.#planted = { eagerCleaning, eagerMerges, onMoved, onMovedPieces, onOrdered, ...planted };
    this.#random = random;
    this.#result = result;
  }

  #openOn(platform: Platform, clock = new ManualClock()): Promise<Store> {
    return openPlanted(DIRECTORY, { ...GEOMETRY, ...this.#sizes, platform, clock }, this.#planted);
  }

  /** Runs a history on a disk and checks its images; returns one of them for another to go on from. */
  async run(disk: SimulatedDisk, start: ReadonlyMap<string, string>, steps: readonly Step[]): Promise<Survivor | null> {
    const random = this.#random;
    this.#result.histories++;
    let movedBefore = this.#moved;
    let piecesBefore = this.#movedPieces;
    const ledger = new Ledger(start);
    const images = new Images();
    const mortal = new MortalProcess(disk);
    const clock = new ManualClock();
    let store = await this.#openOn(mortal, clock);
    const cut: SimulatedDisk['onOperation'] = (index, kind) => {
      for (const mode of MODES) {
        const image = disk.powerCut(mode, random);
        const what = `cut at I/O ${index} (${kind}), ${mode} of the unflushed`;
        images.take(image, what, ledger.flushedThrough, ledger.called);
      }
    };
    disk.onOperation = cut;
    const pending: Promise<void>[] = [];
    for (const step of steps) {
      clock.advance(STEP_MS);
      // Behind a prelude it finds records to be moved. The run that it begins goes on beside the next step.
      if (this.#planted.eagerOrder === true && step.type !== 'prelude') await passing(clock, readAll(store));
      if (step.type === 'reopen') {
        await passing(clock, Promise.all(pending));
        await store.close();
        ledger.acknowledge(ledger.called);
        store = await this.#openOn(mortal, clock);
      } else if (step.type === 'settle') await passing(clock, Promise.all(pending));
      else if (step.type === 'prelude') {
        delete disk.onOperation;
        await passing(clock, Promise.all([...pending, ...step.groups.map((group) => call(store, ledger, group))]));
        await store.checkpoint();
        ledger.acknowledge(ledger.called);
        movedBefore = this.#moved;
        piecesBefore = this.#movedPieces;
        disk.onOperation = cut;
      } else if (step.type === 'write') pending.push(call(store, ledger, step.group));
      else if (step.type === 'checkpoint') pending.push(checkpointAmidWrites(store, ledger, step));
    }
    const end = random.float();
    if (this.#moved > movedBefore) this.#result.cleanedHistories++;
    this.#result.movedRecords += this.#moved - movedBefore;
    this.#result.movedPieces += this.#movedPieces - piecesBefore;
    if (end < KILL_CHANCE) {
      for (let turns = random.below(12); turns > 0; turns--) await nextTurn();
      delete disk.onOperation;
      await mortal.kill();
      await this.#recover(disk, ledger);
    } else {
      await passing(clock, Promise.all(pending));
      if (end < 0.6) await store.close();
    }
    delete disk.onOperation;
    disk.stop();
    return this.violation === null ? this.#checkAll(images.all, ledger) : null;
  }

  /** Opens the store after a kill, with cuts at every I/O of that. */
  async #recover(disk: SimulatedDisk, ledger: Ledger): Promise<void> {
    const random = this.#random;
    const from = ledger.flushedThrough;
    const to = ledger.called;
    const images = new Images();
    disk.onOperation = (index, kind) => {
      const mode = MODES[random.below(MODES.length)] as (typeof MODES)[number];
      const what = `killed, then cut at I/O ${index} (${kind}) of the opening, ${mode} of the unflushed`;
      images.take(disk.powerCut(mode, random), what, from, to);
    };
    const what = 'killed, opened again';
    const contents = await this.#read(disk, what, () => {
      images.take(disk.powerCut('none', random), `${what}, then cut, none of the unflushed`, from, to);
    });
    if (contents === null) return;
    const found = contentsOf(contents);
    if (!this.#allows({ what, from: ledger.writtenThrough, to }, found, ledger)) return;
    for (const image of images.all) {
      this.#result.recoveryImages++;
      await this.#check(image, ledger);
      if (this.violation !== null) return;
    }
    const last = images.all.at(-1);
    // What was served must not be taken back by a second failure.
    if (last?.found !== found) this.violation = `${last?.what}: holds other things than were served before`;
  }

  /** Checks every image; returns one of them for a history to go on from. */
  async #checkAll(images: readonly Image[], ledger: Ledger): Promise<Survivor | null> {
    let survivor: Survivor | null = null;
    const chosen = images[this.#random.below(images.length)];
    for (const image of images) {
      this.#result.images++;
      if (image.first === null) this.#result.distinctImages++;
      const contents = await this.#check(image, ledger, image === chosen);
      if (this.violation !== null) return null;
      if (image === chosen && contents !== null) survivor = { disk: image.disk, contents };
    }
    return survivor;
  }

  /**
   * Says in `violation` what is wrong with an image.
   *
   * @param isSurvivor whether it is opened whatever is known of its bytes
   * @returns what it holds, if it was opened
   */
  async #check(image: Image, ledger: Ledger, isSurvivor = false): Promise<Map<string, string> | null> {
    let contents: Map<string, string> | null = null;
    if (image.first === null || isSurvivor) {
      contents = await this.#read(image.disk, image.what);
      if (contents === null) return null;
      image.found = contentsOf(contents);
    } else image.found = image.first.found;
    this.#allows(image, image.found ?? '', ledger);
    return contents;
  }

  /** Opens the store on a disk, reads and verifies it; null if that failed. */
  async #read(disk: SimulatedDisk, what: string, onRead?: () => void): Promise<Map<string, string> | null> {
    try {
      const store = await this.#openOn(disk);
      delete disk.onOperation;
      const contents = await readAll(store);
      // It waits for a run that the opening has begun, whose trees are not the index's.
      await store.verifySegments();
      store.verifyIndex();
      onRead?.();
      await store.close();
      return contents;
    } catch (error) {
      this.violation = `${what}: opening or reading failed: ${String(error)}`;
      return null;
    }
  }

  /** Whether the ledger allows what was found; says in `violation` if it does not. */
  #allows({ what, from, to }: Pick<Image, 'what' | 'from' | 'to'>, found: string, ledger: Ledger): boolean {
    if (ledger.find(found, from, to) >= 0) return true;
    const elsewhere = ledger.find(found, 0, ledger.called);
    this.violation =
      elsewhere >= 0
        ? `${what}: holds the first ${elsewhere} groups, but ${from} were acknowledged as flushed and ${to} called`
        : `${what}: holds what no prefix of the history leaves behind: ${found.slice(0, 300)}`;
    return false;
  }
}

/** Waits, and time passes meanwhile: a write may wait for it where the file is large for what lives. */
async function passing(clock: ManualClock, work: Promise<unknown>): Promise<void> {
  let isDone = false;
  const settled = work.finally(() => {
    isDone = true;
  });
  // Its failure is met below.
  settled.catch(() => undefined);
  for (let turns = 1; !isDone; turns++) {
    await nextTurn();
    if (turns % TURNS_PER_STEP === 0) clock.advance(STEP_MS);
  }
  await settled;
}

/** A checkpoint, or a compaction, and writes that fill segments until it is durable. */
async function checkpointAmidWrites(
  store: Store,
  ledger: Ledger,
  step: Step & { readonly type: 'checkpoint' },
): Promise<void> {
  let isDone = false;
  const work = step.isCompaction ? compactOnce(store) : store.checkpoint();
  const checkpoint = work.finally(() => {
    isDone = true;
  });
  const writes: Promise<void>[] = [];
  for (const { group, turns } of step.writes) {
    if (isDone) break;
    writes.push(call(store, ledger, group));
    for (let turn = turns; turn > 0; turn--) await nextTurn();
  }
  await Promise.all([checkpoint, ...writes]);
}

/** There is one compaction at a time. */
async function compactOnce(store: Store): Promise<void> {
  await store.compact().catch((error: unknown) => {
    if ((error as { code?: unknown }).code !== 'ERR_AIOKV_COMPACTING') throw error;
  });
}
