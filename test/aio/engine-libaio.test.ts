/** The engine conformance suite over Linux AIO on real files: both foreign-function interfaces, each way to the kernel. */
import { mkdtemp, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import test from 'ava';
import { linuxPlatform } from '@aiokv/aio';
import { engineConformance } from './engine-conformance.ts';
import { isLoadable } from './loadable.ts';

const WAYS = [
  ['ring', {}],
  ['io_getevents', { forceSyscalls: true }],
  ['raw system calls', { useLibaio: false }],
  ['raw system calls and io_getevents', { useLibaio: false, forceSyscalls: true }],
] as const;

for (const ffi of ['koffi', 'ffi-napi'] as const) {
  if (!isLoadable(ffi)) {
    test.skip(`${ffi} is not installed here, which needs a C++ toolchain`, () => undefined);
    continue;
  }
  for (const [way, options] of WAYS) {
    engineConformance(test, `libaio, ${ffi}, ${way}`, async () => {
      const directory = await mkdtemp(resolve('.tmp-engine-'));
      return {
        platform: linuxPlatform({ ffi, ...options }),
        directory,
        cleanup: () => rm(directory, { recursive: true, force: true }),
      };
    });
  }
}
