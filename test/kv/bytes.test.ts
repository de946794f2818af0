/** Memory that comes in and memory that goes out: of any kind and realm, and never shared with what was not asked for. */
import { once } from 'node:events';
import { createContext, runInContext } from 'node:vm';
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

for (const [name, read] of Object.entries(ways)) {
  for (const place of ['the write buffer', 'the device'] as const) {
    test(`what ${name} returns from ${place} may be transferred, and leaves all else as it is`, async (t) => {
      const store = await storeOnDisk();
      const keys = LENGTHS.map((length, i) => `${i} ${'k'.repeat(i * 20)} ${length}`);
      const contents = LENGTHS.map((length, i) => Buffer.alloc(length, i + 1));
      for (const [i, key] of keys.entries()) {
        await store.put(key, contents[i] as Buffer, { durability: place === 'the device' ? 'flushed' : 'buffered' });
      }
      for (const transfer of Object.values(transfers)) {
        const kept = await read(store, keys);
        const expected = kept.map((bytes) => Buffer.concat([bytes]));
        t.is(kept.filter((bytes) => bytes.buffer.byteLength !== bytes.length).length, 0, 'kept memory is its own');
        for (const [i, bytes] of kept.entries()) {
          transfer(bytes);
          for (let j = i + 1; j < kept.length; j++) {
            if (Buffer.compare(kept[j] as Buffer, expected[j] as Buffer) !== 0) t.fail(`${j} changed with ${i}`);
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

test('a value that a worker is given arrives', async (t) => {
  const store = await storeOnDisk();
  await store.put('key', 'x'.repeat(100));
  const value = (await store.get('key')) as Buffer;
  const { port1, port2 } = new MessageChannel();
  port1.postMessage(value, [value.buffer as ArrayBuffer]);
  const [arrived] = (await once(port2, 'message')) as [Uint8Array];
  t.is(Buffer.from(arrived).toString(), 'x'.repeat(100));
  t.is(value.length, 0, 'it was moved, not copied');
  port1.close();
  port2.close();
  await store.close();
});
