/**
 * What a native call costs through each foreign-function interface.
 *
 *   node --import=tsx --conditions=@aiokv/source benchmarks/micro/ffi.ts
 */
import { foreignInterface } from '../../packages/aio/src/ffi/load.ts';
import { aioCalls } from '../../packages/aio/src/raw/libaio.ts';

const CALLS = 500_000;

function nsPerCall(call: () => unknown): string {
  const rounds = Array.from({ length: 5 }, () => {
    const startMs = performance.now();
    for (let i = 0; i < CALLS; i++) call();
    return ((performance.now() - startMs) * 1e6) / CALLS;
  });
  return `${(rounds.sort((a, b) => a - b)[2] as number).toFixed(0)} ns`;
}

for (const name of ['koffi', 'ffi-napi'] as const) {
  const ffi = foreignInterface(name);
  if (ffi === undefined) {
    console.log(`${name}: not installed here`);
    continue;
  }
  const labs = ffi.load(null).bind('labs', 1);
  const calls = aioCalls(ffi);
  const context = calls.ioSetup(8);
  console.log(
    `${name}: labs(x) ${nsPerCall(() => labs(-5))}, io_submit of nothing ${nsPerCall(() => calls.ioSubmit(context, 0, 0))}, ` +
      `io_getevents of nothing ${nsPerCall(() => calls.ioGetevents(context, 0, 0, 0, 0))} (${calls.through})`,
  );
  calls.ioDestroySync(context);
}
