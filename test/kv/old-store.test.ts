/**
 * A store that version 0.1 left behind, with a checkpoint whose root names slots of index segments: it opens, and goes on.
 * Nothing writes such a checkpoint any more. `golden/store-0.1-checkpoint.aiokv.gz` was made by a process that
 *
 * - put the keys 0 to 799 in no order, overwrote every third, deleted every seventh, and put a value in fragments,
 * - wrote a checkpoint, overwrote the keys 0 to 49, and wrote another, which keeps most pages of the first,
 * - overwrote the keys 100 to 149, deleted the keys 200 to 219, flushed, and was killed.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import { openPlanted } from '../../packages/kv/src/open.ts';
import { FEATURE_CHECKPOINT, readSuperblock } from '../../packages/kv/src/format/superblock.ts';
import { readRoot } from '../../packages/kv/src/format/checkpoint-root.ts';
import { readAll } from './crash/history.ts';

const PATH = '/store/data.aiokv';
const KEYS = 800;
const LONG_BYTES = 200_000;

function diskOf(): SimulatedDisk {
  const disk = new SimulatedDisk({ seed: 1 });
  disk.placeRaw(PATH, gunzipSync(readFileSync(new URL('golden/store-0.1-checkpoint.aiokv.gz', import.meta.url))));
  return disk;
}

const openOn = (platform: SimulatedDisk): Promise<Store> => open('/store', { platform, segmentBytes: 64 * 1024 });
const keyOf = (n: number): string => `key${String(n).padStart(5, '0')}`;
const longValue = Buffer.alloc(LONG_BYTES, 'aiokv');

/** What the store holds. */
function contents(): Map<string, string> {
  const map = new Map<string, string>();
  for (let n = 0; n < KEYS; n++) map.set(keyOf(n), `first ${n}`);
  for (let n = 0; n < KEYS; n += 3) map.set(keyOf(n), `second ${n}`);
  for (let n = 0; n < KEYS; n += 7) map.delete(keyOf(n));
  map.set('long', longValue.toString());
  for (let n = 0; n < 50; n++) map.set(keyOf(n), `third ${n}`);
  for (let n = 100; n < 150; n++) map.set(keyOf(n), `fourth ${n}`);
  for (let n = 200; n < 220; n++) map.delete(keyOf(n));
  return map;
}

async function requireContents(t: ExecutionContext, store: Store, wanted: ReadonlyMap<string, string>): Promise<void> {
  const found = await readAll(store);
  t.deepEqual(found, new Map([...wanted].sort(([a], [b]) => (a < b ? -1 : 1))));
  for (const [key, value] of wanted) t.is((await store.get(key))?.toString(), value);
}

test('the golden store is one of version 0.1 with a checkpoint', (t) => {
  const bytes = diskOf().bytesOf(PATH);
  const block = { bytes: bytes as Uint8Array<ArrayBuffer>, view: new DataView(bytes.buffer as ArrayBuffer) };
  const superblock = readSuperblock(block);
  t.is((superblock?.incompatibleFeatures ?? 0n) & (2n * FEATURE_CHECKPOINT - 1n), 3n);
  const root = readRoot(block, superblock?.checkpointRoot ?? 0);
  t.is(root?.tableParts, null);
  t.true((root?.slots?.length ?? 0) > 1);
});

test('a store of version 0.1 with a checkpoint opens, is written to, and has checkpoints', async (t) => {
  const disk = diskOf();
  const model = contents();
  for (let round = 0; round < 3; round++) {
    const store = await openOn(disk);
    await requireContents(t, store, model);
    for (let n = round * 100; n < round * 100 + 300; n++) {
      await store.put(keyOf(n), `round ${round}`, { durability: 'buffered' });
      model.set(keyOf(n), `round ${round}`);
    }
    await store.del('long');
    model.delete('long');
    const before = store.statistics().sequence;
    await store.checkpoint();
    t.true(store.statistics().checkpointSequence >= before);
    await requireContents(t, store, model);
    await store.put('long', longValue);
    model.set('long', longValue.toString());
    store.verifyIndex();
    await store.verifySegments();
    await store.close();
  }
});

test('it is read without being written to', async (t) => {
  const disk = diskOf();
  for (let round = 0; round < 3; round++) {
    const store = await openOn(disk);
    await requireContents(t, store, contents());
    await store.close();
  }
});

test('its records are moved by cleanings', async (t) => {
  let moved = 0;
  const onMoved = (records: number): void => {
    moved += records;
  };
  const options = { platform: diskOf(), segmentBytes: 64 * 1024 };
  const model = contents();
  for (let round = 0; round < 2; round++) {
    const store = await openPlanted('/store', options, { eagerCleaning: true, onMoved });
    await store.put('new', `${round}`);
    model.set('new', `${round}`);
    // The first counts what lives where.
    await store.checkpoint();
    await store.checkpoint();
    await requireContents(t, store, model);
    await store.verifySegments();
    await store.close();
    t.true(moved > KEYS, `${moved} records`);
  }
});
