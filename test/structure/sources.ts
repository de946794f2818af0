/** The sources of the packages, for the tests that look at them: as texts, as trees, and with types. */
import { readdirSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PACKAGES = ['core', 'aio', 'kv', 'level', 'cli'] as const;

export interface Source {
  /** From the root, with slashes. */
  readonly path: string;
  readonly text: string;
  readonly tree: ts.SourceFile;
}

/** Files below a folder of the repository whose name ends so, from the root. */
export function filesBelow(folder: string, ending: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => fromRoot(join(entry.parentPath, entry.name)))
    .filter((path) => !/(?:^|\/)(?:node_modules|dist|\.tmp-[^/]*)\//.test(path));
}

export function fromRoot(path: string): string {
  return relative(ROOT, path).split(sep).join('/');
}

/** Sees a node and all below it. */
export function visit(node: ts.Node, see: (node: ts.Node) => void): void {
  see(node);
  ts.forEachChild(node, (child) => visit(child, see));
}

/** What stands at a node, on one line. */
export function textOf(node: ts.Node): string {
  return node.getText().replaceAll(/\s+/g, ' ');
}

/** Files that a file imports or exports from by a relative path, types counted; from the root. */
export function importsOf({ path, tree }: Source): string[] {
  const found: string[] = [];
  visit(tree, (node) => {
    const specifier =
      ts.isImportDeclaration(node) || ts.isExportDeclaration(node)
        ? node.moduleSpecifier
        : ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)
          ? node.argument.literal
          : ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword
            ? node.arguments[0]
            : undefined;
    if (specifier === undefined || !ts.isStringLiteral(specifier) || !specifier.text.startsWith('.')) return;
    found.push(fromRoot(resolve(ROOT, dirname(path), specifier.text)));
  });
  return found;
}

/** All sources of the packages in one program, which knows their types. */
export function readProgram(): { readonly sources: readonly Source[]; readonly checker: ts.TypeChecker } {
  const paths = PACKAGES.flatMap((name) => filesBelow(`packages/${name}/src`, '.ts'));
  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.check.json'), ts.sys.readFile.bind(ts.sys)) as {
    config: object;
  };
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, ROOT);
  const program = ts.createProgram(
    paths.map((path) => join(ROOT, path)),
    options,
  );
  const sources = paths.map((path) => {
    const tree = program.getSourceFile(join(ROOT, path));
    if (tree === undefined) throw new Error(`${path} is no part of the program`);
    // Positions of nodes are found through their parents, which only the checker sets otherwise.
    setParents(tree);
    return { path, text: tree.text, tree };
  });
  return { sources, checker: program.getTypeChecker() };
}

function setParents(node: ts.Node): void {
  ts.forEachChild(node, (child) => {
    (child as { parent: ts.Node }).parent = node;
    setParents(child);
  });
}
