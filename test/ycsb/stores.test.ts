/**
 * Every store of the benchmarks by the same driver: all workloads with every value checked, in each class of durability
 * that it has, and a wrong value of any of them makes the run fail. Those that are not installed are skipped.
 */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { STORE_NAMES, gapOf, isInstalled, openStore, settingsOf, versionOf } from '../../benchmarks/stores/catalog.ts';
import type { StoreName } from '../../benchmarks/stores/catalog.ts';
import { DURABILITY_CLASSES } from '../../benchmarks/stores/store.ts';
import type { BenchStore, DurabilityClass } from '../../benchmarks/stores/store.ts';
import { cli } from '../../benchmarks/ycsb/cli.ts';
import { RecordDb } from '../../benchmarks/ycsb/record-db.ts';
import { skipWhere } from '../helpers/skip.ts';
import { phase, valueOf, workload } from './phases.ts';

const RECORDS = '300';
const FIELD = STORE_NAMES.filter((name) => name !== 'aiokv-puts');

async function inDirectory<T>(use: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(process.cwd(), '.tmp-ycsb-stores-'));
  try {
    return await use(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function given(letter: string): Readonly<Record<string, string>> {
  return workload(letter, {
    recordcount: RECORDS,
    operationcount: RECORDS,
    threadcount: '16',
    dataintegrity: 'true',
  });
}

async function runAll(open: () => Promise<BenchStore>, letters = 'abcdef'): Promise<string[]> {
  const troubles: string[] = [];
  const phases = ['load a', ...Array.from(letters, (letter) => `run ${letter}`)];
  for (const [kind, letter] of phases.map((one) => one.split(' ') as ['load' | 'run', string])) {
    const ran = await phase(kind, new RecordDb(open), given(letter));
    if (ran.troubles.summary() !== '') troubles.push(`${kind} ${letter}: ${ran.troubles.summary()}`);
    else if (kind === 'run' && valueOf(ran, 'VERIFY', 'Return=OK') === 0)
      troubles.push(`${letter}: nothing was checked`);
  }
  return troubles;
}

const whereInstalled = (name: StoreName): ReturnType<typeof skipWhere> =>
  skipWhere(
    isInstalled(name) ? null : `${name} is not installed: npm run -s ycsb -- load ${name} installs it`,
    test.serial,
  );

for (const name of FIELD) {
  whereInstalled(name)(`${name}: load, then workloads A to F, in each of its classes`, async (t) => {
    for (const durability of DURABILITY_CLASSES.filter((one) => gapOf(name, one) === null)) {
      await inDirectory(async (directory) => {
        const troubles = await runAll(() => openStore(name, { directory, durability }));
        t.deepEqual(troubles, [], durability);
      });
    }
  });

  whereInstalled(name)(`${name}: one wrong byte among all gets or all rows of scans is found`, async (t) => {
    for (const [letter, spoil] of [
      ['c', spoiledGets],
      ['e', spoiledScans],
    ] as const) {
      await inDirectory(async (directory) => {
        const open = (): Promise<BenchStore> => openStore(name, { directory, durability: 'none' });
        t.deepEqual(await runAll(open, ''), []);
        const ran = await phase('run', new RecordDb(async () => spoil(await open())), given(letter));
        t.true(ran.troubles.mismatches > 0, `workload ${letter}`);
        t.is(valueOf(ran, 'VERIFY', 'Return=UNEXPECTED_STATE'), ran.troubles.mismatches);
      });
    }
  });
}

for (const name of STORE_NAMES) {
  whereInstalled(name)(`${name}: batches, deletions, and scans of all and of some in both directions`, async (t) => {
    await inDirectory(async (directory) => {
      const store = await openStore(name, { directory, durability: 'none' });
      const keys = Array.from({ length: 2500 }, (_, i) => Buffer.from(`key${String(i).padStart(5, '0')}`));
      await store.write(keys.map((key) => ({ type: 'put', key, value: key })));
      await store.delete(keys[1200] as Buffer);
      await store.flush();
      const left = keys.filter((_, i) => i !== 1200).map(String);
      const scanned = async (range: Parameters<BenchStore['scan']>[0]): Promise<string[]> => {
        const found: string[] = [];
        await store.scan(range, (key, value) => {
          t.deepEqual(Buffer.from(key), Buffer.from(value));
          found.push(Buffer.from(key).toString());
        });
        return found;
      };
      t.deepEqual(await scanned({ limit: Infinity, reverse: false }), left);
      t.deepEqual(await scanned({ limit: Infinity, reverse: true }), left.toReversed());
      t.deepEqual(await scanned({ gte: keys[1199] as Buffer, limit: 3, reverse: false }), [
        'key01199',
        'key01201',
        'key01202',
      ]);
      t.is((await store.get(keys[1200] as Buffer)) ?? null, null);
      await store.compact();
      await store.close();
    });
  });
}

/** One value of many comes back with one byte changed. */
function spoiledGets(store: BenchStore): BenchStore {
  let calls = 0;
  return {
    ...bound(store),
    async get(key: Buffer) {
      const found = await store.get(key);
      return ++calls === 17 && found ? spoiled(found) : found;
    },
  };
}

function spoiledScans(store: BenchStore): BenchStore {
  let rows = 0;
  return {
    ...bound(store),
    scan: (range: Parameters<BenchStore['scan']>[0], visit: Parameters<BenchStore['scan']>[1]) =>
      store.scan(range, (key, value) => visit(key, ++rows === 17 ? spoiled(value) : value)),
  };
}

/** Methods that may use private fields of a class. */
function bound(store: BenchStore): BenchStore {
  return {
    get: (key) => store.get(key),
    put: (key, value) => store.put(key, value),
    write: (puts) => store.write(puts),
    delete: (key) => store.delete(key),
    compact: () => store.compact(),
    scan: (range, visit) => store.scan(range, visit),
    flush: () => store.flush(),
    close: () => store.close(),
  };
}

function spoiled(value: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(value);
  copy[copy.length >> 1] = (copy[copy.length >> 1] as number) ^ 1;
  return copy;
}

test('each class of each store has its settings with sources, or says why there is none; the README has all', (t) => {
  const readme = readFileSync('benchmarks/stores/README.md', 'utf8').replaceAll(/\s+/g, ' ').replaceAll('`', '');
  for (const name of FIELD) {
    for (const durability of DURABILITY_CLASSES) {
      const gap = gapOf(name, durability);
      const settings = settingsOf(name, durability);
      t.is(gap === null, settings.length > 0, `${name} ${durability}`);
      if (gap !== null) t.true(readme.includes(gap), `${name} ${durability}: ${gap}`);
      for (const { text, source } of settings) {
        t.true(readme.includes(text), `${name}: ${text}`);
        t.true(readme.includes(source), `${name}: ${source}`);
      }
    }
  }
});

test('a class that a store has nothing for is refused, and so is one that there is not', async (t) => {
  const wrong: readonly (readonly [string, DurabilityClass | 'always', RegExp])[] = [
    ['rocksdb-native', 'flushed', /rocksdb-native has no durability class 'flushed': its writes cannot be synced/],
    ['lmdb', 'always', /durability=always: expected none, written, flushed/],
  ];
  for (const [name, durability, message] of wrong) {
    let err = '';
    const args = ['load', name, '-P', 'benchmarks/workloads/workloada', '-p', `durability=${durability}`];
    t.is(await cli(args, { out: () => undefined, err: (text) => (err += text) }), 2);
    t.regex(err, message);
  }
});

whereInstalled('lmdb')('the program says which version and settings it measured, and wants a load first', async (t) => {
  await inDirectory(async (directory) => {
    const args = (kind: string): string[] => [
      kind,
      'lmdb',
      '-P',
      'benchmarks/workloads/workloadc',
      '-p',
      `lmdb.path=${join(directory, 'store')}`,
      '-p',
      'durability=written',
      '-p',
      'dataintegrity=true',
    ];
    let err = '';
    const output = { out: () => undefined, err: (text: string) => (err += text) };
    t.is(await cli(args('run'), output), 2);
    t.regex(err, /load lmdb first/);
    t.is(await cli(args('load'), output), 0, err);
    t.is(await cli(args('run'), output), 0, err);
    t.true(err.includes(`lmdb ${versionOf('lmdb')}, durability=written: overlappingSync: true`), err);
  });
});
