/**
 * Builds what is published: for each package ES modules with their declarations in `dist` (by tsc, file by file), and
 * one CommonJS file with the same declarations in `dist/cjs`, for whatever cannot `require` an ES module: jest,
 * TypeScript before 5.8. Node.js always loads the ES modules (docs/decisions.md says why).
 *
 * Declarations are made portable: compilers from 5.0 on understand them, and they bring the types of Node along.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { build as bundle } from 'esbuild';
import { ROOT } from './setup.mjs';

export const PACKAGES = ['core', 'aio', 'kv', 'level', 'cli'];

/** What compilers before 5.7 do not know, said in a way that means the same to those after. */
const PORTABLE = [
  [/\b(BigUint64Array|Float64Array|Int32Array|Uint8Array|Uint32Array)<ArrayBuffer>/g, "ReturnType<$1['slice']>"],
  [/\bDataView<ArrayBuffer>/g, '(DataView & { readonly buffer: ArrayBuffer })'],
  [/\b([A-Z]\w*Array|Buffer|DataView)<ArrayBuffer(?:Like)?>/g, '$1'],
  // As it would be called by the file beside it; compilers before 5.7 look for the source otherwise.
  [/(from |import\()(['"])(\.{1,2}\/[^'"]+)\.ts\2/g, '$1$2$3.js$2'],
];
const NODE_TYPES = '/// <reference types="node" />\n';

export async function build() {
  const folders = PACKAGES.map((name) => join(ROOT, 'packages', name));
  // tsc leaves in dist what came of a source that is gone, and it would be packed.
  for (const folder of folders) rmSync(join(folder, 'dist'), { recursive: true, force: true });
  const tsc = spawnSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-b'], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  if (tsc.status !== 0) throw new Error('tsc -b failed');
  for (const folder of folders) {
    await bundle({
      entryPoints: [join(folder, 'src/index.ts')],
      outfile: join(folder, 'dist/cjs/index.js'),
      bundle: true,
      format: 'cjs',
      platform: 'node',
      target: 'node20.19',
      packages: 'external',
      sourcemap: true,
      sourcesContent: false,
      logLevel: 'warning',
      // It is there for the ES modules; `__filename` serves here.
      logOverride: { 'empty-import-meta': 'silent' },
    });
    writeFileSync(join(folder, 'dist/cjs/package.json'), '{ "type": "commonjs" }\n');
    writeDeclarations(join(folder, 'dist'));
  }
}

function writeDeclarations(dist) {
  const declarations = readdirSync(dist, { recursive: true }).filter((path) => path.endsWith('.d.ts'));
  for (const path of declarations) {
    let text = readFileSync(join(dist, path), 'utf8');
    for (const [found, portable] of PORTABLE) text = text.replace(found, portable);
    if (path === 'index.d.ts') text = NODE_TYPES + text;
    writeFileSync(join(dist, path), text);
    const copy = join(dist, 'cjs', path);
    mkdirSync(dirname(copy), { recursive: true });
    writeFileSync(copy, text.replace(/\/\/# sourceMappingURL=.*\n?$/, ''));
  }
}

if (process.argv[1] === import.meta.filename) await build();
