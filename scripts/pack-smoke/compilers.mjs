/**
 * TypeScript: each compiler checks an ES module and a CommonJS file against the declarations, with and without
 * `skipLibCheck`, under each way to resolve modules, with and without `@types/node`, which the packages need.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Project } from './project.mjs';
import { roundTrip } from './runtime.mjs';

/** Whose types those of @aiokv/level name. */
const LEVEL_PACKAGES = ['abstract-level', 'level-supports', 'level-transcoder'];

const COMPILERS = ['5.0', '5.2', '5.4', '5.6', '5.9', '7.0'];

export function compilerRows(tap, tools, app) {
  // Elsewhere than the other projects: a compiler looks for types in all directories above, and the repository has some.
  const directory = mkdtempSync(join(tmpdir(), 'aiokv-types-'));
  try {
    checkRows(tap, tools, {
      with: projectWith(directory, app, tools, '@types/node'),
      latest: projectWith(directory, app, tools, 'types-node-latest'),
      without: projectWith(directory, app, tools, undefined),
    });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  emitRows(tap, tools, app);
}

function checkRows(tap, tools, projects) {
  for (const version of COMPILERS) {
    const compiler = tools.find('compilers', `typescript-${version}`, 'lib', 'tsc.js');
    const row = (name, types, options, files, more = {}) => {
      const title = `TypeScript ${version}, ${name}`;
      if (compiler.reason !== undefined) return tap.skip(title, compiler.reason);
      const { directory } = projects[types];
      const config = configure(projects[types], options, files);
      return tap.check(title, process.execPath, [compiler.path, '-p', config], { cwd: directory, ...more });
    };
    rowsOf(Number(version), row, tap);
  }
}

function rowsOf(version, row, tap) {
  // From 5.8 on, nodenext knows that CommonJS can require ES modules.
  const module = version < 5.8 ? 'node16' : 'nodenext';
  const both = ['typed.mts', 'typed.cts'];
  for (const skipLibCheck of [true, false]) {
    row(`${module}, skipLibCheck ${skipLibCheck}`, 'with', { module, skipLibCheck }, both);
  }
  row('node16, skipLibCheck true, without @types/node', 'without', { module: 'node16', skipLibCheck: true }, both);
  row('node16, without @types/node: told to install it', 'without', { module: 'node16' }, both, {
    refused: true,
    judge: (stdout) => (stdout.includes('npm i --save-dev @types/node') ? undefined : 'the remedy is not named'),
  });
  // The types of abstract-level do not agree with each of these compilers.
  row('level', 'with', { module, skipLibCheck: true }, ['typed-level.mts']);
  row('bundler', 'with', { module: 'esnext', moduleResolution: 'bundler' }, ['typed.mts']);
  if (version >= 7) tap.skip('TypeScript 7.0, commonjs with node10', 'TypeScript 7 has no node10 resolution');
  else row('commonjs with node10', 'with', { module: 'commonjs', moduleResolution: 'node10' }, ['typed.ts']);
  if (version < 5.7) return;
  row('memory is Uint8Array<ArrayBuffer>', 'with', { module }, ['typed-exact.mts']);
  row('newest @types/node', 'latest', { module }, both);
}

/** A project that sees the packages and, under the name `@types/node`, the types of Node that are named. */
function projectWith(directory, app, tools, types) {
  const project = new Project(mkdtempSync(join(directory, 'types-')));
  project.take(
    'typed.mts',
    ['typed.mts', 'typed.cts'],
    ['typed.mts', 'typed.ts'],
    'typed-exact.mts',
    'typed-level.mts',
  );
  const modules = join(project.directory, 'node_modules');
  for (const name of ['@aiokv', ...LEVEL_PACKAGES]) {
    cpSync(join(app.directory, 'node_modules', name), join(modules, name), { recursive: true });
  }
  if (types === undefined) return project;
  const from = tools.find('compilers', types);
  if (from.reason !== undefined) return project;
  cpSync(from.path, join(modules, '@types/node'), { recursive: true });
  // It lies beside the types, or below them where two versions are needed.
  const { path } = tools.find('compilers', 'undici-types');
  cpSync(path, join(modules, 'undici-types'), { recursive: true });
  return project;
}

function configure(project, compilerOptions, files) {
  project.write('tsconfig.json', {
    compilerOptions: { target: 'es2022', strict: true, noEmit: true, types: [], ...compilerOptions },
    files,
  });
  return 'tsconfig.json';
}

/** What a compiler makes of the CommonJS file runs, too. */
function emitRows(tap, tools, app) {
  app.take(['typed.mts', 'emit/typed.ts'], ['typed-main.cjs', 'emit/main.cjs']);
  app.write('emit/package.json', { private: true, type: 'commonjs' });
  const { path, reason } = tools.find('compilers', 'typescript-5.9', 'lib', 'tsc.js');
  for (const module of ['commonjs', 'node16', 'nodenext']) {
    const name = `TypeScript 5.9 to ${module}`;
    if (reason !== undefined) {
      tap.skip(`${name}: runs`, reason);
      continue;
    }
    const types = tools.find('compilers', '@types').path;
    const options = [
      '--module',
      module,
      '--target',
      'es2022',
      '--skipLibCheck',
      '--typeRoots',
      types,
      '--types',
      'node',
    ];
    const out = `out-${module}`;
    if (
      tap.check(`${name}: compiles`, process.execPath, [path, ...options, '--outDir', out, 'typed.ts'], {
        cwd: join(app.directory, 'emit'),
      })
    ) {
      tap.check(`${name}: runs`, process.execPath, ['emit/main.cjs', `./${out}/typed.js`, app.data()], {
        cwd: app.directory,
        judge: roundTrip,
      });
    }
  }
}
