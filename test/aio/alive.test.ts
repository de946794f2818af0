/** A program that ends without waiting: what it asked a queue for keeps it alive until that is done, and no longer. */
import { mkdtemp, rm } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import test from 'ava';
import { PlainTree } from './plain-tree.ts';
import { whyNoUring } from './uring-available.ts';

let tree: PlainTree;
let directory: string;

test.before(async () => {
  tree = await PlainTree.make(['alive-child']);
  directory = await mkdtemp(resolve('.tmp-alive-'));
});

test.after.always(async () => {
  await tree.remove();
  await rm(directory, { recursive: true, force: true });
});

const source = readFileSync(new URL('alive-child.ts', import.meta.url), 'utf8');
const table = source.slice(source.indexOf('const scenarios'), source.indexOf('await scenarios'));
const scenarios = [...table.matchAll(/^ {2}(?:async )?(?:'([^']+)'|(\w+))(?:\(|:)/gmu)].map(
  ([, a, b]) => a ?? b,
) as string[];
/** Of the engines that fewer use. */
const FEWER = ['reads', 'more than have a slot', 'beside a synchronous read', 'close'];
const ENGINES = ['simulated', 'libaio', 'threads', 'posix', 'io_uring'] as const;

for (const engine of ENGINES) {
  const why = engine === 'io_uring' ? whyNoUring('koffi') : null;
  if (why !== null) test.skip(`io_uring: ${why}`, () => undefined);
  else {
    const ways = engine === 'posix' || engine === 'io_uring' ? FEWER : scenarios;
    test(`${engine}: ${ways.length} ways to end with something on its way`, async (t) => {
      t.true(scenarios.length >= 14);
      for (const scenario of ways) {
        const path = engine === 'simulated' ? '/data' : join(directory, engine);
        const ended = await tree.run('alive-child', [scenario, engine, path], { patienceMs: 30_000 });
        t.deepEqual([ended.code, ended.signal], [0, null], `${scenario}: ${ended.stderr}`);
        const { promised, kept } = JSON.parse(ended.stdout) as { promised: number; kept: number };
        t.true(promised > 0, scenario);
        t.is(kept, promised, scenario);
      }
    });
  }
}
