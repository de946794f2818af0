/** Memory that is there before it is touched, as /proc/self/smaps tells. */
import test from 'ava';
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { MIB } from '@aiokv/core';
import { foreignInterface, prefault } from '@aiokv/aio';

const [major = 0, minor = 0] = release().split('.').map(Number);
const wherePopulate = major > 5 || (major === 5 && minor >= 14) ? test : test.skip;

/** Bytes in memory of the mapping that holds the middle of it. */
function residentBytesOf(memory: ArrayBuffer): number {
  const address = (foreignInterface()?.addressOf(memory) ?? 0) + memory.byteLength / 2;
  for (const block of readFileSync('/proc/self/smaps', 'utf8').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)) {
    const [, from = '0', to = '0'] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(block) ?? [];
    if (address < Number.parseInt(from, 16) || address >= Number.parseInt(to, 16)) continue;
    return Number(/^Rss: +(\d+) kB$/m.exec(block)?.[1]) * 1024;
  }
  throw new Error('the memory is mapped somewhere');
}

wherePopulate('a range is there before it is touched, and holds what it held', async (t) => {
  const memory = new ArrayBuffer(16 * MIB);
  const bytes = new Uint8Array(memory);
  bytes[5 * MIB] = 7;
  t.true(residentBytesOf(memory) < 4 * MIB);
  await prefault(memory, 4 * MIB, 8 * MIB);
  const residentBytes = residentBytesOf(memory);
  t.true(residentBytes >= 7 * MIB && residentBytes < 14 * MIB, `${residentBytes} bytes`);
  t.is(bytes[5 * MIB], 7);
  t.is(bytes[6 * MIB], 0);
});

test('what is smaller than a page is left alone', async (t) => {
  const memory = new ArrayBuffer(1000);
  await prefault(memory, 0, 1000);
  t.deepEqual(new Uint8Array(memory), new Uint8Array(1000));
});
