/**
 * Cuts the power at every I/O of random histories and looks at what is left.
 *
 * A history runs on a simulated disk. Whenever a request is submitted or completes, images are taken of
 * what the medium could hold if the power failed just then: with none, all, a random part or a torn part
 * of what was not flushed. Every image is opened and compared with what the ledger allows. Some images
 * live on: another history runs on them, and is cut in turn.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import type { Store } from '@aiokv/kv';
import { openPlanted } from '../../../packages/kv/src/open.ts';
import type { Planted } from '../../../packages/kv/src/open.ts';
import { Ledger, call, contentsOf, randomGroup, readAll } from './history.ts';

const MODES = ['none', 'all', 'subset', 'torn'] as const;
const DIRECTORY = '/store';
/** Small segments and few buffers keep an opening cheap and make histories cross segments. */
export const GEOMETRY = { segmentBytes: 64 * 1024, writeBufferBytes: 1024 * 1024, queueDepth: 8 };

const SOUND: Planted = {};

function openOn(disk: SimulatedDisk, planted: Planted): Promise<Store> {
  return openPlanted(DIRECTORY, { ...GEOMETRY, platform: disk }, planted);
}

export interface Exploration {
  images: number;
  histories: number;
  /** The first violation: what was found, and the seed that shows it again. */
  violation: string | null;
}

interface Image {
  readonly disk: SimulatedDisk;
  readonly what: string;
  readonly from: number;
  readonly to: number;
}

/** Runs histories from `seed` on until `images` were checked or something is wrong. */
export async function explore(seed: number, images: number, planted: Planted = SOUND): Promise<Exploration> {
  const result: Exploration = { images: 0, histories: 0, violation: null };
  for (let next = seed; result.images < images && result.violation === null; next++) {
    await exploreSeed(next, planted, result);
  }
  return result;
}

/** One history of one seed, and the histories that live on from its images. */
async function exploreSeed(seed: number, planted: Planted, result: Exploration): Promise<void> {
  const random = new Random(seed);
  const disk = new SimulatedDisk({ seed });
  const first = await runHistory(disk, new Map(), random, planted);
  result.histories++;
  const survivor = await checkImages(first.images, first.ledger, seed, random, planted, result);
  if (survivor === null || result.violation !== null) return;
  const second = await runHistory(survivor.disk, survivor.contents, random, planted);
  result.histories++;
  await checkImages(second.images, second.ledger, seed, random, planted, result);
}

async function runHistory(
  disk: SimulatedDisk,
  start: ReadonlyMap<string, string>,
  random: Random,
  planted: Planted,
): Promise<{ images: Image[]; ledger: Ledger }> {
  const images: Image[] = [];
  const ledger = new Ledger(start);
  let store = await openOn(disk, planted);
  disk.onOperation = (index, kind) => {
    for (const mode of MODES) {
      const image = disk.powerCut(mode, random);
      const what = `cut at I/O ${index} (${kind}), ${mode} of the unflushed`;
      images.push({ disk: image, what, from: ledger.flushedThrough, to: ledger.called });
    }
  };
  const pending: Promise<void>[] = [];
  let writing: Promise<void> | null = null;
  const steps = 3 + random.below(8);
  for (let step = 0; step < steps; step++) {
    const calls = 1 + random.below(3);
    for (let i = 0; i < calls; i++) pending.push(call(store, ledger, randomGroup(random)));
    if (random.chance(0.3)) {
      writing = checkpointAmidWrites(store, ledger, random);
      pending.push(writing);
    }
    if (random.chance(0.6)) await Promise.all(pending);
    if (random.chance(0.1)) {
      await writing;
      await store.close();
      ledger.acknowledge(ledger.called);
      store = await openOn(disk, planted);
    }
  }
  await Promise.all(pending);
  if (random.chance(0.5)) await store.close();
  delete disk.onOperation;
  disk.stop();
  return { images, ledger };
}

/** A checkpoint, and writes that fill segments until it is durable. */
async function checkpointAmidWrites(store: Store, ledger: Ledger, random: Random): Promise<void> {
  let isDone = false;
  const checkpoint = store.checkpoint().finally(() => {
    isDone = true;
  });
  const writes: Promise<void>[] = [];
  const pauseTurns = random.chance(0.5) ? 2 : 12;
  for (let left = random.below(8); left > 0 && !isDone; left--) {
    writes.push(call(store, ledger, randomGroup(random, 30_000)));
    for (let turns = random.below(pauseTurns); turns > 0; turns--) await nextTurn();
  }
  await Promise.all([checkpoint, ...writes]);
}

/** Opens every image; returns one of them for a history to go on from. */
async function checkImages(
  images: readonly Image[],
  ledger: Ledger,
  seed: number,
  random: Random,
  planted: Planted,
  result: Exploration,
): Promise<{ disk: SimulatedDisk; contents: Map<string, string> } | null> {
  let survivor: { disk: SimulatedDisk; contents: Map<string, string> } | null = null;
  const chosen = random.below(images.length);
  for (const [at, image] of images.entries()) {
    result.images++;
    const fault = await checkImage(image, ledger, planted, (contents) => {
      if (at === chosen) survivor = { disk: image.disk, contents };
    });
    if (fault !== null) {
      result.violation = `seed ${seed}, ${image.what}: ${fault}`;
      return null;
    }
  }
  return survivor;
}

async function checkImage(
  image: Image,
  ledger: Ledger,
  planted: Planted,
  onContents: (contents: Map<string, string>) => void,
): Promise<string | null> {
  let contents: Map<string, string>;
  try {
    const store = await openOn(image.disk, planted);
    contents = await readAll(store);
    await store.close();
  } catch (error) {
    return `opening or reading failed: ${String(error)}`;
  }
  onContents(contents);
  const found = contentsOf(contents);
  for (let k = image.from; k <= image.to; k++) if (ledger.prefixes[k] === found) return null;
  const elsewhere = ledger.prefixes.indexOf(found);
  if (elsewhere >= 0) {
    return `holds the first ${elsewhere} groups, but ${image.from} were acknowledged as flushed and ${image.to} called`;
  }
  return `holds what no prefix of the history leaves behind: ${found.slice(0, 300)}`;
}
