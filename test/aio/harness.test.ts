/**
 * The conformance tests of the libaio project's own harness (harness/cases/*.t), carried over. The numbers of its cases,
 * as they stand in our titles, and where each is:
 *
 * | case                                 | raw calls                         | queue, every engine |
 * |--------------------------------------|-----------------------------------|---------------------|
 * | 2 errors of io_setup                 | raw.test.ts, harness-raw.ts       |                     |
 * | 3 errors of io_submit                | raw.test.ts, harness-raw.ts       |                     |
 * | 4 wrong modes, offsets, end of file  | raw.test.ts                       | harness.ts          |
 * | 7 RLIMIT_FSIZE                       |                                   | here                |
 * | 10 no space left                     |                                   | here                |
 * | 11 a million writes and reads        |                                   | harness.ts          |
 * | 13 8 x 1 MiB in one call             | raw.test.ts                       | harness.ts          |
 * | 14 exit with requests in flight      |                                   | here                |
 * | 15 preadv, pwritev                   | raw.test.ts                       | harness.ts          |
 * | 16 eventfd                           | harness-raw.ts                    |                     |
 * | 17 ring overfilled                   | raw.test.ts, harness-raw.ts       |                     |
 * | 18 memory after io_destroy           | raw.test.ts                       | lifetime.test.ts    |
 * | 21 NOWAIT                            |                                   | harness.ts          |
 * | 22 poll                              | raw.test.ts                       | harness.ts          |
 *
 * The other cases of that harness are about C: its headers, its symbol versions, alignment of its structures.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { linuxPlatform, requireForeignInterface } from '@aiokv/aio';
import type { EngineName } from '@aiokv/aio';
import test from 'ava';
import { systemwideAioNr } from './footprint.ts';
import { rawHarness } from './harness-raw.ts';
import { harness } from './harness.ts';
import type { HarnessEngine } from './harness.ts';
import { isLoadable } from './loadable.ts';
import { knowsNowait } from './nowait-available.ts';
import { PlainTree } from './plain-tree.ts';
import type { Ended } from './plain-tree.ts';
import { whyNoUring } from './uring-available.ts';

const BLOCK = 4096;
const MIB = 1 << 20;
const REQUESTS = process.env['AIOKV_LONG'] === '1' ? 1_000_000 : 100_000;

interface Listed {
  readonly engine: EngineName;
  readonly nowait: boolean;
  readonly poll: boolean;
  /** Requests of the case that looks for leaks. */
  readonly requests: number;
  /** Why it cannot be had here, or null. */
  readonly whyNot: (ffi: 'ffi-napi' | 'koffi') => string | null;
}

const NOWAIT = await knowsNowait();

/** One entry for each engine of this system. */
const ENGINES: readonly Listed[] = [
  { engine: 'libaio', nowait: NOWAIT, poll: true, requests: REQUESTS, whyNot: () => null },
  { engine: 'io_uring', nowait: NOWAIT, poll: true, requests: REQUESTS, whyNot: whyNoUring },
  { engine: 'posix', nowait: false, poll: false, requests: REQUESTS / 5, whyNot: () => null },
  { engine: 'threads', nowait: false, poll: false, requests: REQUESTS, whyNot: () => null },
];

const AVAILABLE = ENGINES.filter(({ whyNot }) => whyNot('koffi') === null).map(({ engine }) => engine);

let tree: PlainTree;
let directory: string;

test.before(async () => {
  tree = await PlainTree.make(['harness-child', 'footprint']);
  directory = await mkdtemp(resolve('.tmp-harness-'));
});

test.after.always(async () => {
  await tree.remove();
  await rm(directory, { recursive: true, force: true });
});

for (const ffi of ['koffi', 'ffi-napi'] as const) {
  if (!isLoadable(ffi)) {
    test.skip(`${ffi} is not installed here, which needs a C++ toolchain`, () => undefined);
    continue;
  }
  for (const useLibaio of [true, false]) {
    rawHarness(test, `${ffi}, ${useLibaio ? 'libaio' : 'system calls'}`, requireForeignInterface(ffi), useLibaio);
  }
  for (const { whyNot, ...listed } of ENGINES) {
    const why = whyNot(ffi);
    if (why !== null) test.skip(`${listed.engine}, ${ffi}: ${why}`, () => undefined);
    // The interface matters to the engines that go through it for each request.
    const isCounted = ffi === 'koffi' || listed.engine === 'libaio';
    const entry: HarnessEngine = {
      ...listed,
      name: `${listed.engine}, ${ffi}`,
      platform: linuxPlatform({ ffi }),
      requests: isCounted ? listed.requests : 0,
    };
    if (why === null) harness(test, entry);
  }
}
harness(test, {
  name: 'libaio, system calls',
  engine: 'libaio',
  platform: linuxPlatform({ useLibaio: false, forceSyscalls: true }),
  nowait: NOWAIT,
  poll: true,
  requests: 0,
});

