/**
 * Stores where direct I/O is refused, unwanted or absent: what they stand on, what they say of it, and that it is one format with
 * one lock. The portable platform of this system, and of Windows and macOS as far as fakes can have them.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';
import test from 'ava';
import { Random, SystemCallError } from '@aiokv/core';
import { foreignInterface, linuxPlatform, localPlatform, portablePlatform } from '@aiokv/aio';
import type { Platform } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store, StoreOptions } from '@aiokv/kv';
import { macos, windows } from '../aio/hosts.ts';
import { run } from '../helpers/mount.ts';
import { seedOf } from '../helpers/seed.ts';
import { skipWhere } from '../helpers/skip.ts';

const OPENING = { segmentBytes: 64 * 1024, queueDepth: 16, memoryBytes: 2 * 1024 * 1024 };
const withForeignFunctions = skipWhere(
  foreignInterface() === undefined ? 'there is no foreign-function interface' : null,
  test.serial,
);

async function inDirectory(use: (directory: string) => Promise<void>): Promise<void> {
  const parent = await mkdtemp(resolve('.tmp-direct-io-'));
  try {
    await use(join(parent, 'store'));
  } finally {
    await rm(parent, { recursive: true, force: true });
  }
}

/** What is warned of meanwhile. */
async function warnings(during: () => Promise<void>): Promise<string[]> {
  const heard: string[] = [];
  const hear = (warning: Error & { code?: string }): void => {
    if (warning.code === 'AIOKV_NO_DIRECT_IO') heard.push(warning.message);
  };
  process.on('warning', hear);
  await during();
  // A warning is told in a later turn.
  await new Promise((told) => setImmediate(told));
  process.off('warning', hear);
  return heard;
}

/** A file system that refuses O_DIRECT when a file is opened, as the Linux platform tells it. */
function refusing(platform: Platform): Platform {
  return {
    ...platform,
    open: async (path, options) => {
      if (options?.direct === 'never') return platform.open(path, options);
      // As Linux: the file is made all the same.
      await (await platform.open(path, options)).close();
      if (options?.create === true) await platform.remove(path);
      throw Object.assign(new Error('refused'), { code: 'ERR_AIOKV_NO_DIRECT_IO' });
    },
  };
}

/** One that takes O_DIRECT, and refuses each request. */
function refusingRequests(platform: Platform): Platform {
  return {
    ...platform,
    createEngine: (options) => {
      const engine = platform.createEngine(options);
      if (options.engine === 'threads') return engine;
      return new Proxy(engine, {
        get: (target, name) => {
          if (name === 'submit') return () => -constants.errno.EINVAL;
          const value: unknown = Reflect.get(target, name, target);
          return typeof value === 'function' ? (value.bind(target) as unknown) : value;
        },
        set: (target, name, value) => Reflect.set(target, name, value, target),
      });
    },
  };
}

for (const [how, wrap] of [
  ['files', refusing],
  ['requests', refusingRequests],
] as const) {
  withForeignFunctions(
    `auto: where O_DIRECT is refused for ${how}, a store is made and opened, with one warning`,
    (t) =>
      inDirectory(async (directory) => {
        const platform = wrap(linuxPlatform());
        const heard = await warnings(async () => {
          for (const value of ['one', 'two']) {
            const store = await open(directory, { ...OPENING, platform });
            t.like(store.statistics().io, { isDirect: false, platform: 'linux', engine: 'threads' });
            t.regex(store.statistics().io.reason ?? '', /refuses direct I\/O/u);
            await store.put(value, value);
            await store.close();
          }
        });
        // The reason is the same in both ways, and told once.
        t.true(heard.length <= 1);
        if (how === 'files') t.regex(heard[0] ?? '', /data\.aiokv goes through the page cache.*directIo: 'require'/u);
        const store = await open(directory, OPENING);
        t.like(store.statistics().io, { isDirect: true, engine: 'libaio', reason: null });
        t.deepEqual((await store.getMany(['one', 'two'])).map(String), ['one', 'two']);
        await store.close();
      }),
  );

  withForeignFunctions(`require: where O_DIRECT is refused for ${how}, nothing is made`, (t) =>
    inDirectory(async (directory) => {
      const platform = wrap(linuxPlatform());
      const error = await t.throwsAsync(open(directory, { ...OPENING, platform, directIo: 'require' }));
      t.is((error as { code?: string }).code, how === 'files' ? 'ERR_AIOKV_NO_DIRECT_IO' : 'ERR_AIOKV_IO');
      t.deepEqual(await readdir(directory), []);
    }),
  );
}

