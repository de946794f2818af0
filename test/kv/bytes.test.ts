/** Memory that comes in and memory that goes out: of any kind and realm, and never shared with what was not asked for. */
import { once } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { createContext, runInContext, runInNewContext } from 'node:vm';
import { MessageChannel } from 'node:worker_threads';
import test from 'ava';
import { SimulatedDisk } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Bytes, Store } from '@aiokv/kv';

async function storeOnDisk(): Promise<Store> {
  return open('/store', { platform: new SimulatedDisk({ seed: 3 }), segmentBytes: 256 * 1024, queueDepth: 8 });
}

const TEXT = 'grüße';
const BYTES = Buffer.from(TEXT);

/** The bytes of TEXT, at an odd place in memory with other bytes around them. */
function placed<T extends ArrayBufferLike>(buffer: T): T {
  new Uint8Array(buffer).fill(0xaa);
  new Uint8Array(buffer).set(BYTES, 3);
  return buffer;
}

function exactly<T extends ArrayBufferLike>(buffer: T): T {
  new Uint8Array(buffer).set(BYTES);
  return buffer;
}

const foreign = createContext({ source: [...BYTES] });

const forms: Record<string, () => Bytes> = {
  'a string': () => TEXT,
  'a Buffer': () => Buffer.from(BYTES),
  'a Uint8Array within more memory': () => new Uint8Array(placed(new ArrayBuffer(20)), 3, BYTES.length),
  'an ArrayBuffer': () => exactly(new ArrayBuffer(BYTES.length)),
  'a SharedArrayBuffer': () => exactly(new SharedArrayBuffer(BYTES.length)),
  'a Uint8Array of shared memory': () => new Uint8Array(placed(new SharedArrayBuffer(20)), 3, BYTES.length),
  'a DataView': () => new DataView(placed(new ArrayBuffer(20)), 3, BYTES.length),
  'an Int8Array': () => new Int8Array(placed(new ArrayBuffer(20)), 3, BYTES.length),
  'a Uint8Array of another realm': () => runInContext('Uint8Array.from(source)', foreign) as Uint8Array,
  'a DataView of another realm': () =>
    runInContext('new DataView(Uint8Array.from(source).buffer)', foreign) as DataView<ArrayBuffer>,
  'an ArrayBuffer of another realm': () => runInContext('Uint8Array.from(source).buffer', foreign) as ArrayBuffer,
};

for (const [name, make] of Object.entries(forms)) {
  test(`${name} is a key, a value and a bound`, async (t) => {
    const store = await storeOnDisk();
    await store.put(make(), make());
    await store.batch([{ type: 'put', key: 'other', value: make() }]);
    for (const key of [TEXT, make()]) {
      t.is((await store.get(key))?.toString(), TEXT);
      t.is(store.getSync(key)?.toString(), TEXT);
      t.is((await store.getVersioned(key))?.value.toString(), TEXT);
      t.deepEqual((await store.getMany([key, 'other'])).map(String), [TEXT, TEXT]);
    }
    for (const [bounds, count] of [
      [{ gte: make(), lte: make() }, 1],
      [{ gt: make() }, 1],
      [{ lt: make() }, 0],
    ] as const) {
      let found = 0;
      for await (const _ of store.iterator(bounds)) found++;
      t.is(found, count, Object.keys(bounds).join());
    }
    await store.del(make());
    t.is(await store.get(TEXT), undefined);
    await store.close();
  });
}

const refused: Record<string, [unknown, RegExp]> = {
  number: [5, /not a number/],
  null: [null, /not null/],
  undefined: [undefined, /not undefined/],
  'an array': [[1, 2], /not an array/],
  'an object': [{}, /not an object$/],
  'a date': [new Date(0), /not an object \(Date\)/],
  'what only inherits from Uint8Array': [Object.create(Uint8Array.prototype), /not an object/],
};

for (const [name, [wrong, message]] of Object.entries(refused)) {
  test(`${name} is refused by name, wherever bytes are taken`, async (t) => {
    const store = await storeOnDisk();
    const bytes = wrong as Bytes;
    const expected = { code: 'ERR_AIOKV_INVALID_ARGUMENT', instanceOf: TypeError, message } as const;
    await t.throwsAsync(store.get(bytes), expected);
    t.throws(() => store.getSync(bytes), expected);
    await t.throwsAsync(store.getVersioned(bytes), expected);
    await t.throwsAsync(store.getMany(['a', bytes]), expected);
    await t.throwsAsync(store.put(bytes, 'value'), expected);
    await t.throwsAsync(store.put('key', bytes), expected);
    await t.throwsAsync(store.del(bytes), expected);
    await t.throwsAsync(store.batch([{ type: 'put', key: 'a', value: bytes }]), expected);
    if (wrong !== undefined) t.throws(() => store.iterator({ gt: bytes }), { code: 'ERR_AIOKV_INVALID_OPTION' });
    t.is(await store.get('key'), undefined);
    await store.close();
  });
}

