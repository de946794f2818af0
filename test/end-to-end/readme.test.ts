/** The documents: their links lead somewhere, the files and commands that they name exist. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import ts from 'typescript';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PACKAGES = ['core', 'aio', 'kv', 'level', 'cli'];

const documents = [
  'README.md',
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  'benchmarks/ycsb/README.md',
  'benchmarks/regress/README.md',
  'benchmarks/space/README.md',
  'benchmarks/compaction/README.md',
  'benchmarks/memory/README.md',
  'benchmarks/profile/README.md',
  ...PACKAGES.map((name) => `packages/${name}/README.md`),
  ...readdirSync(join(ROOT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];
const scripts = Object.keys(
  (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: Record<string, string> }).scripts,
);
const snippet = /<!-- run -->\s*```js\n(.*?)```/gs;

/** What a heading is called in a link. */
function anchorsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map((match) =>
    (match[1] as string)
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\- _]/gu, '')
      .replaceAll(' ', '-'),
  );
}

for (const name of documents) {
  test(name, (t) => {
    const text = readFileSync(join(ROOT, name), 'utf8');
    t.regex(text, /^# /);
    for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target as string)) continue;
      const [path, anchor] = (target as string).split('#') as [string, string | undefined];
      const file = path === '' ? join(ROOT, name) : resolve(ROOT, dirname(name), path);
      t.true(existsSync(file), `${name} links to ${path}`);
      if (anchor !== undefined) t.true(anchorsOf(readFileSync(file, 'utf8')).includes(anchor), `${name}: #${anchor}`);
    }
    // A file in backticks is meant from the root.
    for (const [, path] of text.matchAll(
      /`((?:packages|benchmarks|test|docs|scripts|examples)\/[\w./-]*\w)\/?(?:`|\s)/g,
    )) {
      t.true(existsSync(join(ROOT, path as string)), `${name} names ${path as string}`);
    }
    for (const [, path] of text.matchAll(/(?:^|\s)((?:test|examples|benchmarks)\/[\w/-]+\.(?:ts|mjs))/gm)) {
      t.true(existsSync(join(ROOT, path as string)), `${name} names ${path as string}`);
    }
    for (const [, script] of text.matchAll(/\bnpm run (?:-s )?([\w:-]+)/g)) {
      t.true(scripts.includes(script as string), `${name} names npm run ${script as string}`);
    }
    for (const [, script] of text.matchAll(/\bnpm (start|test)\b/g)) t.true(scripts.includes(script as string));
  });
}

test('snippets that are run are short, and complete', (t) => {
  for (const name of ['README.md', ...PACKAGES.map((each) => `packages/${each}/README.md`)]) {
    const text = readFileSync(join(ROOT, name), 'utf8');
    const snippets = [...text.matchAll(snippet)].map((match) => match[1] as string);
    t.true(snippets.length > 0, name);
    t.is(snippets.length, text.split('<!-- run -->').length - 1, `${name}: a fence follows each mark`);
    for (const code of snippets) {
      t.true(code.trimEnd().split('\n').length <= 13, name);
      t.regex(code, /^(?:import |const .* = require\()/, name);
    }
  }
});

const SOURCES = PACKAGES.flatMap((name) =>
  readdirSync(join(ROOT, `packages/${name}/src`), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => ({ path, text: readFileSync(join(ROOT, `packages/${name}/src`, path), 'utf8') })),
);

test('ARCHITECTURE.md is short, and names files, classes and functions that are there', (t) => {
  const text = readFileSync(join(ROOT, 'ARCHITECTURE.md'), 'utf8');
  t.true(text.split(/\s+/).length < 2500);
  t.is([...text.matchAll(/^```\n[^`]*^```$/gm)].length, 3, 'drawings');
  const named = [...text.matchAll(/`(?:(?<owner>[A-Z]\w+)\.)?(?<name>#?[a-z]\w*)`/g)].map((match) => match.groups);
  t.true(named.length > 40, 'the search finds them');
  for (const groups of named) {
    const { owner, name } = groups as { owner?: string; name: string };
    const word = new RegExp(`(?<![\\w#])${name}\\b`);
    const isThere = SOURCES.some(
      ({ text: source }) => word.test(source) && (owner === undefined || source.includes(`class ${owner} `)),
    );
    t.true(isThere, `${owner ?? ''}.${name}`);
  }
  for (const [, path] of text.matchAll(/`(?:packages\/\w+\/src\/)?([\w/-]+\.ts)`/g)) {
    const isThere = path?.startsWith('test/') === true || SOURCES.some((source) => source.path === path);
    t.true(isThere, path);
  }
});

/** The members of an interface or a class that users see. */
function membersOf(path: string, name: string): string[] {
  const source = readFileSync(join(ROOT, path), 'utf8');
  const tree = ts.createSourceFile(path, source, ts.ScriptTarget.Latest, true);
  const found = tree.statements.find(
    (each): each is ts.InterfaceDeclaration | ts.ClassDeclaration =>
      (ts.isInterfaceDeclaration(each) || ts.isClassDeclaration(each)) && each.name?.text === name,
  );
  return (found?.members ?? []).flatMap((member: ts.Node) => {
    const { name: named } = member as ts.NamedDeclaration;
    const isInternal = ts.getJSDocTags(member).some(({ tagName }) => tagName.text === 'internal');
    return named !== undefined && ts.isIdentifier(named) && !isInternal ? [named.text] : [];
  });
}

test('decisions are numbered one after the other', (t) => {
  const text = readFileSync(join(ROOT, 'docs/decisions.md'), 'utf8');
  const numbers = [...text.matchAll(/^(\d+)\. \*\*/gm)].map(([, number]) => Number(number));
  t.true(numbers.length > 70);
  t.deepEqual(
    numbers,
    numbers.map((_, i) => i + 1),
  );
});

test('packages/kv/README.md has every method and option', (t) => {
  const text = readFileSync(join(ROOT, 'packages/kv/README.md'), 'utf8');
  const rows = new Set(
    [...text.matchAll(/^\| (`[^|]*)\|/gm)].flatMap(([, cell]) => (cell as string).match(/\w+/g) ?? []),
  );
  for (const [path, name] of [
    ['store.ts', 'Store'],
    ['statistics.ts', 'StoreStatistics'],
    ['options.ts', 'StoreOptions'],
    ['options.ts', 'WriteOptions'],
    ['write/write-batch.ts', 'ConditionOptions'],
    ['read/range.ts', 'KeyRange'],
    ['read/range.ts', 'RangeOptions'],
  ] as const) {
    const members = membersOf(`packages/kv/src/${path}`, name);
    t.true(members.length > 0, name);
    for (const member of members) t.true(rows.has(member), `${name}.${member}`);
  }
});
