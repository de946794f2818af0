/** abstract-level's own suite, whole, over stores of @aiokv/kv and over stores in memory. */
import test from 'ava';
import { directoryOf, runSuite } from './child.ts';

/** Of version 3.1.1. Fewer mean that the manifest leaves something out. */
const ASSERTIONS = 5168;

for (const [kind, where] of [
  ['disk', 'a directory'],
  ['memory', 'memory, which lack no call'],
]) {
  test(`abstract-level's suite, stores in ${where as string}`, async (t) => {
    const { tests, pass, fail, failures } = await runSuite('suite-child.ts', [kind as string, directoryOf(t)]);
    t.log(`${pass} of ${tests} assertions`);
    t.is(tests, ASSERTIONS, failures);
    t.is(pass, tests, failures);
    t.is(fail, 0);
  });
}