test.serial('auto: another failure of an opening is not tried again', (t) =>
  inDirectory(async (directory) => {
    let opened = 0;
    const platform: Platform = {
      ...localPlatform(),
      open: () => {
        opened++;
        return Promise.reject(new SystemCallError('open', constants.errno.EIO));
      },
    };
    await t.throwsAsync(open(directory, { ...OPENING, platform }), { code: 'ERR_AIOKV_IO' });
    t.is(opened, 1);
  }),
);

test.serial('off and the portable platform say nothing, and require refuses the latter', (t) =>
  inDirectory(async (directory) => {
    const heard = await warnings(async () => {
      for (const options of [{ directIo: 'off' }, { platform: portablePlatform() }] as const) {
        const store = await open(directory, { ...OPENING, ...options });
        t.like(store.statistics().io, { isDirect: false, engine: 'threads', reason: 'it was asked for' });
        await store.close();
      }
    });
    t.deepEqual(heard, []);
    const refused = { ...OPENING, platform: portablePlatform(), directIo: 'require' } as const;
    await t.throwsAsync(open(directory, refused), { code: 'ERR_AIOKV_NO_DIRECT_IO' });
  }),
);

/** The ways to a store on this machine. */
const WAYS: Readonly<Record<string, () => Partial<StoreOptions>>> = {
  default: () => ({}),
  'page cache': () => ({ directIo: 'off' }),
  portable: () => ({ platform: portablePlatform() }),
  windows: () => ({ platform: windows() }),
  macos: () => ({ platform: macos() }),
};

test.serial(
  'one format: a store that is opened in one way after the other has everything, also after a compaction',
  (t) =>
    inDirectory(async (directory) => {
      const random = new Random(seedOf('AIOKV_WAYS_SEED', 11));
      const expected = new Map<string, string>();
      for (let round = 0; round < 3; round++) {
        for (const [name, way] of Object.entries(WAYS)) {
          const store: Store = await open(directory, { ...OPENING, ...way() });
          for (let n = 0; n < 300; n++) {
            const key = `key${100 + random.below(500)}`;
            const value = `${name} ${round} ${n} `.repeat(1 + random.below(40));
            if (random.below(5) === 0) {
              expected.delete(key);
              void store.del(key);
            } else {
              expected.set(key, value);
              void store.put(key, value);
            }
          }
          await store.flush();
          if (random.below(2) === 0) await store.checkpoint();
          if (random.below(3) === 0) await store.compact();
          const found: string[] = [];
          for await (const [key, value] of store.iterator()) found.push(`${key.toString()}=${value.toString()}`);
          t.deepEqual(found, [...expected].map(([key, value]) => `${key}=${value}`).sort(), `${name} ${round}`);
          store.verifyIndex();
          await store.close();
        }
      }
      t.deepEqual(await readdir(directory), ['data.aiokv']);
    }),
);

test.serial('one lock: whichever way a store is open, it is refused in every way of this system', (t) =>
  inDirectory(async (directory) => {
    const ways = Object.entries(WAYS).filter(([name]) => name !== 'windows' && name !== 'macos');
    for (const [, way] of ways) {
      const store = await open(directory, { ...OPENING, ...way() });
      for (const [, other] of ways) {
        await t.throwsAsync(open(directory, { ...OPENING, ...other() }), { code: 'ERR_AIOKV_LOCKED' });
      }
      await store.close();
    }
  }),
);

