/** Memory on huge pages, and memory that is there before it is touched, as /proc/self/smaps tells. */
import test from 'ava';
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { MIB } from '@aiokv/core';
import { foreignInterface, prefault, preferHugePages } from '@aiokv/aio';

const [major = 0, minor = 0] = release().split('.').map(Number);
const whereHugePages = existsSync('/sys/kernel/mm/transparent_hugepage') ? test : test.skip;
const wherePopulate = major > 5 || (major === 5 && minor >= 14) ? test : test.skip;

interface Mapping {
  readonly flags: string;
  readonly residentBytes: number;
}

/** The mapping that holds the middle of the memory. */
function mappingOf(memory: ArrayBuffer): Mapping {
  const address = (foreignInterface()?.addressOf(memory) ?? 0) + memory.byteLength / 2;
  for (const block of readFileSync('/proc/self/smaps', 'utf8').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)) {
    const [, from = '0', to = '0'] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(block) ?? [];
    if (address < Number.parseInt(from, 16) || address >= Number.parseInt(to, 16)) continue;
    const flags = /^VmFlags:(.*)$/m.exec(block)?.[1] ?? '';
    return { flags, residentBytes: Number(/^Rss: +(\d+) kB$/m.exec(block)?.[1]) * 1024 };
  }
  throw new Error('the memory is mapped somewhere');
}

whereHugePages('the kernel hears that memory should lie on huge pages', (t) => {
  const memory = new ArrayBuffer(16 * MIB);
  t.notRegex(mappingOf(memory).flags, / hg /);
  preferHugePages(memory);
  t.regex(mappingOf(memory).flags, / hg /);
});

wherePopulate('a range is there before it is touched, and holds what it held', async (t) => {
  const memory = new ArrayBuffer(16 * MIB);
  const bytes = new Uint8Array(memory);
  bytes[5 * MIB] = 7;
  t.true(mappingOf(memory).residentBytes < 4 * MIB);
  await prefault(memory, 4 * MIB, 8 * MIB);
  const { residentBytes } = mappingOf(memory);
  t.true(residentBytes >= 7 * MIB && residentBytes < 14 * MIB, `${residentBytes} bytes`);
  t.is(bytes[5 * MIB], 7);
  t.is(bytes[6 * MIB], 0);
});

test('what is smaller than a page is left alone', async (t) => {
  const memory = new ArrayBuffer(1000);
  preferHugePages(memory);
  await prefault(memory, 0, 1000);
  t.deepEqual(new Uint8Array(memory), new Uint8Array(1000));
});
