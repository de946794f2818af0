/**
 * What the repository looks like: which layer may import which, how long files and functions may be, what
 * stands at the top, and that the list of error codes, their uses and their descriptions agree. What the sources look
 * like inside is looked at in test/structure.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve, sep } from 'node:path';
import test from 'ava';
import ts from 'typescript';
import { ERROR_CODES } from '@aiokv/core';
import { ROOT, filesBelow, fromRoot, visit } from '../structure/sources.ts';

const MOST_LINES_OF_A_FILE = 600;
const MOST_LINES_OF_A_FUNCTION = 90;
const FFI_PACKAGES = ['koffi', 'ffi-napi', 'ref-napi'];
/** Which packages of ours a package may import. */
const BELOW: Readonly<Record<string, readonly string[]>> = {
  core: [],
  aio: ['@aiokv/core'],
  kv: ['@aiokv/aio', '@aiokv/core'],
  level: ['@aiokv/kv', '@aiokv/core'],
  cli: ['@aiokv/kv', '@aiokv/aio', '@aiokv/core'],
};

interface Source {
  /** From the root, with slashes. */
  readonly path: string;
  readonly text: string;
  readonly tree: ts.SourceFile;
  /** Specifiers of imports and exports, and of `require` and `import()` of a string. */
  readonly imports: readonly string[];
}

const sources: readonly Source[] = Object.keys(BELOW).flatMap((name) =>
  filesBelow(`packages/${name}/src`, '.ts').map((path) => readSource(join(ROOT, path))),
);

function readSource(path: string): Source {
  const text = readFileSync(path, 'utf8');
  const tree = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const imports: string[] = [];
  visit(tree, (node) => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
      imports.push(node.moduleSpecifier.text);
    } else if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
      if (ts.isStringLiteral(node.moduleSpecifier)) imports.push(node.moduleSpecifier.text);
    } else if (ts.isCallExpression(node)) {
      const [first] = node.arguments;
      const isImport =
        node.expression.kind === ts.SyntaxKind.ImportKeyword || /^require\b/.test(node.expression.getText());
      if (isImport && first !== undefined && ts.isStringLiteral(first)) imports.push(first.text);
    }
  });
  return { path: fromRoot(path), text, tree, imports };
}

function packageOf(source: Source): string {
  return source.path.split('/')[1] as string;
}

function trackedFiles(): string[] {
  const { stdout, status } = spawnSync('git', ['ls-files', '-z'], { cwd: ROOT, encoding: 'utf8' });
  if (status !== 0) return [];
  return stdout.split('\0').filter((path) => path !== '' && existsSync(join(ROOT, path)));
}

test('packages import only those below them', (t) => {
  for (const source of sources) {
    const name = packageOf(source);
    const own = join(ROOT, 'packages', name, 'src') + sep;
    for (const specifier of source.imports) {
      if (specifier.startsWith('@aiokv/')) {
        t.true(BELOW[name]?.includes(specifier), `${source.path} imports ${specifier}`);
      } else if (specifier.startsWith('.')) {
        const target = resolve(ROOT, dirname(source.path), specifier);
        t.true(target.startsWith(own), `${source.path} reaches out of its package: ${specifier}`);
      }
    }
  }
});

test('only packages/aio/src/ffi names an FFI package', (t) => {
  const folder = 'packages/aio/src/ffi/';
  for (const source of sources.filter(({ path }) => !path.startsWith(folder))) {
    const named = source.imports.filter((specifier) => FFI_PACKAGES.some((name) => specifier.split('/')[0] === name));
    t.deepEqual(named, [], source.path);
  }
  const loaders = sources.filter(
    ({ path, text }) => path.startsWith(folder) && FFI_PACKAGES.some((name) => text.includes(`'${name}`)),
  );
  t.true(loaders.length > 0, 'the search finds the adapters');
});

test('index.ts files only re-export', (t) => {
  for (const { path, tree } of sources.filter((source) => source.path.endsWith('/index.ts'))) {
    const others = tree.statements.filter(
      (statement) => !(ts.isExportDeclaration(statement) && statement.moduleSpecifier !== undefined),
    );
    t.deepEqual(
      others.map((statement) => statement.getText()),
      [],
      path,
    );
  }
});

test('files and functions are short', (t) => {
  for (const { path, text, tree } of sources) {
    const lines = text.split('\n').length - 1;
    t.true(lines <= MOST_LINES_OF_A_FILE, `${path} has ${lines} lines`);
    visit(tree, (node) => {
      if (!ts.isFunctionLike(node)) return;
      const from = tree.getLineAndCharacterOfPosition(node.getStart(tree)).line;
      const count = tree.getLineAndCharacterOfPosition(node.end).line - from + 1;
      t.true(count <= MOST_LINES_OF_A_FUNCTION, `the function at ${path}:${from + 1} has ${count} lines`);
    });
  }
});

test('every source file opens with a paragraph', (t) => {
  for (const { path, text } of sources.filter((source) => !source.path.endsWith('/index.ts'))) {
    const afterInterpreter = text.replace(/^#!.*\n/, '');
    t.true(afterInterpreter.startsWith('/**'), `${path} does not say what it is`);
  }
});

test('the top level is laid out as it should be', (t) => {
  const directories = ['.ci', 'benchmarks', 'docs', 'examples', 'packages', 'scripts', 'test'];
  const files = ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'LICENSE', 'package.json'];
  for (const name of [...directories, ...files, 'pnpm-workspace.yaml', '.ci/run']) {
    t.true(existsSync(join(ROOT, name)), name);
  }
  for (const name of Object.keys(BELOW)) {
    for (const file of ['README.md', 'LICENSE', 'package.json', 'src/index.ts']) {
      t.true(existsSync(join(ROOT, 'packages', name, file)), `packages/${name}/${file}`);
    }
  }
  const known = new Set(directories);
  const strangers = trackedFiles().filter((path) => path.includes('/') && !known.has(path.split('/')[0] as string));
  t.deepEqual(strangers, []);
});

test('every error code is used, and described in docs/errors.md', (t) => {
  const described = [...readFileSync(join(ROOT, 'docs/errors.md'), 'utf8').matchAll(/^\| `(ERR_AIOKV_\w+)` \|/gm)];
  const codes = described.map((match) => match[1] as string);
  t.deepEqual([...codes].sort(), [...ERROR_CODES].sort());
  const used = new Set<string>();
  for (const { path, tree } of sources) {
    if (path === 'packages/core/src/errors.ts') used.add('ERR_AIOKV_INTERNAL');
    else visit(tree, (node) => void (ts.isStringLiteral(node) && used.add(node.text)));
  }
  t.deepEqual(
    ERROR_CODES.filter((code) => !used.has(code)),
    [],
    'codes that nothing throws',
  );
});

test('no tracked file names a path of the machine that it was written on', (t) => {
  const places = ['work', 'tmp/bash', 'root'].map((name) => `/${name}${name.includes('/') ? '' : '/'}`);
  for (const path of trackedFiles()) {
    const bytes = readFileSync(join(ROOT, path));
    if (bytes.includes(0)) continue;
    const text = bytes.toString();
    for (const place of places) {
      // A relative path such as node_modules/root/ is none of them.
      const found = new RegExp(`(?<![\\w.@-])${place}`).exec(text);
      t.is(found, null, `${path} names ${place}`);
    }
  }
});