test('memory that was transferred away is refused, and not taken for empty', async (t) => {
  const store = await storeOnDisk();
  const detached = (view: (buffer: ArrayBuffer) => Bytes): Bytes => {
    const buffer = new ArrayBuffer(16);
    const bytes = view(buffer);
    structuredClone(buffer, { transfer: [buffer] });
    return bytes;
  };
  for (const view of [
    (buffer: ArrayBuffer) => new Uint8Array(buffer, 4, 8),
    (buffer: ArrayBuffer) => Buffer.from(buffer),
    (buffer: ArrayBuffer) => new DataView(buffer),
    (buffer: ArrayBuffer) => buffer,
  ]) {
    const bytes = detached(view);
    const expected = { code: 'ERR_AIOKV_INVALID_ARGUMENT', message: /transferred away/ } as const;
    await t.throwsAsync(store.get(bytes), expected);
    t.throws(() => store.getSync(bytes), expected);
    await t.throwsAsync(store.put(bytes, 'value'), expected);
    await t.throwsAsync(store.put('key', bytes), expected);
    t.throws(() => store.iterator({ gte: bytes }), expected);
  }
  await store.put(new Uint8Array(0), new ArrayBuffer(0));
  t.is((await store.get(''))?.length, 0, 'what is empty is taken as that');
  await store.close();
});

const LENGTHS = [0, 1, 40, 64, 65, 100, 1000, 4000, 5000, 300_000];

type Way = (store: Store, keys: readonly string[]) => Promise<Buffer[]>;

const ways: Record<string, Way> = {
  get: async (store, keys) => Promise.all(keys.map((key) => store.get(key) as Promise<Buffer>)),
  getSync: async (store, keys) => keys.map((key) => store.getSync(key) as Buffer),
  getMany: async (store, keys) => store.getMany(keys) as Promise<Buffer[]>,
  getVersioned: async (store, keys) =>
    Promise.all(keys.map(async (key) => ((await store.getVersioned(key)) as { value: Buffer }).value)),
  iterator: async (store) => {
    const all: Buffer[] = [];
    for await (const entry of store.iterator()) all.push(...entry);
    return all;
  },
};

/** Ways in which memory can be taken from whoever holds it; whether this Node.js has them. */
const transfers: Record<string, (bytes: Buffer) => void> = {
  postMessage: (bytes) => {
    const { port1, port2 } = new MessageChannel();
    port1.postMessage(bytes, [bytes.buffer as ArrayBuffer]);
    port1.close();
    port2.close();
  },
  structuredClone: (bytes) => {
    structuredClone(bytes, { transfer: [bytes.buffer as ArrayBuffer] });
  },
  'a stream of bytes': (bytes) => {
    void new ReadableStream({
      type: 'bytes',
      start: (controller) => {
        if (bytes.length > 0) controller.enqueue(bytes);
      },
    });
  },
};

/** What is shorter may share a piece of so many bytes at most with what was handed out beside it (VALUES-2). */
const [OWN_MEMORY_BYTES, PIECE_BYTES] = [4096, 8192];

for (const [name, read] of Object.entries(ways)) {
  for (const place of ['the write buffer', 'the device', 'the cache'] as const) {
    // One after the other: a stream of bytes takes what another test was given in the same piece (VALUES-3).
    test.serial(`what ${name} returns from ${place} may be transferred, and leaves all else as it is`, async (t) => {
      const store = await storeOnDisk();
      const keys = LENGTHS.map((length, i) => `${i} ${'k'.repeat(i * 20)} ${length}`);
      const contents = LENGTHS.map((length, i) => Buffer.alloc(length, i + 1));
      for (const [i, key] of keys.entries()) {
        const durability = place === 'the write buffer' ? 'buffered' : 'flushed';
        await store.put(key, contents[i] as Buffer, { durability });
      }
      for (const [way, transfer] of Object.entries(transfers)) {
        const before = store.statistics().cache.hits;
        if (place === 'the cache') await store.getMany(keys);
        const kept = await read(store, keys);
        if (place === 'the cache' && name !== 'iterator') t.true(store.statistics().cache.hits > before);
        const expected = kept.map((bytes) => Buffer.concat([bytes]));
        for (const bytes of kept) {
          const isOwn = bytes.buffer.byteLength === bytes.length;
          t.true(isOwn || name !== 'iterator', 'of an iterator all memory is its own');
          t.true(isOwn || (bytes.length < OWN_MEMORY_BYTES && bytes.buffer.byteLength === PIECE_BYTES), 'VALUES-2');
        }
        for (const [i, bytes] of kept.entries()) {
          const { buffer } = bytes;
          try {
            transfer(bytes);
          } catch (error) {
            // VALUES-3. Some versions of Node.js refuse to transfer what others copy.
            t.not(buffer.byteLength, bytes.length);
            t.is(
              (error as Error).name === 'DataCloneError' || /not detachable/.test(String(error)),
              true,
              String(error),
            );
          }
          for (let j = i + 1; j < kept.length; j++) {
            const other = kept[j] as Buffer;
            // VALUES-3: a stream of bytes takes the piece, and nothing else.
            const isTaken = way === 'a stream of bytes' && other.buffer === buffer && other.length === 0;
            if (!isTaken && Buffer.compare(other, expected[j] as Buffer) !== 0) t.fail(`${j} changed with ${i}`);
          }
        }
        t.deepEqual(
          (await store.getMany(keys)).map((value, i) => value?.equals(contents[i] as Buffer)),
          keys.map(() => true),
        );
      }
      await store.close();
    });
  }
}

