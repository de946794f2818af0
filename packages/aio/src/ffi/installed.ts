/**
 * `require` for the packages that bring native code. They are never part of a bundle, so this must find them as they are
 * installed, from wherever this file has ended up: as an ES module `import.meta.url` says it, as CommonJS, ours or a
 * bundler's, `__filename`. A bundler may leave either out or keep the place where it ran, so each is tried, and the
 * working directory last.
 */
// By its default, since webpack resolves what a `createRequire` that is imported by name requires, and makes it undefined.
import Module from 'node:module';
import { isAbsolute, join } from 'node:path';

/** @throws Error of Node when the package is not installed, or its own when it cannot be loaded */
export function requireInstalled(specifier: string): unknown {
  let failure: unknown;
  for (const place of places()) {
    try {
      return Module.createRequire(place)(specifier);
    } catch (error) {
      // The first says where it was looked for. One that is found but cannot be loaded says more.
      if ((error as { code?: unknown }).code !== 'MODULE_NOT_FOUND') throw error;
      failure ??= error;
    }
  }
  throw failure;
}

function places(): string[] {
  const here: unknown = import.meta.url;
  // Where a program was given to `node --eval`, it is there for all modules and no path.
  const file = typeof __filename === 'string' && isAbsolute(__filename) ? __filename : undefined;
  return [here, file, join(process.cwd(), 'none')].filter((place) => typeof place === 'string');
}
