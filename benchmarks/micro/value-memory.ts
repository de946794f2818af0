/**
 * Where the memory of values comes from that are handed out: processor time of each value, and what stays when one of a hundred is kept.
 *
 *   node --expose-gc --import=tsx benchmarks/micro/value-memory.ts own|KIB [valueBytes] [values]
 *
 * `own`: each value has memory of its own; a number: values share pieces of so many KiB (packages/kv/src/memory/value-memory.ts).
 * One way a process.
 */
import { KIB, MIB } from '@aiokv/core';

const [way = 'own', valueText = '1000', countText = '2000000'] = process.argv.slice(2);
const [valueBytes, count, pieceBytes] = [Number(valueText), Number(countText), Number(way) * KIB];
const KEPT_OF = 100;
const BETWEEN = 16 * KIB;
const source = Buffer.alloc(64 * MIB, 1);
let piece = Buffer.alloc(0);
let used = 0;

function take(): Buffer {
  if (way === 'own') return Buffer.allocUnsafeSlow(valueBytes);
  if (used + valueBytes > piece.length) {
    piece = Buffer.alloc(pieceBytes);
    used = 0;
  }
  const from = used;
  used += (valueBytes + 7) & ~7;
  return piece.subarray(from, from + valueBytes);
}

async function run(values: number, kept: Buffer[] | null): Promise<void> {
  for (let n = 0; n < values; n++) {
    const from = (Math.imul(n, 0x9e3779b1) >>> 0) % (source.length - valueBytes);
    const value = take();
    value.set(source.subarray(from, from + valueBytes));
    if (kept !== null && n % KEPT_OF === 0) kept.push(value);
    if (n % BETWEEN === 0) await new Promise((after) => setImmediate(after));
  }
}

await run(200_000, null);
const start = process.cpuUsage();
await run(count, null);
const { user, system } = process.cpuUsage(start);
const kept: Buffer[] = [];
globalThis.gc?.();
const before = process.memoryUsage.rss();
await run(count, kept);
globalThis.gc?.();
const grown = (process.memoryUsage.rss() - before) / MIB;
const each = ((user + system) / count).toFixed(2);
console.log(`${way}: ${each} us of CPU each; ${grown.toFixed(0)} MiB with ${kept.length} of them kept`);
