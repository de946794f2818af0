/** The documents: their links lead somewhere, the files and commands that they name exist. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PACKAGES = ['core', 'aio', 'kv'];

const documents = [
  'README.md',
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  'benchmarks/ycsb/README.md',
  'benchmarks/regress/README.md',
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
