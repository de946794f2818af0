/** Results of a run, made of a seed: two stores, one that is not installed, one that failed. */
import { build, encodeIntoCompressedBase64 } from 'hdr-histogram-js';
import { Random } from '@aiokv/core';
import { QUICK } from '../../benchmarks/bench/plan.ts';
import type { PhaseKind } from '../../benchmarks/bench/plan.ts';
import { FORMAT, FORMAT_VERSION, checked } from '../../benchmarks/bench/result.ts';
import type { BenchResult, Latencies, PhaseResult } from '../../benchmarks/bench/result.ts';

export function resultOf(seed: number): BenchResult {
  const random = new Random(seed);
  const classes = { settings: [{ text: 'a setting', source: '<its source>' }] };
  const store = (name: 'aiokv' | 'lmdb' | 'rocksdb', version: string | null): BenchResult['stores'][number] => ({
    name,
    version,
    classes: { none: classes, written: classes, flushed: { settings: [], gap: 'it has none' } },
  });
  const turn = (name: 'aiokv' | 'lmdb', round: number): BenchResult['turns'][number] => ({
    id: `${round + 1}/written/1000/${name}`,
    store: name,
    durability: 'written',
    recordBytes: 1000,
    round,
    seconds: 2,
    phases: [
      phaseOf(random, 'load', 128),
      ...[1, 8, 32, 128].map((clients) => phaseOf(random, 'cold', clients)),
      ...(['C', 'A', 'E'] as const).map((kind) => phaseOf(random, kind, 128)),
      ...[100, 200].map((target) => ({ ...phaseOf(random, 'curve', 128), target })),
      { ...phaseOf(random, 'churn', 128), samples: [0.25, 0.5, 0.75].map((seconds) => sampleOf(random, seconds)) },
    ],
  });
  const result: BenchResult = {
    format: FORMAT,
    version: FORMAT_VERSION,
    isComplete: true,
    command: 'npm run -s bench -- --quick </script><b>&amp;',
    startedAt: '2026-01-01T00:00:00.000Z',
    seconds: 100,
    machine: {
      cpu: 'a processor',
      cores: 2,
      memoryBytes: 2 ** 34,
      kernel: '6.1',
      fileSystem: '/dev/x ext4',
      node: 'v20',
      fio: 'fio-3',
      commit: 'abc',
    },
    stores: [store('aiokv', '1.0'), store('lmdb', '3.0'), store('rocksdb', null)],
    plan: {
      scale: QUICK,
      stores: ['aiokv', 'lmdb', 'rocksdb'],
      classes: ['written', 'flushed'],
      seed,
      memoryBytes: null,
      isQuick: true,
    },
    driver: phaseOf(random, 'driver', 128),
    depths: ['libaio', 'fs', 'fio'].flatMap((engine) =>
      [1, 8, 32, 128].map((iodepth) => ({
        engine,
        iodepth,
        round: 0,
        iops: 1000 * (1 + random.below(100)),
        p50us: 100,
        p99us: 100 + random.below(1000),
        cpuUsPerRequest: random.float() * 10,
      })),
    ),
    turns: [turn('aiokv', 0), turn('lmdb', 0), turn('lmdb', 1), turn('aiokv', 1)],
    skipped: [],
  };
  return checked(JSON.parse(JSON.stringify(result)), 'a result that was made');
}

function phaseOf(random: Random, kind: PhaseKind, clients: number): PhaseResult {
  const operation = { load: 'INSERT', E: 'SCAN', churn: 'UPDATE' }[kind as string] ?? 'READ';
  const latencies: Record<string, Latencies> = { [operation]: latenciesOf(random) };
  if (kind === 'curve') latencies['Intended-READ'] = latenciesOf(random);
  return {
    kind,
    clients,
    target: null,
    cache: 'nothing',
    seed: 1,
    seconds: 1,
    operations: 1000,
    operationsPerSecond: 1000 + random.float() * 100_000,
    cpuUsPerOperation: random.float() * 50,
    readBytesPerOperation: random.float() * 5000,
    writtenBytesPerOperation: random.float() * 5000,
    peakRssBytes: 2 ** 27 + random.below(2 ** 20),
    loopP99Ms: random.float() * 5,
    loopMaxMs: random.float() * 50,
    spaceAmplification: 1 + random.float(),
    failures: 0,
    mismatches: 0,
    verified: 1000,
    latencies,
  };
}

function latenciesOf(random: Random): Latencies {
  const p50Us = 100 + random.below(100);
  const points = [0, 50, 90, 99, 99.9, 99.99, 100].map((percentile, i) => [percentile, p50Us * (1 + i)] as const);
  const at = (factor: number): number => p50Us * factor;
  const rest = { p90Us: at(3), p95Us: at(3.5), p99Us: at(4), p999Us: at(5), p9999Us: at(6), maxUs: at(7) };
  return { count: 1000, meanUs: at(1.1), p50Us, ...rest, points, histogram: encodeIntoCompressedBase64(build()) };
}

function sampleOf(random: Random, seconds: number): NonNullable<PhaseResult['samples']>[number] {
  return {
    seconds,
    operationsPerSecond: 1000 + random.below(1000),
    spaceAmplification: 1 + random.float(),
    writeAmplification: 1 + random.float(),
    rssBytes: 2 ** 27,
  };
}
