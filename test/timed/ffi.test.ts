/** What a call of a C function costs, beside one that Node makes itself. */
import { fstatSync } from 'node:fs';
import { foreignInterface } from '../../packages/aio/src/ffi/load.ts';
import { skipWhere } from '../helpers/skip.ts';

const CALLS = 20_000;

/** Microseconds of a call, of the fastest of some rounds: the others tell of what else the machine does. */
function costOf(call: () => unknown): number {
  let us = Infinity;
  for (let round = 0; round < 10; round++) {
    const startMs = performance.now();
    for (let i = 0; i < CALLS; i++) call();
    us = Math.min(us, ((performance.now() - startMs) * 1000) / CALLS);
  }
  return us;
}

for (const name of ['koffi', 'ffi-napi'] as const) {
  const ffi = foreignInterface(name);
  const why = ffi === undefined ? 'it is not installed here, which needs a C++ toolchain' : null;
  skipWhere(why)(`${name}: a call costs less than two of fstat`, (t) => {
    const labs = ffi?.load(null).bind('labs', 1);
    const [call, stat] = [costOf(() => labs?.(-5)), costOf(() => fstatSync(0))];
    t.log(`${call.toFixed(3)} us, fstat ${stat.toFixed(3)} us`);
    t.true(call < 2 * stat, `${call} us beside ${stat} us`);
  });
}