test('VALUES-1, VALUES-2: a value never changes, whatever is read, written and scribbled over beside it', async (t) => {
  const store = await storeOnDisk();
  const content = (i: number, round: number): Buffer => Buffer.alloc(20 + ((i * 37) % 900), (i + round * 50) % 256);
  const kept: [Buffer, Buffer][] = [];
  const pieces = new Set<ArrayBufferLike>();
  for (let round = 0; round < 6; round++) {
    for (let i = 0; i < 50; i++) await store.put(`${i}`, content(i, round), { durability: 'written' });
    for (let i = 0; i < 50; i++) {
      const scribbled = store.getSync(`${i}`) as Buffer;
      scribbled.fill(0xee);
      for (const value of [
        store.getSync(`${i}`),
        await store.get(`${i}`),
        (await store.getVersioned(`${i}`))?.value,
        (await store.getMany([`${i}`, 'none']))[0],
      ] as Buffer[]) {
        kept.push([value, content(i, round)]);
        pieces.add(value.buffer);
      }
    }
  }
  t.is(kept.filter(([value, expected]) => !value.equals(expected)).length, 0);
  const all = kept.map(([value]) => value).sort((a, b) => a.byteOffset - b.byteOffset);
  for (const piece of pieces) {
    let end = 0;
    for (const { buffer, byteOffset, length } of all) {
      if (buffer !== piece) continue;
      t.true(byteOffset >= end && byteOffset % 8 === 0, 'no byte is handed out twice');
      end = byteOffset + length;
    }
  }
  await store.close();
});

test('VALUES-2: what nobody was given of a piece is zeros', async (t) => {
  const store = await storeOnDisk();
  await store.put('key', Buffer.alloc(1000, 1));
  // What the process has given back to its allocator is not zeros.
  let freed = Array.from({ length: 2000 }, () => Buffer.allocUnsafeSlow(PIECE_BYTES).fill(0x55));
  freed = freed.filter((_, i) => i % 2 === 0);
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  t.is(freed.length, 1000);
  let pieces = 0;
  // In one step, so that nothing but these values is in the pieces that begin here.
  for (let i = 0; i < 100; i++) {
    const { buffer, byteOffset, length } = store.getSync('key') as Buffer;
    if (byteOffset !== 0) continue;
    pieces++;
    t.true(new Uint8Array(buffer, length).every((byte) => byte === 0));
  }
  t.true(pieces > 5);
  await store.close();
});

test('a value that a worker is given arrives', async (t) => {
  const store = await storeOnDisk();
  await store.put('long', 'x'.repeat(OWN_MEMORY_BYTES));
  await store.put('short', 'x'.repeat(100));
  const { port1, port2 } = new MessageChannel();
  const long = (await store.get('long')) as Buffer;
  port1.postMessage(long, [long.buffer as ArrayBuffer]);
  const [arrived] = (await once(port2, 'message')) as [Uint8Array];
  t.is(Buffer.from(arrived).toString(), 'x'.repeat(OWN_MEMORY_BYTES));
  t.is(long.length, 0, 'it was moved, not copied');
  // VALUES-3: a short one is copied, with its piece.
  const short = (await store.get('short')) as Buffer;
  port1.postMessage(short);
  const [copy] = (await once(port2, 'message')) as [Uint8Array];
  t.is(Buffer.from(copy).toString(), 'x'.repeat(100));
  t.is(short.toString(), 'x'.repeat(100));
  port1.close();
  port2.close();
  await store.close();
});
