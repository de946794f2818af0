/**
 * What a checksum costs: the package's functions over WebAssembly, the same in plain JavaScript, and `xxhash-wasm`'s
 * own API, interleaved in one run.
 *
 *   node --import=tsx --conditions=@aiokv/source benchmarks/micro/checksum.ts
 */
import { matchesXxh64, xxh32 } from '@aiokv/core';
import createXxhash from 'xxhash-wasm';
import { PlainHasher } from '../../packages/core/src/xxhash.ts';

const ROUNDS = 9;
const BYTES_OF_A_ROUND = 16 * 1024 * 1024;
const MOST_CALLS = 100_000;

const published = await createXxhash();
const plain = new PlainHasher();
const target = new DataView(new ArrayBuffer(8));
const word = new BigUint64Array(1);

const sums: Readonly<Record<string, readonly [string, (bytes: Uint8Array) => unknown][]>> = {
  xxh32: [
    ['core', (bytes) => xxh32(bytes)],
    ['xxhash-wasm', (bytes) => published.h32Raw(bytes, 0)],
    ['plain', (bytes) => plain.xxh32(bytes, 0)],
  ],
  xxh64: [
    ['core', (bytes) => matchesXxh64(bytes, target, 0)],
    [
      'xxhash-wasm',
      (bytes) => {
        word[0] = published.h64Raw(bytes);
      },
    ],
    ['plain', (bytes) => plain.xxh64(bytes)],
  ],
};

for (const [name, forms] of Object.entries(sums)) {
  for (const length of [60, 1100, 65_536, 1_048_576]) {
    const bytes = new Uint8Array(length).fill(7);
    const calls = Math.min(MOST_CALLS, Math.ceil(BYTES_OF_A_ROUND / length));
    const ns = new Map<string, number[]>(forms.map(([form]) => [form, []]));
    for (let round = 0; round < ROUNDS; round++) {
      for (const [form, sum] of forms) {
        const startMs = performance.now();
        for (let i = 0; i < calls; i++) sum(bytes);
        ns.get(form)?.push(((performance.now() - startMs) * 1e6) / calls);
      }
    }
    const shown = [...ns].map(([form, times]) => `${form} ${median(times).toFixed(0)} ns`);
    console.log(`${name} of ${length} bytes: ${shown.join(', ')}`);
  }
}

function median(times: number[]): number {
  return times.sort((a, b) => a - b)[times.length >> 1] as number;
}
