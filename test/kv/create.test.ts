/**
 * The creation of a store: two creators of one directory, a creator that is killed at each step, and what it leaves.
 * AIOKV_CREATE_RACES says how many races of two openers in one process are run, AIOKV_CREATE_ROUNDS how many of four
 * processes, AIOKV_CREATE_SEEDS how many on the simulated disk.
 */
import { fork, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { Random } from '@aiokv/core';
import { SimulatedDisk, localPlatform } from '@aiokv/aio';
import type { Platform } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import { OPENING } from './creation/opener.ts';
import type { Report } from './creation/opener.ts';
import { counting } from './creation/steps.ts';

const RACES = Number(process.env['AIOKV_CREATE_RACES'] ?? 100);
const ROUNDS = Number(process.env['AIOKV_CREATE_ROUNDS'] ?? 15);
const SEEDS = Number(process.env['AIOKV_CREATE_SEEDS'] ?? 1000);
const opener = fileURLToPath(new URL('./creation/opener.ts', import.meta.url));

async function inDirectory(use: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(resolve('.tmp-create-'));
  try {
    await use(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Opens, and says at once who it is: what it says has been flushed. */
async function openAs(who: string, directory: string, options: object): Promise<Store> {
  const store = await open(directory, { ...OPENING, ...options });
  await store.put('who', who);
  return store;
}

/** Exactly one of the openers has the store, the others were told so, and what the one has flushed is there. */
async function requireOneWinner(
  t: ExecutionContext,
  directory: string,
  platform: Platform,
  results: readonly PromiseSettledResult<Store>[],
  race: string,
): Promise<void> {
  const winners = results.flatMap((result, i) => (result.status === 'fulfilled' ? [{ store: result.value, i }] : []));
  for (const result of results) {
    if (result.status === 'rejected') t.is((result.reason as { code: string }).code, 'ERR_AIOKV_LOCKED', race);
  }
  t.is(winners.length, 1, race);
  for (const { store } of winners) await store.close();
  const store = await open(directory, { ...OPENING, platform, createIfMissing: false });
  t.is((await store.get('who'))?.toString(), String(winners[0]?.i), race);
  await store.close();
  t.deepEqual(await platform.list(directory), ['data.aiokv'], race);
}

test('CREATE-1: of two openers in one process, moments apart, one has the store and the other is refused', (t) =>
  inDirectory(async (place) => {
    t.timeout(300_000 + RACES * 1000);
    const platform = localPlatform();
    for (let race = 0; race < RACES; race++) {
      const directory = join(place, String(race));
      const results = await Promise.allSettled([
        openAs('0', directory, { platform }),
        delay(race % 11).then(() => openAs('1', directory, { platform })),
      ]);
      await requireOneWinner(t, directory, platform, results, `race ${race}`);
      await rm(directory, { recursive: true });
    }
  }));

test('CREATE-1: of three openers on the simulated disk, at random moments, one has the store and the others are refused', async (t) => {
  t.timeout(120_000 + SEEDS * 100);
  for (let seed = 1; seed <= SEEDS; seed++) {
    const platform = new SimulatedDisk({ seed });
    const random = new Random(seed);
    const openLater = async (who: number): Promise<Store> => {
      for (let turns = random.below(60); turns > 0; turns--) await nextTurn();
      return openAs(String(who), '/store', { platform });
    };
    const results = await Promise.allSettled([0, 1, 2].map(openLater));
    await requireOneWinner(t, '/store', platform, results, `seed ${seed}`);
  }
});

test('CREATE-1: of four processes one has the store and the others are refused', (t) =>
  inDirectory(async (place) => {
    t.timeout(300_000 + ROUNDS * 5000);
    const children = Array.from({ length: 4 }, () => fork(opener));
    const replyOf = async (child: ChildProcess): Promise<Report> => ((await once(child, 'message')) as [Report])[0];
    try {
      await Promise.all(children.map(replyOf));
      for (let round = 0; round < ROUNDS; round++) {
        const directory = join(place, String(round));
        const replies = children.map(replyOf);
        children.forEach((child, i) => child.send({ directory, who: String(i), delayMs: (round * i) % 7 }));
        const reports = await Promise.all(replies);
        const winner = reports.findIndex(({ code }) => code === null);
        const codes = reports.map(({ code }) => code ?? 'won').sort();
        t.deepEqual(codes, [...new Array<string>(3).fill('ERR_AIOKV_LOCKED'), 'won'], `round ${round}`);
        const closed = children.map(replyOf);
        for (const child of children) child.send('close');
        await Promise.all(closed);
        const store = await open(directory, { ...OPENING, createIfMissing: false });
        t.is((await store.get('who'))?.toString(), String(winner), `round ${round}`);
        await store.close();
        t.deepEqual(await readdir(directory), ['data.aiokv']);
        await rm(directory, { recursive: true });
      }
    } finally {
      for (const child of children) child.kill();
    }
  }));

test('a creator that is killed at any step leaves nothing that the next opening does not mend', (t) =>
  inDirectory(async (place) => {
    t.timeout(300_000);
    let steps = 0;
    for (let isDone = false; !isDone; steps++) {
      const directory = join(place, String(steps));
      const { signal, stdout, stderr } = spawnSync(
        process.execPath,
        [...process.execArgv, opener, directory, String(steps)],
        { encoding: 'utf8', timeout: 60_000 },
      );
      isDone = stdout === 'opened\n';
      if (!isDone) t.is(signal, 'SIGKILL', stderr);
      const store = await open(directory, OPENING);
      t.is(store.statistics().sequence, 0, `step ${steps}`);
      await store.put('a', 'b');
      await store.close();
      t.deepEqual(await readdir(directory), ['data.aiokv'], `step ${steps}`);
    }
    t.true(steps > 10, `${steps} steps`);
  }));

test('a power cut at any step of a creation leaves nothing that the next opening does not mend', async (t) => {
  t.timeout(120_000);
  for (const mode of ['none', 'all', 'subset', 'torn'] as const) {
    for (let seed = 1; seed <= 5; seed++) {
      const disk = new SimulatedDisk({ seed });
      const images: SimulatedDisk[] = [];
      let cuts = 0;
      const random = new Random(seed);
      const cut = (): void => {
        const image = disk.powerCut(mode, random);
        cuts++;
        // Most cuts leave what one before has left.
        if (!images.some((earlier) => earlier.holdsSame(image))) images.push(image);
      };
      disk.onOperation = cut;
      const store = await open('/store', { ...OPENING, platform: counting(disk, cut) });
      disk.onOperation = undefined;
      await store.close();
      t.true(cuts > 30 && images.length > 5, `${images.length} images of ${cuts} cuts`);
      for (const [step, image] of images.entries()) {
        const again = await open('/store', { ...OPENING, platform: image });
        await again.put('a', 'b');
        await again.close();
        t.deepEqual(await image.list('/store'), ['data.aiokv'], `${mode}, seed ${seed}, step ${step}`);
      }
    }
  }
});

test('CREATE-4, CREATE-5: the order of what makes a store durable', async (t) => {
  const calls: string[] = [];
  const platform = counting(new SimulatedDisk({ seed: 1 }), (call) => void calls.push(call));
  await (await open('/store', { ...OPENING, platform })).close();
  const wanted = ['makeDirectory', 'open', 'lock', 'preallocate', 'sync', 'linkTo', 'syncDirectory', 'remove'];
  t.deepEqual(
    calls.filter((call) => wanted.includes(call)),
    // The last asks for what was hot.
    [...wanted, 'open'],
  );
});

test('creators that are killed again and again leave one file at most', (t) =>
  inDirectory(async (directory) => {
    const platform = localPlatform();
    for (let n = 0; n < 10; n++) {
      // As a process that is killed: nothing that it began is taken back, and its locks are gone.
      await writeFile(join(directory, `data.aiokv.new-${String(n).padStart(16, '0')}`), 'unfinished');
      const failing = counting(platform, (call) => {
        if (call === 'preallocate') throw new Error('stop');
      });
      await t.throwsAsync(open(directory, { ...OPENING, platform: failing }));
      t.deepEqual(await readdir(directory), []);
    }
    await writeFile(join(directory, 'data.aiokv.new'), 'of version 0.1');
    await (await open(directory, OPENING)).close();
    t.deepEqual(await readdir(directory), ['data.aiokv']);
  }));

test('the file of a creator at work is left alone, and goes when a store is there', (t) =>
  inDirectory(async (directory) => {
    const platform = localPlatform();
    const path = join(directory, 'data.aiokv.new-0123456789abcdef');
    const busy = await platform.open(path, { create: true });
    t.is(await busy.lock(), undefined);
    const failing = counting(platform, (call) => {
      if (call === 'linkTo') throw new Error('stop');
    });
    await t.throwsAsync(open(directory, { ...OPENING, platform: failing }), { code: 'ERR_AIOKV_IO' });
    t.deepEqual(await readdir(directory), ['data.aiokv.new-0123456789abcdef']);
    const store = await open(directory, OPENING);
    await store.close();
    await (await open(directory, OPENING)).close();
    t.deepEqual(await readdir(directory), ['data.aiokv']);
    await t.throwsAsync(busy.linkTo(join(directory, 'data.aiokv')), { code: 'ENOENT' });
    await busy.close();
  }));

test('a creator whose file was removed before it was locked begins again', async (t) => {
  const disk = new SimulatedDisk({ seed: 3 });
  let removals = 0;
  const platform = counting(disk, async (call) => {
    if (call !== 'lock' || removals === 2) return;
    removals++;
    for (const name of (await disk.list('/store')) ?? []) await disk.remove(`/store/${name}`);
  });
  await (await open('/store', { ...OPENING, platform })).close();
  t.is(removals, 2);
  t.deepEqual(await disk.list('/store'), ['data.aiokv']);
});

test('a creation by version 0.1, which replaces what is there, is waited out', async (t) => {
  const disk = new SimulatedDisk({ seed: 3 });
  await disk.makeDirectory('/store');
  const old = await disk.open('/store/data.aiokv.new', { create: true });
  await old.lock();
  await t.throwsAsync(open('/store', { ...OPENING, platform: disk }), { code: 'ERR_AIOKV_LOCKED' });
  await old.close();
  await (await open('/store', { ...OPENING, platform: disk })).close();
  t.deepEqual(await disk.list('/store'), ['data.aiokv']);
});

test('a second opening in one process is refused, and has no effect', (t) =>
  inDirectory(async (directory) => {
    const store = await open(directory, OPENING);
    for (let n = 0; n < 3; n++) {
      await t.throwsAsync(open(directory, OPENING), { code: 'ERR_AIOKV_LOCKED', message: /this process/u });
    }
    await store.put('a', 'b');
    await store.close();
    await (await open(directory, OPENING)).close();
  }));

test('files that systems and tools leave are no reason to refuse; others are named', (t) =>
  inDirectory(async (place) => {
    const harmless = ['.gitkeep', '.gitignore', '.keep', '.DS_Store', '._data', 'Thumbs.db', 'desktop.ini', '.nfs0001'];
    // Of a store whose data file was removed.
    harmless.push('data.aiokv.hot', 'data.aiokv.hot.new');
    const directory = join(place, 'harmless');
    await mkdir(join(directory, 'lost+found'), { recursive: true });
    await mkdir(join(directory, '.snapshot'));
    for (const name of harmless) await writeFile(join(directory, name), 'theirs');
    await (await open(directory, OPENING)).close();
    t.deepEqual((await readdir(directory)).length, harmless.length + 3);
    const other = join(place, 'other');
    await mkdir(other);
    for (const name of ['notes.txt', '.gitkeep']) await writeFile(join(other, name), 'mine');
    const error = await t.throwsAsync(open(other, OPENING), {
      code: 'ERR_AIOKV_NOT_A_STORE',
      message: /'notes\.txt':/u,
    });
    t.notRegex(error?.message ?? '', /gitkeep/u);
    for (const name of ['b', 'c', 'd', 'e']) await writeFile(join(other, name), 'mine');
    await t.throwsAsync(open(other, OPENING), { message: /'b', 'c', 'd', 2 more/u });
    t.is((await readdir(other)).length, 6);
  }));
