/**
 * Codes of invariants. One is stated in the opening comment of the file that keeps it: the code, a full stop, the
 * sentence. It is cited by its code alone, in comments, in titles of tests and in documents, without the file's name.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { ROOT, filesBelow } from './sources.ts';

const STATEMENT = /^ \*\s+([A-Z]{2,9}-\d+)\. /gm;
const CODE = /(?<![\w-])[A-Z]{2,9}-\d+(?![\w-])/g;
/** What looks like a code and is the name of a standard. */
const STANDARDS = ['UTF-8', 'UTF-16', 'ISO-8859', 'SHA-1', 'SHA-256', 'CRC-32', 'POSIX-1'];
/** As they were before codes had a prefix for their file. */
const OLD_CODE = /(?<![\w.$'"-])(?!V8)[A-Z][1-9](?![\w-])/;

const files = [
  ...['packages', 'test', 'benchmarks', 'examples'].flatMap((folder) => filesBelow(folder, '.ts')),
  ...['packages', 'docs', 'benchmarks'].flatMap((folder) => filesBelow(folder, '.md')),
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  'README.md',
].map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }));

test('every code that is cited is stated, and stated once', (t) => {
  const stated = new Map<string, string[]>();
  for (const { path, text } of files) {
    const [opening = ''] = text.split(/\*\/|\nimport /, 1);
    for (const [, code] of opening.matchAll(STATEMENT)) {
      stated.set(code as string, [...(stated.get(code as string) ?? []), path]);
    }
  }
  t.true(stated.size > 0);
  for (const [code, paths] of stated) t.is(paths.length, 1, `${code} is stated in ${paths.join(' and ')}`);
  const isCode = (code: string): boolean => !STANDARDS.includes(code);
  for (const { path, text } of files) {
    const unknown = [...new Set(text.match(CODE) ?? [])].filter((code) => isCode(code) && !stated.has(code));
    t.deepEqual(unknown, [], `${path} cites codes that no file states`);
  }
});

test('no file has codes without a prefix', (t) => {
  const found = files.filter(({ path, text }) => {
    if (path === 'packages/core/src/xxhash.ts') return false;
    return OLD_CODE.test(path.startsWith('packages/') && path.endsWith('.ts') ? commentsOf(text) : text);
  });
  t.deepEqual(
    found.map(({ path }) => path),
    [],
  );
});

/** Lines of comments, and what follows `//`. */
function commentsOf(text: string): string {
  return (text.match(/^\s*(?:\/\*\*|\*).*$|\/\/.*$/gm) ?? []).join('\n');
}
