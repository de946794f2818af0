/**
 * TypeScript as JavaScript, its types made blank. What was stripped once is kept in `node_modules/.cache`, under a hash of
 * its text.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';

const ROOT = new URL('../../', import.meta.url);
const CACHE = new URL('node_modules/.cache/aiokv-stripped/', ROOT);
const FOLDERS = [
  'test/',
  'benchmarks/',
  'examples/',
  ...['core', 'aio', 'kv', 'level', 'cli'].map((name) => `packages/${name}/src/`),
];

/** Makes what is not there yet. A process that makes a single file has the compiler to load, so the suite does it once for all. */
export async function stripAll() {
  for (const folder of FOLDERS) {
    const base = new URL(folder, ROOT);
    for (const name of readdirSync(base, { recursive: true })) {
      if (name.endsWith('.ts') && !name.endsWith('.d.ts')) await stripped(new URL(name, base));
    }
  }
}

export async function stripped(url) {
  const text = readFileSync(url, 'utf8');
  const kept = new URL(`${createHash('sha1').update(text).digest('hex')}.js`, CACHE);
  try {
    return readFileSync(kept);
  } catch {
    const source = await strip(url, text);
    mkdirSync(CACHE, { recursive: true });
    // Others may be about the same: a name has the whole text or nothing.
    const own = new URL(`${kept.href}.${process.pid}`);
    writeFileSync(own, source);
    renameSync(own, kept);
    return source;
  }
}

async function strip({ href }, text) {
  // Node 20 does not know it, so such a file is rewritten, and needs a source map.
  if (/\busing \w+ =/.test(text)) {
    const { transform } = await import('esbuild');
    const options = { loader: 'ts', format: 'esm', target: 'node20.19', sourcefile: href, sourcemap: 'inline' };
    return (await transform(text, options)).code;
  }
  const { default: blankSpace } = await import('ts-blank-space');
  return blankSpace(text, (node) => {
    throw new SyntaxError(`${href}: types cannot be erased at ${node.getText().slice(0, 80)}`);
  });
}
