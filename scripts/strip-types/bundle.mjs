/**
 * The sources of the packages as one file, for processes of the suite. Loaded one by one, they take most of a second of each
 * process, since every one goes to the thread of the loader's hooks and back; together they take a tenth of it.
 *
 * ```
 *   import '…/packages/kv/src/open.ts' ── hooks.mjs ──► stub of open.ts ──► sources.js, in which every module is once
 * ```
 *
 * A suite sees the sources as they were when it began. Copies of a module that a query asks for, and a run that measures
 * coverage, have the files themselves. A source map leads back to their lines.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const CACHE = join(ROOT, 'node_modules/.cache/aiokv-bundles');
const PACKAGES = ['core', 'aio', 'kv'];
/** A program: to load it is to run it. */
const PROGRAM = 'packages/aio/src/qualify-cli.ts';
const KEPT_MS = 24 * 3600 * 1000;

/** The variable that tells the hooks of a process where the stubs are. */
export const BUNDLE_VARIABLE = 'AIOKV_TEST_BUNDLE';

export const stubName = (href) => `${createHash('sha1').update(href).digest('hex')}.js`;

/** @returns {Promise<string | null>} the directory of the bundle; null if the sources cannot be bundled as they are */
export async function bundleSources() {
  const files = PACKAGES.flatMap((name) => {
    const folder = join(ROOT, 'packages', name, 'src');
    const names = readdirSync(folder, { recursive: true }).sort();
    return names.filter((file) => file.endsWith('.ts')).map((file) => join(folder, file));
  }).filter((file) => file !== join(ROOT, PROGRAM));
  const hash = createHash('sha1').update(readFileSync(fileURLToPath(import.meta.url)));
  for (const file of files) hash.update(`\0${file}\0`).update(readFileSync(file));
  const directory = join(CACHE, hash.digest('hex'));
  if (existsSync(directory)) return directory;
  const unfinished = `${directory}.${process.pid}`;
  try {
    await bundle(files, unfinished);
    removeOld();
    renameSync(unfinished, directory);
    return directory;
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    // Another suite may have made it meanwhile.
    if (existsSync(directory)) return directory;
    // The tests load the sources one by one then, and say what is wrong with which.
    console.error(`The sources are not bundled: ${error.message}`);
    return null;
  }
}

async function bundle(files, directory) {
  mkdirSync(directory, { recursive: true });
  const entry = files.map((file, n) => `export * as m${n} from ${JSON.stringify(file)};`).join('\n');
  const { build } = await import('esbuild');
  const outfile = join(directory, 'sources.js');
  await build({
    stdin: { contents: entry, resolveDir: ROOT, loader: 'js' },
    outfile,
    bundle: true,
    platform: 'node',
    conditions: ['node-addons'],
    format: 'esm',
    target: 'node20.19',
    sourcemap: 'inline',
    sourcesContent: false,
    logLevel: 'silent',
    treeShaking: false,
    tsconfigRaw: { compilerOptions: { useDefineForClassFields: true, verbatimModuleSyntax: true } },
    plugins: [{ name: 'sources', setup: readSources }],
  });
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }\n');
  const modules = await import(pathToFileURL(outfile).href);
  for (const [n, file] of files.entries()) {
    const names = Object.keys(modules[`m${n}`]).filter((name) => name !== 'default');
    const lines = names.map((name) => `export const ${name} = m.${name};`);
    const stub = [`import { m${n} as m } from './sources.js';`, ...lines, ''].join('\n');
    writeFileSync(join(directory, stubName(pathToFileURL(file).href)), stub);
  }
}

const AGAIN = {};

/** Packages are found by their names, and what a source says of its own address stays true. */
function readSources({ resolve, onResolve, onLoad }) {
  onResolve({ filter: /^@aiokv\// }, ({ path }) => ({ path: join(ROOT, 'packages', path.slice(7), 'src/index.ts') }));
  onResolve({ filter: /^[^./]/ }, async ({ path, kind, importer, resolveDir, pluginData }) => {
    if (pluginData === AGAIN) return undefined;
    if (isBuiltin(path)) return { path, external: true };
    // Others are found from where the source is, not from where the bundle is.
    const found = await resolve(path, { kind, importer, resolveDir, pluginData: AGAIN });
    return { ...found, external: true };
  });
  onLoad({ filter: /\.ts$/ }, ({ path }) => ({
    contents: readFileSync(path, 'utf8').replaceAll(
      /(?<![`\w])import\.meta\.url\b/g,
      JSON.stringify(pathToFileURL(path).href),
    ),
    loader: 'ts',
  }));
}

function removeOld() {
  for (const name of readdirSync(CACHE)) {
    const path = join(CACHE, name);
    if (Date.now() - statSync(path).mtimeMs > KEPT_MS) rmSync(path, { recursive: true, force: true });
  }
}
