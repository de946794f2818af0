/** aiokv's store under the benchmark: all workloads with every value checked, and updates that overlap. */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { cli } from '../../benchmarks/ycsb/cli.ts';
import { openStore } from '../../benchmarks/stores/catalog.ts';
import { RecordDb } from '../../benchmarks/ycsb/record-db.ts';

async function inDirectory<T>(use: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(process.cwd(), '.tmp-ycsb-'));
  try {
    return await use(join(directory, 'store'));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = '';
  let err = '';
  const code = await cli(args, { out: (text) => (out += text), err: (text) => (err += text) });
  return { code, out, err };
}

function common(directory: string, letter: string): string[] {
  const properties = [`kv.path=${directory}`, 'recordcount=500', 'operationcount=500', 'dataintegrity=true'];
  return [
    '-P',
    `benchmarks/workloads/workload${letter}`,
    '-threads',
    '16',
    ...properties.flatMap((property) => ['-p', property]),
  ];
}

test.serial('load, then workloads A to F, each record as it was written', async (t) => {
  await inDirectory(async (directory) => {
    const loaded = await run('load', 'kv', ...common(directory, 'a'));
    t.is(loaded.code, 0, loaded.err);
    t.regex(loaded.out, /^\[INSERT\], Return=OK, 500$/m);
    for (const letter of ['a', 'b', 'c', 'd', 'e', 'f']) {
      const ran = await run('run', 'kv', ...common(directory, letter));
      t.is(ran.code, 0, `workload ${letter}: ${ran.err}`);
      t.regex(ran.out, /^\[VERIFY\], Return=OK, \d+$/m);
      t.notRegex(ran.out, /FAILED|NOT_FOUND|ERROR|UNEXPECTED/, `workload ${letter}`);
    }
  });
});

test.serial('a buffered load is there once the phase has ended', async (t) => {
  await inDirectory(async (directory) => {
    const loaded = await run('load', 'kv', ...common(directory, 'c'), '-p', 'kv.durability=buffered');
    t.is(loaded.code, 0, loaded.err);
    const ran = await run('run', 'kv', ...common(directory, 'c'));
    t.is(ran.code, 0, ran.err);
  });
});

test.serial('updates of one record that overlap lose nothing of each other', async (t) => {
  await inDirectory(async (directory) => {
    const db = new RecordDb(() => openStore('aiokv', { directory, durability: 'flushed' }));
    await db.init();
    const names = Array.from({ length: 10 }, (_, i) => `field${i}`);
    const empty = Object.fromEntries(names.map((name) => [name, Buffer.from('old')]));
    await db.insert('usertable', 'user1', empty);
    for (let round = 0; round < 20; round++) {
      const updates = names.map((name, i) => db.update('usertable', 'user1', { [name]: Buffer.from(`${round}/${i}`) }));
      // One begins when others have got as far as their writes.
      const late = Promise.race(updates).then(() => db.update('usertable', 'user1', { late: Buffer.from(`${round}`) }));
      t.deepEqual([...new Set(await Promise.all([...updates, late]))], [true]);
      const record = (await db.read('usertable', 'user1', null)) ?? {};
      t.deepEqual(
        Object.fromEntries(Object.entries(record).map(([name, value]) => [name, Buffer.from(value).toString()])),
        { ...Object.fromEntries(names.map((name, i) => [name, `${round}/${i}`])), late: `${round}` },
      );
    }
    t.false(await db.update('usertable', 'user2', { field0: Buffer.from('x') }));
    t.is(await db.read('usertable', 'user2', null), null);
    t.true(await db.delete('usertable', 'user1'));
    t.is(await db.read('usertable', 'user1', null), null);
    await db.cleanup();
  });
});

test.serial('wrong options and a store that is not there are told, with exit code 2', async (t) => {
  await inDirectory(async (directory) => {
    const nowhere = await run('run', 'kv', ...common(directory, 'c'));
    t.is(nowhere.code, 2);
    t.regex(nowhere.err, /ERR_AIOKV_NOT_FOUND/);
    const unknown = await run('load', 'kv', ...common(directory, 'c'), '-p', 'kv.speed=high');
    t.is(unknown.code, 2);
    t.regex(unknown.err, /ERR_AIOKV_INVALID_OPTION.*'speed'/);
  });
});
