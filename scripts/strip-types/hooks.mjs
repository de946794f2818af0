/** Loads `.ts` as JavaScript. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { BUNDLE_VARIABLE, stubName } from './bundle.mjs';
import { stripped } from './stripped.mjs';

const BUNDLE = process.env[BUNDLE_VARIABLE] ?? '';
const PACKAGES = new URL('../../packages/', import.meta.url).href;

export async function load(href, context, nextLoad) {
  const url = new URL(href);
  if (url.protocol !== 'file:' || !url.pathname.endsWith('.ts')) return nextLoad(href, context);
  return { format: 'module', shortCircuit: true, source: stubOf(href) ?? (await stripped(url)) };
}

/** What leads to the bundle of the packages, if there is one, and this file is in it. */
function stubOf(href) {
  if (BUNDLE === '' || !href.startsWith(PACKAGES)) return null;
  try {
    const stub = readFileSync(join(BUNDLE, stubName(href)), 'utf8');
    return stub.replace("'./sources.js'", `'${pathToFileURL(join(BUNDLE, 'sources.js')).href}'`);
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw error;
  }
}
