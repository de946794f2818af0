/**
 * The three packages as plain JavaScript in a directory of their own, made from the sources in about a second, for child
 * processes that run without a loader: under a limit of memory, with flags of V8, in a realm of their own.
 */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DEPENDENCIES: Readonly<Record<string, readonly string[]>> = {
  core: ['msgpackr'],
  aio: ['koffi', 'ffi-napi', 'ref-napi'],
  kv: [],
};

export interface Transpiled {
  /** A script below it can import `@aiokv/core`, `@aiokv/aio` and `@aiokv/kv`. */
  readonly directory: string;
  remove(): void;
}

export function transpile(): Transpiled {
  const directory = mkdtempSync(join(ROOT, '.tmp-transpiled-'));
  for (const [name, dependencies] of Object.entries(DEPENDENCIES)) {
    const source = join(ROOT, 'packages', name);
    const target = join(directory, 'node_modules/@aiokv', name);
    mkdirSync(target, { recursive: true });
    cpSync(join(source, 'package.json'), join(target, 'package.json'));
    transpileFolder(join(source, 'src'), join(target, 'dist'));
    for (const dependency of dependencies) link(source, dependency, join(directory, 'node_modules', dependency));
  }
  return { directory, remove: () => rmSync(directory, { recursive: true, force: true }) };
}

function transpileFolder(source: string, target: string): void {
  for (const file of readdirSync(source, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts')) continue;
    const { outputText } = ts.transpileModule(readFileSync(join(source, file), 'utf8'), {
      compilerOptions: {
        target: ts.ScriptTarget.ES2023,
        module: ts.ModuleKind.ESNext,
        verbatimModuleSyntax: true,
        rewriteRelativeImportExtensions: true,
      },
    });
    const output = join(target, file.replace(/\.ts$/, '.js'));
    mkdirSync(dirname(output), { recursive: true });
    writeFileSync(output, outputText);
  }
}

/** Optional dependencies may not be installed. */
function link(source: string, dependency: string, target: string): void {
  for (const folder of createRequire(join(source, 'package.json')).resolve.paths(dependency) ?? []) {
    const found = join(folder, dependency);
    try {
      readFileSync(join(found, 'package.json'));
    } catch {
      continue;
    }
    symlinkSync(found, target);
    return;
  }
}
