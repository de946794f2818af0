/**
 * `node --import=…/scripts/strip-types.mjs` runs TypeScript whose types can be erased. They become blanks, so that lines and
 * columns stay what they are and no source map is needed. The suite starts hundreds of processes, each of which would
 * otherwise spend most of a second on tsx.
 */
import { register } from 'node:module';

register('./strip-types/hooks.mjs', import.meta.url);
