/** Loads `.ts` as JavaScript. */
import { stripped } from './stripped.mjs';

export async function load(href, context, nextLoad) {
  const url = new URL(href);
  if (url.protocol !== 'file:' || !url.pathname.endsWith('.ts')) return nextLoad(href, context);
  return { format: 'module', shortCircuit: true, source: await stripped(url) };
}
