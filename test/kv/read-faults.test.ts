/**
 * What a read that fails says: each cause, of each thing that is read, by each call. The cause decides the code, the
 * message names the place, and no other key is harmed.
 */
import test from 'ava';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';

const FILE = '/store/data.aiokv';
const SECTOR_BYTES = 512;
/** Keys of which the index has many leaves. */
const MANY = 4000;

interface Span {
  readonly offset: number;
  readonly lengthBytes: number;
}

interface Case {
  readonly disk: SimulatedDisk;
  /** Opened again, so that what is wanted is on the device only. */
  readonly store: Store;
  /** The key whose read meets the fault, and where that is; and another key of the same kind. */
  readonly key: string;
  readonly span: Span;
  readonly other: string;
  readonly otherSpan: Span;
}

type Fill = (store: Store) => Promise<void>;

/** What is read: how the store is filled, which keys, how many reads a `get` takes, and which of them is meant. */
interface Thing {
  readonly fill: Fill;
  readonly keys: readonly [string, string];
  readonly reads: number;
  readonly read: number;
  readonly name: RegExp;
  readonly memoryBytes?: number;
}

/** A leaf that is not in memory, with values of so many bytes. A get takes so many reads, the leaf first. */
function leafOf(valueBytes: number, reads: number): Thing {
  return {
    fill: async (store) => {
      const operations = Array.from({ length: MANY }, (_, i) => ({
        type: 'put' as const,
        key: `key ${String(i).padStart(6, '0')}`,
        value: 'x'.repeat(valueBytes),
      }));
      await store.batch(operations);
    },
    keys: ['key 002500', 'key 003900'],
    reads,
    read: 0,
    name: /the index page at byte \d+ of \/store\/data\.aiokv/,
    memoryBytes: 32 * 1024,
  };
}

const things: Record<string, Thing> = {
  record: {
    fill: async (store) => {
      for (const key of ['a', 'b', 'c', 'd']) await store.put(key, key.repeat(3000));
    },
    keys: ['b', 'd'],
    reads: 1,
    read: 0,
    name: /the record at byte \d+ of \/store\/data\.aiokv/,
  },
  fragment: {
    fill: async (store) => {
      for (const key of ['a', 'b', 'c', 'd']) await store.put(key, key.repeat(400_000));
    },
    keys: ['b', 'd'],
    reads: 3,
    read: 2,
    name: /the record at byte \d+ of \/store\/data\.aiokv/,
  },
  // The second read is that of the record, which is too long for the leaf.
  leaf: leafOf(100, 2),
  'leaf that holds the value': leafOf(20, 1),
};

async function prepare(thing: string): Promise<Case> {
  const { fill, keys, reads: count, read, memoryBytes } = things[thing] as Thing;
  const disk = new SimulatedDisk({ seed: 7 });
  const options = { platform: disk, segmentBytes: 256 * 1024, queueDepth: 16, ...(memoryBytes && { memoryBytes }) };
  const filling = await open('/store', options);
  await fill(filling);
  await filling.checkpoint();
  await filling.close();
  const spans: Span[] = [];
  for (const key of keys) {
    const watched = await open('/store', options);
    const reads: Span[] = [];
    disk.onOperation = (_, phase, { kind, offset, lengthBytes }) => {
      if (phase === 'submitted' && kind === 'read') reads.push({ offset, lengthBytes });
    };
    await watched.get(key);
    disk.onOperation = undefined;
    if (reads.length !== count) throw new Error(`a get of ${key} takes ${reads.length} reads`);
    spans.push(reads[read] as Span);
    await watched.close();
  }
  const [span, otherSpan] = spans as [Span, Span];
  return { disk, store: await open('/store', options), key: keys[0], span, other: keys[1], otherSpan };
}

/** Reads of the middle of a span, alone or with what is around it. Its edges may be in sectors of others. */
function isOver(span: Span): (request: Span & { kind: string }) => boolean {
  const middle = span.offset + Math.floor(span.lengthBytes / 2);
  return ({ kind, offset, lengthBytes }) => kind === 'read' && offset <= middle && middle < offset + lengthBytes;
}

interface Cause {
  /** Brings the fault about; what it returns takes it away again, if that is possible. */
  readonly strike: (at: Case) => (() => void) | null;
  readonly code: 'ERR_AIOKV_IO' | 'ERR_AIOKV_CORRUPT';
  readonly message: RegExp;
}

