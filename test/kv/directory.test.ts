/** Arguments of `open`, `openFile` and `qualifyFile` are those of the moment of the call. */
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import {
  SimulatedDisk,
  allocateAligned,
  foreignInterface,
  linuxPlatform,
  openFile,
  openQueue,
  portablePlatform,
  qualifyFile,
} from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { StoreOptions } from '@aiokv/kv';
import { skipWhere } from '../helpers/skip.ts';

const OPENING = { segmentBytes: 64 * 1024, queueDepth: 16, memoryBytes: 2 * 1024 * 1024 };

/** In a working directory with the directories `here` and `there`, in `here`. */
async function inPlace(t: ExecutionContext, use: (place: string) => Promise<void>): Promise<void> {
  const before = process.cwd();
  const place = await mkdtemp(resolve('.tmp-directory-'));
  try {
    for (const name of ['here', 'there']) await mkdir(join(place, name));
    process.chdir(join(place, 'here'));
    await use(place);
    t.deepEqual(await readdir(join(place, 'there')), [], 'nothing is made where the call was not');
  } finally {
    process.chdir(before);
    await rm(place, { recursive: true, force: true });
  }
}

test.serial('a store is opened where the working directory was at the call', (t) =>
  inPlace(t, async (place) => {
    for (const name of ['store', './other/', 'store']) {
      process.chdir(join(place, 'here'));
      const opening = open(name, OPENING);
      process.chdir(join(place, 'there'));
      const store = await opening;
      await store.put('a', 'b');
      await store.close();
    }
    t.deepEqual((await readdir(join(place, 'here'))).sort(), ['other', 'store']);
    t.deepEqual(await readdir(join(place, 'here', 'store')), ['data.aiokv']);
  }),
);

const withForeignFunctions = skipWhere(
  foreignInterface() === undefined ? 'there is no foreign-function interface' : null,
  test.serial,
);

withForeignFunctions('a file is opened, and a directory measured, where the working directory was at the call', (t) =>
  inPlace(t, async (place) => {
    const later = async <T>(call: () => Promise<T>): Promise<T> => {
      process.chdir(join(place, 'here'));
      const result = call();
      process.chdir(join(place, 'there'));
      return result;
    };
    const options = { create: true, direct: 'prefer' } as const;
    const files = [
      await later(() => openFile('one', options)),
      await later(() => linuxPlatform().open('two', options)),
      await later(() => portablePlatform().open('three', options)),
    ];
    t.deepEqual(
      files.map(({ path }) => path),
      ['one', 'two', 'three'].map((name) => join(place, 'here', name)),
    );
    for (const file of files) await file.close();
    t.is((await later(() => qualifyFile('.', { sizeBytes: 1024 * 1024 }))).directory, join(place, 'here'));
    t.deepEqual((await readdir(join(place, 'here'))).sort(), ['one', 'three', 'two']);
  }),
);

withForeignFunctions('URLs name directories and files', (t) =>
  inPlace(t, async (place) => {
    const store = await open(pathToFileURL(join(place, 'here', 'a store')), OPENING);
    await store.put('a', 'b');
    await store.close();
    const again = await open(join(place, 'here', 'a store'), { ...OPENING, createIfMissing: false });
    t.is((await again.get('a'))?.toString(), 'b');
    await again.close();
    const file = await openFile(pathToFileURL(join(place, 'here', 'ä file')), { create: true, direct: 'prefer' });
    const queue = openQueue();
    await queue.write(file, allocateAligned(4096), { offset: 0 });
    await queue.close();
    await file.close();
    const { directory } = await qualifyFile(pathToFileURL(join(place, 'here')), { sizeBytes: 1024 * 1024 });
    t.is(directory, join(place, 'here'));
    t.deepEqual((await readdir(join(place, 'here'))).sort(), ['a store', 'ä file']);
  }),
);

test.serial('what is no path is refused with a code, by a promise, and nothing is made', (t) =>
  inPlace(t, async (place) => {
    for (const wrong of [
      '',
      'a\0b',
      'file:///a',
      undefined,
      null,
      7,
      {},
      new URL('https://example.com/'),
      Buffer.of(97),
    ]) {
      for (const call of [
        () => open(wrong as string, OPENING),
        () => openFile(wrong as string, { create: true }),
        () => qualifyFile(wrong as string),
      ]) {
        await t.throwsAsync(call, { code: 'ERR_AIOKV_INVALID_ARGUMENT', message: /must be a path as a string/u });
      }
    }
    t.deepEqual(await readdir(join(place, 'here')), []);
  }),
);

test.serial('options are those of the moment of the call', async (t) => {
  const platform = new SimulatedDisk({ seed: 1 });
  const options: Partial<StoreOptions> = { ...OPENING, platform };
  const opening = open('/store', options);
  Object.assign(options, { platform: null, segmentBytes: 1, createIfMissing: false, onProgress: 'none' });
  await (await opening).close();
  t.deepEqual(await platform.list('/store'), ['data.aiokv']);
});

test.serial('an option that is refused has no effect on the disk', (t) =>
  inPlace(t, async (place) => {
    const wrong = [
      { segmentBytes: 100 },
      { segmentbytes: 65_536 },
      { pageBytes: 65_536, segmentBytes: 65_536 },
      7,
      null,
      [],
    ];
    for (const options of wrong) {
      await t.throwsAsync(open('store', options as object), { code: 'ERR_AIOKV_INVALID_OPTION' });
    }
    t.deepEqual(await readdir(join(place, 'here')), []);
  }),
);