for (const [name, make] of [
  ['windows', windows],
  ['macos', macos],
] as const) {
  test.serial(
    `as on ${name}: a store is made once, its lock holds, notes and files of dead creators come and go`,
    (t) =>
      inDirectory(async (directory) => {
        const platform = make();
        await platform.makeDirectory(directory);
        await writeFile(join(directory, 'data.aiokv.new-0123456789abcdef'), 'of a creator that was killed');
        await writeFile(join(directory, '.aiokv-lock-1'), '');
        const options = { ...OPENING, platform };
        const openings = await Promise.allSettled([1, 2, 3].map(() => open(directory, options)));
        const stores = openings.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
        t.is(stores.length, 1, String(openings.map((each) => (each.status === 'rejected' ? each.reason : 'open'))));
        const store = stores[0] as Store;
        await t.throwsAsync(open(directory, options), { code: 'ERR_AIOKV_LOCKED', message: /this process/u });
        for (let n = 0; n < 600; n++) void store.put(`key${n}`, 'a value of more than 24 bytes'.repeat(3));
        await store.flush();
        for (let round = 0; round < 3; round++) for (let n = 0; n < 600; n++) await store.get(`key${n}`);
        await store.close();
        const names = (): Promise<string[]> => readdir(directory).then((all) => all.sort());
        // A file that is open keeps all its names there; the next opening has only one of them open.
        const kept =
          name === 'windows' ? (await names()).filter((each) => each.startsWith('data.aiokv.new')).length : 0;
        t.true(kept <= 1);
        const again = await open(directory, options);
        t.is((await again.getMany(['key0', 'key599'])).filter((value) => value !== undefined).length, 2);
        await again.close();
        t.deepEqual(
          (await names()).filter((each) => !each.startsWith('data.aiokv.new')),
          ['.aiokv-lock-1', 'data.aiokv', 'data.aiokv.hot'],
        );
      }),
  );
}

test.serial(
  'AIOKV_FFI=none: a program finds its store on the portable platform, and what requires more says why',
  (t) =>
    inDirectory((directory) => {
      const program = `
      import { open } from '@aiokv/kv';
      const store = await open(${JSON.stringify(directory)});
      await store.put('a', 'b');
      console.log(String(await store.get('a')), JSON.stringify(store.statistics().io));
      await store.close();
      await open(${JSON.stringify(directory)}, { directIo: 'require' }).catch((error) => console.log(error.code));`;
      const args = [...process.execArgv, '--input-type=module', '--eval', program];
      const env = { ...process.env, AIOKV_FFI: 'none' };
      const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000, env });
      const [first = '', second] = stdout.split('\n');
      t.regex(
        first,
        /^b \{"isDirect":false,"platform":"portable","engine":"threads","reason":"no foreign-function/u,
        stderr,
      );
      t.is(second, 'ERR_AIOKV_FFI_UNAVAILABLE');
      t.regex(stderr, /AIOKV_NO_DIRECT_IO/u);
      return Promise.resolve();
    }),
);

/** A file system of Linux that has no direct I/O: ext4 with all data in its journal. */
function withJournaledData(use: (directory: string) => void): string | null {
  if (process.getuid?.() !== 0) return 'only root mounts';
  const place = mkdtempSync(resolve('.tmp-journaled-'));
  const [image, directory] = [join(place, 'image'), join(place, 'mounted')];
  try {
    writeFileSync(image, '');
    truncateSync(image, 32 * 2 ** 20);
    mkdirSync(directory);
    const why = run('mkfs.ext4', '-q', image) ?? run('mount', '-o', 'loop,data=journal', image, directory);
    if (why !== null) return why;
    try {
      use(directory);
    } finally {
      run('umount', directory);
    }
    return null;
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

const whyNoJournal = foreignInterface() === undefined ? 'there is no FFI' : withJournaledData(() => undefined);
skipWhere(whyNoJournal, test.serial)('a real file system without direct I/O: ext4 with data=journal', (t) => {
  withJournaledData((directory) => {
    const program = `
      import { open } from '@aiokv/kv';
      const path = ${JSON.stringify(join(directory, 'store'))};
      for (let n = 0; n < 2; n++) {
        const store = await open(path, { segmentBytes: 65536, memoryBytes: 2097152 });
        await store.put('key' + n, 'value'.repeat(100));
        console.log(store.statistics().io.isDirect, store.statistics().io.platform, store.statistics().io.engine);
        await store.close();
      }
      await open(path, { directIo: 'require' }).catch((error) => console.log(error.code));`;
    const args = [...process.execArgv, '--input-type=module', '--eval', program];
    const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 });
    t.is(stdout, 'false linux threads\nfalse linux threads\nERR_AIOKV_NO_DIRECT_IO\n', stderr);
    t.is(stderr.match(/AIOKV_NO_DIRECT_IO\]/gu)?.length, 1, stderr);
  });
});
