/** docs/aio.md names every export, so that none is without a description. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import ts from 'typescript';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** The names that an `index.ts` re-exports. */
function exportsOf(path: string): string[] {
  const tree = ts.createSourceFile(path, readFileSync(`${ROOT}${path}`, 'utf8'), ts.ScriptTarget.Latest, true);
  return tree.statements.flatMap((statement) => {
    if (!ts.isExportDeclaration(statement) || statement.exportClause === undefined) return [];
    if (ts.isNamespaceExport(statement.exportClause)) return [statement.exportClause.name.text];
    return statement.exportClause.elements.map(({ name }) => name.text);
  });
}

for (const path of ['packages/aio/src/index.ts', 'packages/aio/src/raw/index.ts']) {
  test(`docs/aio.md describes every export of ${path}`, (t) => {
    const names = exportsOf(path);
    t.true(names.length > 10, 'the search finds them');
    const page = readFileSync(`${ROOT}docs/aio.md`, 'utf8');
    const described = new Set([...page.matchAll(/`(\w+)[`(]/g)].map((match) => match[1]));
    t.deepEqual(
      names.filter((name) => !described.has(name)),
      [],
    );
  });
}
