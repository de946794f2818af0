/** How a foreign-function interface is found in processes of their own: several copies of the package, no addons. */
import { join } from 'node:path';
import test from 'ava';
import { isLoadable } from './loadable.ts';
import { PlainTree } from './plain-tree.ts';

let tree: PlainTree;
let other: PlainTree;

test.before(async () => {
  [tree, other] = await Promise.all([PlainTree.make(['ffi-child']), PlainTree.make([])]);
});

test.after.always(async () => {
  await tree.remove();
  await other.remove();
});

async function run(args: string[], env: Record<string, string> = {}): Promise<unknown> {
  const { stdout, stderr, code } = await tree.run('ffi-child', args, { env, patienceMs: 30_000 });
  if (code !== 0) throw new Error(`exit code ${code}: ${stderr}`);
  return JSON.parse(stdout);
}

const here = isLoadable('ffi-napi') ? test : test.skip;

here('two copies in one process: the second takes koffi, and both work', async (t) => {
  const copy = join(other.directory, 'node_modules', '@aiokv', 'aio', 'index.js');
  t.deepEqual(await run(['copies', copy], { AIOKV_FFI: '' }), ['ffi-napi', 'koffi', 'ffi-napi', false]);
});

here('two copies in one process that are both told to take one', async (t) => {
  const copy = join(other.directory, 'node_modules', '@aiokv', 'aio', 'index.js');
  for (const AIOKV_FFI of ['koffi', 'ffi-napi']) {
    t.deepEqual(await run(['copies', copy], { AIOKV_FFI }), [AIOKV_FFI, AIOKV_FFI, AIOKV_FFI, false]);
  }
});

here('a program that has loaded ffi-napi itself', async (t) => {
  t.deepEqual(await run(['taken'], { AIOKV_FFI: '' }), ['koffi']);
});

const permission = process.allowedNodeEnvironmentFlags.has('--permission')
  ? '--permission'
  : '--experimental-permission';
for (const flags of ['--no-addons', `${permission} --allow-fs-read=* --allow-fs-write=*`]) {
  test(`${flags}: the error says what is the case, and what it advises works`, async (t) => {
    const found = (await run(['without'], { AIOKV_FFI: '', NODE_OPTIONS: flags })) as Record<string, unknown>;
    t.is(found['code'], 'ERR_AIOKV_FFI_UNAVAILABLE');
    t.regex(found['message'] as string, /native addons are disabled.*--no-addons.*--allow-addons.*engine: 'threads'/u);
    t.notRegex(found['message'] as string, /npm install/u);
    t.is(found['written'], 4096);
  });
}
