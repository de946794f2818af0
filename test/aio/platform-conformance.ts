/**
 * What every platform must do beside its engine: names, sizes, growth, locks. Part of the engine
 * conformance suite.
 */
import type { TestFn } from 'ava';
import { join } from 'node:path';
import type { MakePlatform, PlatformFixture } from './engine-conformance.ts';
import { EngineDriver, filled, isFilled } from './engine-driver.ts';

const BLOCK = 4096;

/** Declares the tests under `name`. */
export function platformConformance(test: TestFn, name: string, makePlatform: MakePlatform): void {
  const withPlatform = async (body: (fixture: PlatformFixture) => Promise<void>): Promise<void> => {
    const fixture = await makePlatform();
    try {
      await body(fixture);
    } finally {
      await fixture.cleanup();
    }
  };

  test(`${name}: a missing file is ENOENT, unless it is to be made`, (t) =>
    withPlatform(async ({ platform, directory }) => {
      const path = join(directory, 'file');
      await t.throwsAsync(platform.open(path), { code: 'ENOENT' });
      await t.throwsAsync(platform.open(join(directory, 'nowhere', 'file'), { create: true }), { code: 'ENOENT' });
      const file = await platform.open(path, { create: true });
      t.is(file.path, path);
      t.is(await file.sizeBytes(), 0);
      await file.close();
      await (await platform.open(path)).close();
      await (await platform.open(path, { create: true })).close();
    }));

  test(`${name}: an exclusive creation of what is there is EEXIST`, (t) =>
    withPlatform(async ({ platform, directory }) => {
      const path = join(directory, 'file');
      const file = await platform.open(path, { create: true, exclusive: true });
      await t.throwsAsync(platform.open(path, { create: true, exclusive: true }), { code: 'EEXIST' });
      await file.close();
    }));

  test(`${name}: alignments are powers of two, that of writes the coarsest`, (t) =>
    withPlatform(async ({ platform, directory }) => {
      const file = await platform.open(join(directory, 'file'), { create: true });
      const { memory, offset, write } = file.alignment;
      for (const value of [memory, offset, write])
        t.true(value > 0 && Number.isInteger(Math.log2(value)), String(value));
      t.true(write >= 4096 && write >= offset);
      await file.close();
    }));

  test(`${name}: preallocate gives zeros and keeps what is there`, (t) =>
    withPlatform(async ({ platform, directory }) => {
      const file = await platform.open(join(directory, 'file'), { create: true });
      const driver = new EngineDriver(platform, { slots: 4, depth: 4 });
      await file.preallocate(0, 4 * BLOCK);
      t.is(await file.sizeBytes(), 4 * BLOCK);
      await driver.write(0, file, filled(BLOCK, 7), { offset: BLOCK }).run(0);
      await file.preallocate(0, 2 * BLOCK);
      t.is(await file.sizeBytes(), 4 * BLOCK, 'it never makes a file shorter');
      await file.preallocate(4 * BLOCK, 4 * BLOCK);
      await file.sync();
      t.is(await file.sizeBytes(), 8 * BLOCK);
      const target = filled(8 * BLOCK, 0xee);
      t.deepEqual(await driver.read(0, file, target, { offset: 0 }).run(0), [8 * BLOCK]);
      t.true(isFilled(target.bytes.subarray(0, BLOCK), 0));
      t.true(isFilled(target.bytes.subarray(BLOCK, 2 * BLOCK), 7));
      t.true(isFilled(target.bytes.subarray(2 * BLOCK), 0));
      await driver.engine.close();
      await file.close();
    }));

  test(`${name}: truncate cuts off what is behind, never makes a file longer, and growth gives zeros again`, (t) =>
    withPlatform(async ({ platform, directory }) => {
      const file = await platform.open(join(directory, 'file'), { create: true });
      const driver = new EngineDriver(platform, { slots: 4, depth: 4 });
      await file.preallocate(0, 4 * BLOCK);
      for (const at of [1, 3]) await driver.write(0, file, filled(BLOCK, 7), { offset: at * BLOCK }).run(0);
      await file.truncate(2 * BLOCK);
      t.is(await file.sizeBytes(), 2 * BLOCK);
      await file.truncate(3 * BLOCK);
      t.is(await file.sizeBytes(), 2 * BLOCK);
      const target = filled(4 * BLOCK, 0xee);
      t.deepEqual(await driver.read(0, file, target, { offset: 0 }).run(0), [2 * BLOCK]);
      t.true(isFilled(target.bytes.subarray(BLOCK, 2 * BLOCK), 7));
      await file.preallocate(2 * BLOCK, 2 * BLOCK);
      t.deepEqual(await driver.read(0, file, target, { offset: 0 }).run(0), [4 * BLOCK]);
      t.true(isFilled(target.bytes.subarray(2 * BLOCK), 0));
      await driver.engine.close();
      await file.close();
    }));

  test(`${name}: preallocating a file opened for reading fails`, (t) =>
    withPlatform(async ({ platform, directory }) => {
      const path = join(directory, 'file');
      await (await platform.open(path, { create: true })).close();
      const file = await platform.open(path, { readOnly: true });
      await t.throwsAsync(file.preallocate(0, BLOCK), { code: 'EBADF' });
      await file.close();
    }));

  test(`${name}: a lock is refused to a second opener, who is told of the first`, (t) =>
    withPlatform(async ({ platform, directory }) => {
      const path = join(directory, 'file');
      const first = await platform.open(path, { create: true });
      const second = await platform.open(path);
      t.is(await first.lock(), undefined);
      const holder = await second.lock();
      t.is(typeof holder, 'string');
      t.regex(holder as string, /process/u);
      await first.close();
      t.is(await second.lock(), undefined, 'the lock ends with the file that took it');
      await second.close();
    }));

  test(`${name}: of many that ask for a lock at once one gets it, again and again, and nothing is left of it`, (t) =>
    withPlatform(async ({ platform, directory }) => {
      const path = join(directory, 'file');
      await (await platform.open(path, { create: true })).close();
      for (let round = 0; round < 5; round++) {
        const files = await Promise.all(Array.from({ length: 6 }, () => platform.open(path)));
        const answers = await Promise.all(files.map((file) => file.lock()));
        t.is(answers.filter((answer) => answer === undefined).length, 1, String(answers));
        await Promise.all(files.map((file) => file.close()));
      }
      t.deepEqual(await platform.list(directory), ['file']);
    }));

  test(`${name}: closing a file twice is no error`, (t) =>
    withPlatform(async ({ platform, directory }) => {
      const file = await platform.open(join(directory, 'file'), { create: true });
      await file.close();
      await t.notThrowsAsync(file.close());
    }));

  test(`${name}: names are made, listed, changed and removed`, (t) =>
    withPlatform(async ({ platform, directory }) => {
      const inner = join(directory, 'a', 'b');
      t.is(await platform.list(inner), undefined);
      await platform.makeDirectory(inner);
      await platform.makeDirectory(inner);
      t.deepEqual(await platform.list(inner), []);
      t.deepEqual(await platform.list(directory), ['a']);
      for (const name of ['one', 'two']) await (await platform.open(join(inner, name), { create: true })).close();
      t.deepEqual((await platform.list(inner))?.sort(), ['one', 'two']);
      await platform.rename(join(inner, 'one'), join(inner, 'three'));
      await platform.syncDirectory(inner);
      t.deepEqual((await platform.list(inner))?.sort(), ['three', 'two']);
      await platform.remove(join(inner, 'two'));
      t.deepEqual(await platform.list(inner), ['three']);
      await t.throwsAsync(platform.remove(join(inner, 'two')), { code: 'ENOENT' });
      await t.throwsAsync(platform.rename(join(inner, 'one'), join(inner, 'x')), { code: 'ENOENT' });
    }));

  test(`${name}: another name for a file is taken once, and never from a file that has it`, (t) =>
    withPlatform(async ({ platform, directory, canRemoveOpen = true }) => {
      const [one, two, to] = ['one', 'two', 'to'].map((file) => join(directory, file)) as [string, string, string];
      const first = await platform.open(one, { create: true, exclusive: true });
      const second = await platform.open(two, { create: true, exclusive: true });
      await first.preallocate(0, BLOCK);
      await second.preallocate(0, 2 * BLOCK);
      const results = await Promise.allSettled([first.linkTo(to), second.linkTo(to)]);
      const refused = results.find((result) => result.status === 'rejected');
      t.is(results.filter((result) => result.status === 'fulfilled').length, 1);
      t.like(refused?.reason, { code: 'EEXIST' });
      const [winner, loser] = results[0]?.status === 'fulfilled' ? [first, second] : [second, first];
      t.is(winner.path, to);
      t.is(loser.path, loser === first ? one : two, 'a refused one keeps its name');
      t.deepEqual((await platform.list(directory))?.sort(), ['one', 'to', 'two'], 'the old name stays');
      const named = await platform.open(to);
      t.is(await named.sizeBytes(), await winner.sizeBytes());
      if (!canRemoveOpen) {
        for (const path of [one, two, to]) await t.throwsAsync(platform.remove(path), { code: 'EBUSY' });
        for (const file of [first, second, named]) await file.close();
        return;
      }
      await platform.remove(winner === first ? one : two);
      await platform.syncDirectory(directory);
      t.is(await named.sizeBytes(), await winner.sizeBytes());
      await platform.remove(loser.path);
      await t.throwsAsync(loser.linkTo(join(directory, 'other')), { code: 'ENOENT' });
      await platform.makeDirectory(join(directory, 'folder'));
      await t.throwsAsync(winner.linkTo(join(directory, 'folder')), { code: 'EEXIST' });
      await t.throwsAsync(winner.linkTo(join(directory, 'none', 'x')), { code: 'ENOENT' });
      for (const file of [first, second, named]) await file.close();
    }));

  test(`${name}: one file with two names is one file`, (t) =>
    withPlatform(async ({ platform, directory }) => {
      const [one, two] = [join(directory, 'one'), join(directory, 'two')];
      const file = await platform.open(one, { create: true });
      await file.linkTo(two);
      const driver = new EngineDriver(platform, { slots: 4, depth: 4 });
      await driver.write(0, file, filled(BLOCK, 7), { offset: 0 }).run(0);
      const again = await platform.open(one);
      const target = filled(BLOCK, 0);
      t.deepEqual(await driver.read(0, again, target, { offset: 0 }).run(0), [BLOCK]);
      t.true(isFilled(target.bytes, 7));
      t.is(await file.lock(), undefined);
      t.is(typeof (await again.lock()), 'string');
      await driver.engine.close();
      await again.close();
      await file.close();
    }));

  test(`${name}: a rename takes the place of what has the name`, (t) =>
    withPlatform(async ({ platform, directory, canRemoveOpen = true }) => {
      const [from, to] = [join(directory, 'from'), join(directory, 'to')];
      const old = await platform.open(to, { create: true });
      const file = await platform.open(from, { create: true });
      await file.preallocate(0, BLOCK);
      await file.close();
      if (!canRemoveOpen) {
        await t.throwsAsync(platform.rename(from, to), { code: 'EBUSY' });
        await old.close();
      }
      await platform.rename(from, to);
      if (canRemoveOpen) t.is(await old.sizeBytes(), 0, 'who had the old one open keeps it');
      await old.close();
      const renamed = await platform.open(to);
      t.is(await renamed.sizeBytes(), BLOCK);
      await renamed.close();
    }));
}
