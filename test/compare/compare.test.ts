/** The comparison with other engines: its arguments, its records, what it makes of rounds, and one run of ours. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import test from 'ava';
import { MIB } from '@aiokv/core';
import { memoryMount } from '../../benchmarks/meters/cgroup.ts';
import { LoopMeter } from '../../benchmarks/meters/loop-meter.ts';
import { UsageError } from '../../benchmarks/common/arguments.ts';
import { parseOptions, usage } from '../../benchmarks/compare/options.ts';
import { Records } from '../../benchmarks/compare/records.ts';
import { formatTable, rowsOf } from '../../benchmarks/compare/report.ts';
import type { Figures, Row } from '../../benchmarks/compare/report.ts';
import { fromSource } from '../helpers/from-source.ts';

const NODE_ARGUMENTS = fromSource('benchmarks/compare/main.ts');

test('without arguments: four million records, 1 GiB, every engine', (t) => {
  t.deepEqual(parseOptions([]), {
    engines: ['aiokv', 'aiokv-puts', 'rocksdb', 'classic-level', 'lmdb'],
    phase: 'load',
    records: 4_000_000,
    valueBytes: 1000,
    batch: 1000,
    writers: 1,
    readers: 128,
    seconds: 10,
    isInOrder: false,
    scanRecords: 0,
    reverse: false,
    compact: false,
    memoryBytes: 1024 * MIB,
    rounds: 3,
    directory: '.tmp-compare',
    limitMinutes: 60,
    json: false,
  });
});

test('wrong arguments are named, with what they take', (t) => {
  for (const [args, message] of [
    ['--records 0', /--records takes a whole number from 1 to 2147483648, not '0'/],
    ['--records 4G', /--records takes/],
    ['--engines aiokv,mysql', /--engines takes aiokv, .* not 'mysql'/],
    ['--memory 1M', /--memory takes a size from 64M/],
    ['--phase write', /--phase takes load, read, scan/],
    ['--order last', /--order takes random, key/],
    ['--depth 3', /--help/],
  ] as const) {
    t.throws(() => parseOptions(args.split(' ')), { instanceOf: UsageError, message }, args);
  }
  t.is(parseOptions(['--help']), 'help');
  t.regex(usage(), /--no-cgroup/);
});

test('keys differ, have 24 bytes and come in an order that is not theirs; values are found again', (t) => {
  const records = new Records(100);
  const keys = Array.from({ length: 20_000 }, (_, n) => records.key(n).toString());
  t.is(new Set(keys).size, keys.length);
  t.true(keys.every((key) => /^user\d{20}$/.test(key)));
  const ascending = keys.filter((key, i) => i > 0 && key > (keys[i - 1] as string)).length;
  t.true(ascending > 0.45 * keys.length && ascending < 0.55 * keys.length, `${ascending} ascend`);
  const [put] = records.puts(7, 1);
  t.is(put?.key.toString(), keys[7]);
  t.true(records.isValue(7, put?.value));
  t.false(records.isValue(8, put?.value));
  t.false(records.isValue(7, undefined));
});

test('the memory controller is found in either version of cgroups', (t) => {
  const one =
    '30 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n' +
    '31 25 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n' +
    '34 25 0:29 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n';
  t.deepEqual(memoryMount(one), { version: 1, path: '/sys/fs/cgroup/memory' });
  const two = '29 22 0:25 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n';
  t.deepEqual(memoryMount(two), { version: 2, path: '/sys/fs/cgroup' });
  t.is(memoryMount('22 1 8:1 / / rw - ext4 /dev/sda1 rw\n'), null);
});

test('a loop that is held is seen as late, and as its own fault', async (t) => {
  const meter = new LoopMeter();
  await new Promise((resolve) => setTimeout(resolve, 10));
  const untilMs = performance.now() + 80;
  while (performance.now() < untilMs);
  await new Promise((resolve) => setTimeout(resolve, 10));
  const { driftMaxMs, ownMaxMs } = meter.stop();
  t.true(driftMaxMs >= 70, String(driftMaxMs));
  t.true(ownMaxMs > 0 && ownMaxMs <= driftMaxMs, String(ownMaxMs));
});

test('ratios are of rounds, and a round without an engine does not count for it', (t) => {
  const at = (perSecond: number): Figures => ({
    perSecond,
    seconds: 1,
    cpuSeconds: 1,
    driftP99Ms: 1,
    driftMaxMs: 2,
    ownP99Ms: 1,
    ownMaxMs: 2,
    writtenBytes: MIB,
    peakRssBytes: MIB,
    peakCgroupBytes: null,
    closeSeconds: 0,
    spaceBytes: MIB,
  });
  const rows = rowsOf(
    new Map([
      ['aiokv', [at(100), at(300), at(200)]],
      ['rocksdb', [at(50), undefined, at(50)]],
      ['lmdb', []],
    ]),
    'load',
  );
  t.deepEqual(
    rows.map(({ engine, rounds, perSecond, aiokvTimes }) => ({ engine, rounds, perSecond, aiokvTimes })),
    [
      { engine: 'aiokv', rounds: 3, perSecond: 200, aiokvTimes: 1 },
      { engine: 'rocksdb', rounds: 2, perSecond: 50, aiokvTimes: 3 },
    ],
  );
  t.regex(formatTable(rows), /rocksdb +load +50 +3\.00 x/);
});

// Waits in the thread for its process, and so has it to itself.
for (const phase of ['read', 'scan']) {
  test.serial(`a run of ours loads, checks, and goes on to ${phase}; it leaves nothing behind`, async (t) => {
    const directory = await mkdtemp(resolve('.tmp-compare-test-'));
    try {
      const scan = phase === 'scan' ? '--order key --reverse --compact ' : '';
      const args = `--engines aiokv,aiokv-puts --records 3000 --rounds 1 --phase ${phase} ${scan}--seconds 1 --no-cgroup --json`;
      const stores = join(directory, 'stores');
      const ran = spawnSync(process.execPath, [...NODE_ARGUMENTS, ...args.split(' '), '--directory', stores], {
        encoding: 'utf8',
        timeout: 120_000,
      });
      t.is(ran.status, 0, ran.stderr);
      const { rows, failures } = JSON.parse(ran.stdout) as { rows: Row[]; failures: unknown[] };
      t.deepEqual(failures, []);
      t.deepEqual(
        rows.map(({ engine, phase }) => `${engine} ${phase}`),
        ['aiokv load', 'aiokv-puts load', `aiokv ${phase}`, `aiokv-puts ${phase}`],
      );
      t.true(rows.every(({ perSecond, peakCgroupBytes }) => perSecond > 0 && peakCgroupBytes === null));
      t.false(existsSync(stores));
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });
}
