/** Programs that take a database of Level, used as their own documents use them. */
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { AioLevel } from '@aiokv/level';
import test from 'ava';
import { EntryStream, KeyStream, ValueStream } from 'level-read-stream';
import { Quadstore } from 'quadstore';
import { DataFactory } from 'rdf-data-factory';
import { LeveldbPersistence } from 'y-leveldb';
import * as Y from 'yjs';
import { directoryOf, runSuite } from './child.ts';

test('datastore-level: interface-datastore-tests', async (t) => {
  const { tests, pass, fail, failures } = await runSuite(
    'datastore-child.ts',
    [directoryOf(t)],
    ['--test-reporter=tap'],
  );
  t.log(`${pass} of ${tests} tests`);
  t.is(tests, 42, failures);
  t.is(pass, 42, failures);
  t.is(fail, 0);
});

test('level-read-stream', async (t) => {
  const db = new AioLevel(directoryOf(t));
  await db.batch(['a', 'b', 'c'].map((key, i) => ({ type: 'put', key, value: String(i + 1) })));
  const seen: unknown[] = [];
  const sink = (): Writable =>
    new Writable({
      objectMode: true,
      write(item, _encoding, next) {
        seen.push(item);
        next();
      },
    });
  // Its types are those of readable-stream, which are older than Node's.
  await pipeline(new EntryStream(db, { gte: 'b' }) as never, sink());
  await pipeline(new KeyStream(db, { reverse: true }) as never, sink());
  await pipeline(new ValueStream(db, { limit: 2 }) as never, sink());
  t.deepEqual(seen, [{ key: 'b', value: '2' }, { key: 'c', value: '3' }, 'c', 'b', 'a', '1', '2']);
  await db.close();
});

test('y-leveldb', async (t) => {
  const directory = directoryOf(t);
  const persistence = new LeveldbPersistence(directory, {
    Level: AioLevel,
    levelOptions: { durability: 'buffered' },
  });
  const ydoc = new Y.Doc();
  ydoc.on('update', (update: Uint8Array) => void persistence.storeUpdate('my-doc', update));
  const list = ydoc.getArray<number>('arr');
  list.insert(0, [1, 2, 3]);
  // More than it keeps as single updates: it merges them, and clears the range of the old ones.
  for (let i = 0; i < 600; i++) list.insert(list.length, [i]);
  await persistence.setMeta('my-doc', 'owner', { name: 'ada' });

  const read = await persistence.getYDoc('my-doc');
  t.deepEqual(read.getArray('arr').toArray(), list.toArray());
  t.deepEqual(await persistence.getMeta('my-doc', 'owner'), { name: 'ada' });
  t.deepEqual(await persistence.getAllDocNames(), ['my-doc']);
  const other = new Y.Doc();
  Y.applyUpdate(other, await persistence.getDiff('my-doc', Y.encodeStateVector(other)));
  t.is(other.getArray('arr').length, 603);
  t.deepEqual(await persistence.getStateVector('my-doc'), Y.encodeStateVector(ydoc));
  await persistence.destroy();

  const again = new LeveldbPersistence(directory, { Level: AioLevel });
  t.is((await again.getYDoc('my-doc')).getArray('arr').length, 603);
  await again.clearDocument('my-doc');
  t.is((await again.getYDoc('my-doc')).getArray('arr').length, 0);
  await again.destroy();
});

test('quadstore', async (t) => {
  const backend = new AioLevel(directoryOf(t));
  const factory = new DataFactory();
  const store = new Quadstore({ backend: backend as never, dataFactory: factory });
  const node = (name: string) => factory.namedNode(`http://example.com/${name}`);
  const made = ['a', 'b', 'c'].map((name, i) =>
    factory.quad(node(name), node('height'), factory.literal(String(i), node('unit')), factory.defaultGraph()),
  );
  await store.open();
  await store.put(made[0] as never);
  await store.multiPut(made);
  t.is((await store.get({})).items.length, 3);
  t.is((await store.get({ subject: node('b') })).items[0]?.object.value, '1');

  const matched: string[] = [];
  const stream = store.match(undefined, node('height'));
  await new Promise<void>((done, failed) => {
    stream.on('data', (found: { subject: { value: string } }) => matched.push(found.subject.value));
    stream.on('end', done);
    stream.on('error', failed);
  });
  t.deepEqual(
    matched.sort(),
    ['a', 'b', 'c'].map((name) => `http://example.com/${name}`),
  );

  await store.del(made[1] as never);
  await new Promise<void>((done, failed) => {
    store.deleteGraph(factory.defaultGraph()).on('end', done).on('error', failed);
  });
  t.deepEqual((await store.get({})).items, []);
  await store.close();
});