const causes: Record<string, Cause> = {
  'a device that fails': {
    strike: ({ disk, span }) => disk.inject({ at: isOver(span), kind: 'EIO', sticky: true }),
    code: 'ERR_AIOKV_IO',
    message: /cannot be read: EIO/,
  },
  rot: {
    strike: ({ disk, span }) => {
      const { offset, lengthBytes } = span;
      const bytes = disk.bytesOf(FILE).slice(offset, offset + lengthBytes);
      for (let at = SECTOR_BYTES / 2; at < lengthBytes; at += SECTOR_BYTES) bytes[at] = (bytes[at] as number) ^ 1;
      disk.writeRaw(FILE, offset, bytes);
      return null;
    },
    code: 'ERR_AIOKV_CORRUPT',
    message: /damaged/,
  },
  'what belongs to another place': {
    strike: ({ disk, span, otherSpan }) => {
      const bytes = disk.bytesOf(FILE).slice(otherSpan.offset, otherSpan.offset + otherSpan.lengthBytes);
      disk.writeRaw(FILE, span.offset, bytes);
      return null;
    },
    code: 'ERR_AIOKV_CORRUPT',
    message: /of another key|damaged/,
  },
  'zeros, as a trimmed device gives them': {
    strike: ({ disk, span }) => {
      disk.writeRaw(FILE, span.offset, new Uint8Array(span.lengthBytes));
      return null;
    },
    code: 'ERR_AIOKV_CORRUPT',
    message: /damaged/,
  },
};

type Call = (store: Store, key: string, other: string) => Promise<unknown>;

const calls: Record<string, Call> = {
  get: (store, key) => store.get(key),
  getSync: async (store, key) => store.getSync(key),
  getVersioned: async (store, key) => (await store.getVersioned(key))?.value,
  getMany: async (store, key, other) => (await store.getMany([other, key, other, 'none']))[1],
  iterator: async (store, key) => (await store.iterator({ gte: key, limit: 1 }).next()).value?.[1],
  'iterator in reverse': async (store, key) =>
    (await store.iterator({ lte: key, limit: 1, reverse: true }).next()).value?.[1],
};

for (const thing of Object.keys(things)) {
  for (const [cause, { strike, code, message }] of Object.entries(causes)) {
    test(`a ${thing} that meets ${cause} is ${code}, and fails its own key alone (READ-1, WHOLE-1)`, async (t) => {
      const at = await prepare(thing);
      const { store, key, other } = at;
      const sound = (await store.get(other)) as Buffer;
      const heal = strike(at);
      for (const [name, call] of Object.entries(calls)) {
        const error = await t.throwsAsync(call(store, key, other), { code, message }, name);
        t.regex(error?.message ?? '', (things[thing] as Thing).name, name);
        if (code === 'ERR_AIOKV_IO') t.is((error?.cause as { code?: string } | undefined)?.code, 'EIO', name);
        t.deepEqual(await call(store, other, other), sound, `${name} of another key`);
      }
      t.is(await store.get('none'), undefined);
      if (heal !== null) {
        heal();
        for (const [name, call] of Object.entries(calls)) {
          t.is(((await call(store, key, other)) as Buffer).length, sound.length, `${name}, when the device is well`);
        }
      }
      await store.put('written', 'afterwards');
      t.is((await store.get('written'))?.toString(), 'afterwards', 'writes go on');
      await store.close();
    });
  }
}

for (const thing of Object.keys(things)) {
  test(`a ${thing} that fails once is read at the second attempt (SECTOR-1)`, async (t) => {
    for (const kind of ['EIO', 'short', 'bit-flip'] as const) {
      for (const name of ['get', 'getSync', 'iterator']) {
        const { disk, store, key, other, span } = await prepare(thing);
        disk.inject({ at: isOver(span), kind });
        t.true(((await (calls[name] as Call)(store, key, other)) as Buffer).length > 0, `${name}, ${kind}`);
        t.is(disk.faultsStruck, 1);
        await store.close();
      }
    }
  });
}

for (const thing of Object.keys(things)) {
  test(`an iterator gives all entries before a ${thing} that cannot be read, then its error, then its end (ITERATOR-3)`, async (t) => {
    const { disk, store, key, span, other } = await prepare(thing);
    const all: string[] = [];
    // Not their values: these would be in memory then.
    for await (const one of store.keys()) all.push(one.toString());
    disk.inject({ at: isOver(span), kind: 'EIO', sticky: true });
    const given: string[] = [];
    const iterator = store.iterator();
    const error = await t.throwsAsync(
      async () => {
        for await (const [one] of iterator) given.push(one.toString());
      },
      { code: 'ERR_AIOKV_IO' },
    );
    t.regex(error?.message ?? '', (things[thing] as Thing).name);
    t.deepEqual(given, all.slice(0, given.length));
    // All keys of a leaf are lost with it.
    if (thing === 'leaf') t.true(given.length > 1000 && (given.at(-1) as string) < key);
    else t.is(all[given.length], key);
    t.true((await iterator.next()).done);
    // What comes behind it can be had.
    const behind = await store.iterator({ gte: other }).next();
    t.is(behind.value?.[0].toString(), other);
    await store.close();
  });
}
