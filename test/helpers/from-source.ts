/** How tests start a program of the project in a process of its own, from its sources. */
import { fileURLToPath } from 'node:url';

/** Arguments of Node.js for a program, by its path from the top of the project. */
export function fromSource(path: string): string[] {
  return [
    `--import=${import.meta.resolve('../../scripts/strip-types.mjs')}`,
    '--conditions=@aiokv/source',
    fileURLToPath(new URL(`../../${path}`, import.meta.url)),
  ];
}
