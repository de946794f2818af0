/** What `npm run -s profile` makes of the profiles of V8. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { allocationSites, formatSites, processorSites } from '../../benchmarks/profile/sites.ts';
import type { Sites } from '../../benchmarks/profile/sites.ts';

const frame = (functionName: string, lineNumber = 0): object => ({ functionName, url: 'file:///a/b.ts', lineNumber });

function read(profile: unknown, by: (path: string) => Sites): Sites {
  const directory = mkdtempSync(join(tmpdir(), 'aiokv-sites-'));
  try {
    const path = join(directory, 'profile');
    writeFileSync(path, JSON.stringify(profile));
    return by(path);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test('samples count for the function and for those that called it, once', (t) => {
  const nodes = [
    { id: 1, callFrame: frame('outer'), children: [2] },
    { id: 2, callFrame: frame('inner', 6), children: [3] },
    { id: 3, callFrame: frame('inner', 6) },
  ];
  const sites = read({ nodes, samples: [1, 2, 3, 3], timeDeltas: [10, 20, 30, 40] }, processorSites);
  t.deepEqual(sites, {
    total: 100,
    sites: [
      { name: 'inner b.ts:7', own: 90, withCalled: 90 },
      { name: 'outer b.ts:1', own: 10, withCalled: 100 },
    ],
  });
  t.is(formatSites(sites, 1), '      own   called\n   90.0 %   90.0 %  inner b.ts:7');
});

test('bytes count where they were allocated', (t) => {
  const leaf = { callFrame: frame('inner'), selfSize: 300, children: [] };
  const head = { callFrame: frame('outer'), selfSize: 100, children: [leaf] };
  const { total, sites } = read({ head }, allocationSites);
  t.is(total, 400);
  t.deepEqual(
    sites.map(({ own, withCalled }) => [own, withCalled]),
    [
      [300, 300],
      [100, 400],
    ],
  );
});