/** Runs a case of harness-child.ts; it has to end well, and silently. */
function run(name: string, engine: EngineName, path: string, size: number, prefix: string[] = []): Promise<Ended> {
  return tree.run('harness-child', [name, engine, path, String(size)], { prefix });
}

for (const engine of AVAILABLE) {
  test(`${engine}: a file that may not grow takes what fits, then EFBIG (7)`, async (t) => {
    const limit = 16 * BLOCK;
    // `ulimit` counts in blocks of 512 bytes.
    const prefix = ['sh', '-c', `ulimit -f ${limit / 512} && exec "$@"`, 'sh'];
    const { stdout, stderr, code } = await run('fileSize', engine, join(directory, `limit-${engine}`), limit, prefix);
    t.deepEqual([code, stderr], [0, ''], stdout);
    t.deepEqual(JSON.parse(stdout), { across: 2 * BLOCK, behind: 'EFBIG', within: BLOCK, sizeBytes: limit });
  });

  test(`${engine}: the process exits with 128 reads in flight, at once and silently (14)`, async (t) => {
    const path = join(directory, `exit-${engine}`);
    await writeFile(path, new Uint8Array(8 * MIB));
    const { stdout, stderr, code, signal } = await run('exit', engine, path, 0);
    t.deepEqual([code, signal, stderr], [7, null, '']);
    const report = JSON.parse(stdout) as { inFlight: number; aioNr: number };
    t.is(report.inFlight, 128);
    if (engine !== 'libaio') return;
    // The kernel gives the context back, and with it 4001 requests; others may come and go meanwhile.
    for (let attempt = 0; attempt < 200 && systemwideAioNr() > report.aioNr - 2000; attempt++) await sleep(50);
    t.true(systemwideAioNr() <= report.aioNr - 2000, `${report.aioNr} before, ${systemwideAioNr()} after`);
  });
}

/** A way to a small file system that goes with the process: a mount in a namespace of its own. */
interface SmallFs {
  readonly kind: string;
  readonly prefix: (image: string, mountPoint: string) => string[];
}

const SMALL_FS: readonly SmallFs[] = [
  {
    kind: 'ext4 on a loop device',
    prefix: (image, mountPoint) => [
      'unshare',
      '--mount',
      '--propagation=private',
      'sh',
      '-c',
      `truncate -s 4M ${image} && mkfs.ext4 -q -O ^has_journal ${image} && mkdir -p ${mountPoint} && ` +
        `mount -o loop ${image} ${mountPoint} && exec "$@"`,
      'sh',
    ],
  },
  {
    kind: 'tmpfs',
    prefix: (_, mountPoint) => [
      'unshare',
      '--map-root-user',
      '--mount',
      '--propagation=private',
      'sh',
      '-c',
      `mkdir -p ${mountPoint} && mount -t tmpfs -o size=2m small ${mountPoint} && exec "$@"`,
      'sh',
    ],
  },
];

/** The first kind that can be had, or why the last could not. */
function smallFs(): SmallFs | string {
  let why = '';
  const probe = mkdtempSync(resolve('.tmp-mount-'));
  try {
    for (const kind of SMALL_FS) {
      const [command, ...args] = kind.prefix(join(probe, 'image'), join(probe, 'at')) as [string, ...string[]];
      const { status, stderr, error } = spawnSync(command, [...args, 'true'], { encoding: 'utf8' });
      if (status === 0) return kind;
      why = (error?.message ?? stderr).trim().split('\n')[0] ?? '';
    }
    return why;
  } finally {
    rmSync(probe, { recursive: true, force: true });
  }
}

const small = smallFs();
for (const engine of AVAILABLE) {
  const title = `${engine}: a full file system takes what fits, then ENOSPC (10)`;
  if (typeof small === 'string') {
    test.skip(`${title}; no small file system can be mounted here: ${small}`, () => undefined);
    continue;
  }
  test(`${title}, ${small.kind}`, async (t) => {
    const mountPoint = join(directory, `at-${engine}`);
    const prefix = small.prefix(join(directory, `image-${engine}`), mountPoint);
    const { stdout, stderr, code } = await run('space', engine, join(mountPoint, 'data'), 0, prefix);
    t.deepEqual([code, stderr], [0, ''], stdout);
    const report = JSON.parse(stdout) as Record<string, unknown>;
    t.true((report['writtenBytes'] as number) > MIB / 2, stdout);
    t.like(report, { last: 'ENOSPC', readBack: BLOCK, isIntact: true, again: BLOCK });
  });
}
