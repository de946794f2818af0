/** The house: which file may import which, and that nothing below is handed a way back up. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import ts from 'typescript';
import { CYCLES, HOOKS, UPWARD_IMPORTS } from './exceptions.ts';
import { FLOORS, floorOf, isAbove } from './floors.ts';
import { matches } from './matches.ts';
import { ROOT, fromRoot, importsOf, readProgram, textOf, visit } from './sources.ts';

const { sources, checker } = readProgram();
const imports = new Map(sources.map((source) => [source.path, importsOf(source)]));

test('every file stands on a floor, and every room of the table is there', (t) => {
  t.deepEqual(
    sources.map(({ path }) => path).filter((path) => floorOf(path) === undefined),
    [],
    'files that test/structure/floors.ts has no room for',
  );
  for (const [name, floors] of Object.entries(FLOORS)) {
    for (const room of floors.flatMap(({ rooms }) => rooms)) {
      // A room that is planned has no files yet.
      if (PLANNED.includes(`${name}/${room}`)) continue;
      t.true(existsSync(join(ROOT, 'packages', name, 'src', room)), `${name} has no ${room}`);
    }
  }
});

/** Rooms that the next parts move into. */
const PLANNED: readonly string[] = ['kv/maintenance/'];

test('no import leads up', (t) => {
  const upward = [...imports].flatMap(([path, targets]) =>
    targets.filter((target) => isAbove(target, path)).map((target) => `${path} -> ${target}`),
  );
  matches(t, upward, UPWARD_IMPORTS);
});

test('no file imports itself by a detour, types counted', (t) => {
  const done = new Set<string>();
  const cycles: string[] = [];
  const walk = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) cycles.push([...trail.slice(trail.indexOf(path)), path].join(' -> '));
    if (done.has(path) || trail.includes(path)) return;
    for (const target of imports.get(path) ?? []) {
      t.true(imports.has(target), `${path} imports ${target}, which is not there`);
      walk(target, [...trail, path]);
    }
    done.add(path);
  };
  for (const path of imports.keys()) walk(path, []);
  matches(t, cycles, CYCLES);
});

/**
 * A property of an object that a lower floor declares is given a function: later the lower floor calls it, and that call
 * leads up. It should be asked instead, or the function be an argument of the one call that needs it.
 */
test('no function is left on an object of a lower floor', (t) => {
  const hooks: string[] = [];
  for (const { path, tree } of sources) {
    visit(tree, (node) => {
      if (!ts.isBinaryExpression(node) || node.operatorToken.kind !== ts.SyntaxKind.EqualsToken) return;
      const { left, right } = node;
      if (!ts.isPropertyAccessExpression(left) || left.expression.kind === ts.SyntaxKind.ThisKeyword) return;
      if (!isFunction(right)) return;
      const declared = checker.getSymbolAtLocation(left.name)?.declarations?.[0]?.getSourceFile();
      if (declared === undefined || !isAbove(path, fromRoot(declared.fileName))) return;
      hooks.push(`${path}: ${textOf(left)}`);
    });
  }
  matches(t, hooks, HOOKS);
});

function isFunction(node: ts.Expression): boolean {
  return checker.getNonNullableType(checker.getTypeAtLocation(node)).getCallSignatures().length > 0;
}

test('the searches find what they look for', (t) => {
  t.true(isAbove('packages/kv/src/store.ts', 'packages/kv/src/log/writer.ts'));
  t.true(isAbove('packages/kv/src/log/writer.ts', 'packages/aio/src/queue.ts'));
  t.false(isAbove('packages/aio/src/raw/libc.ts', 'packages/aio/src/engines/libaio.ts'));
  t.false(isAbove('packages/kv/src/log/writer.ts', 'packages/kv/src/log/chain.ts'));
  t.true([...imports.values()].flat().length > 300);
});
