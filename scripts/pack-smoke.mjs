/**
 * Packs the packages as they would be published and uses them as users do: each package manager, each Node, module
 * systems, bundlers, test frameworks, compilers, and the snippets of the READMEs. Needs Node, npm and, for ffi-napi, a
 * C++ toolchain; it installs the rest, each tool once. Prints TAP; a row that cannot run is skipped and says why.
 *
 *   node scripts/pack-smoke.mjs              # the whole matrix
 *   node scripts/pack-smoke.mjs bundlers     # only some groups: runtime, bundlers, testers, compilers, installers, snippets
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { PACKAGES, build } from './build.mjs';
import { bundlerRows } from './pack-smoke/bundlers.mjs';
import { compilerRows } from './pack-smoke/compilers.mjs';
import { hasFfiNapi, installWithNpm, installerRows } from './pack-smoke/installers.mjs';
import { Project } from './pack-smoke/project.mjs';
import { runtimeRows } from './pack-smoke/runtime.mjs';
import { packRows } from './pack-smoke/shape.mjs';
import { snippetRows } from './pack-smoke/snippets.mjs';
import { Tap } from './pack-smoke/tap.mjs';
import { testerRows } from './pack-smoke/testers.mjs';
import { Tools } from './pack-smoke/tools.mjs';
import { ROOT, setup } from './setup.mjs';

const READMES = ['README.md', ...PACKAGES.map((name) => `packages/${name}/README.md`)];

setup();
const tap = new Tap();
/** Direct I/O needs a real disk, which a temporary directory may not be: all lies beside the repository's files. */
const directory = mkdtempSync(join(ROOT, '.tmp-pack-'));
try {
  await build();
  tap.pass('build');
  const packed = join(directory, 'packed');
  mkdirSync(packed);
  const tarballs = packRows(tap, packed);
  const app = new Project(join(directory, 'app'));
  const tools = new Tools(join(directory, 'tools'));
  if (installWithNpm(tap, app, tarballs)) {
    const groups = {
      runtime: () => runtimeRows(tap, tools, app),
      bundlers: () => bundlerRows(tap, tools, app),
      testers: () => testerRows(tap, tools, app, { hasFfiNapi: hasFfiNapi(app) }),
      compilers: () => compilerRows(tap, tools, app),
      snippets: () => snippetRows(tap, app, ROOT, READMES),
      installers: () => installerRows(tap, tools, directory, tarballs),
    };
    const asked = process.argv.slice(2);
    for (const [name, rows] of Object.entries(groups)) if (asked.length === 0 || asked.includes(name)) rows();
  }
} catch (error) {
  tap.fail('the script itself', String(error.stack));
} finally {
  rmSync(directory, { recursive: true, force: true });
}
if (!tap.end()) process.exitCode = 1;
