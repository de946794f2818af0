/** What no source of the packages does: use timers that tests replace, and calls that grow with their data. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import ts from 'typescript';
import { GLOBAL_TIMERS, SHIFTS, SPREADS, TEST_CLOCKS } from './exceptions.ts';
import { matches } from './matches.ts';
import { ROOT, filesBelow, readProgram, textOf, visit } from './sources.ts';

const { sources, checker } = readProgram();
const TIMERS_FILE = 'packages/core/src/timers.ts';
const TIMER_MODULES = /^(?:node:)?(?:timers|perf_hooks)(?:\/|$)/;
const TIMERS = [
  'setTimeout',
  'setInterval',
  'setImmediate',
  'clearTimeout',
  'clearInterval',
  'clearImmediate',
  'queueMicrotask',
  'performance',
];

/** Found at which node of which file; the same text in one file counts once. */
function search(find: (node: ts.Node) => ts.Node | null): string[] {
  return sources.flatMap(({ path, tree }) => {
    const found: string[] = [];
    visit(tree, (node) => {
      const at = find(node);
      if (at !== null) found.push(`${path}: ${textOf(at)}`);
    });
    return found;
  });
}

/** A test framework replaces the global timers, and the store has to go on: all come from core's timers.ts. */
test('global timers are used in one file', (t) => {
  const found = search((node) => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
      return TIMER_MODULES.test(node.moduleSpecifier.text) ? node : null;
    }
    if (!ts.isIdentifier(node)) return null;
    // The clock of the calendar, too, which is set by hand as well.
    if (node.text === 'Date') return isGlobal(node) && ts.isPropertyAccessExpression(node.parent) ? node.parent : null;
    return TIMERS.includes(node.text) && isGlobal(node) ? node : null;
  });
  t.true(
    found.some((each) => each.startsWith(`${TIMERS_FILE}: `)),
    'the search finds those that are allowed',
  );
  matches(
    t,
    found.filter((each) => !each.startsWith(`${TIMERS_FILE}: `)),
    GLOBAL_TIMERS,
  );
});

/** Whether a name means what Node declares, not an import or a declaration of ours. */
function isGlobal(node: ts.Identifier): boolean {
  const declared = checker.getSymbolAtLocation(node)?.declarations ?? [];
  return declared.some((each) => each.getSourceFile().isDeclarationFile);
}

/** `Array.shift` moves all that is left, so a queue of n entries costs n²; core has `Fifo`. */
test('no array is used as a queue', (t) => {
  const found = search((node) => {
    if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return null;
    const { name, expression } = node.expression;
    if (name.text !== 'shift' && name.text !== 'unshift') return null;
    return checker.isArrayLikeType(checker.getNonNullableType(checker.getTypeAtLocation(expression))) ? node : null;
  });
  matches(t, found, SHIFTS);
});

/** Arguments lie on the stack: some 120,000 of them are a RangeError. */
test('no array of any length is spread into a call', (t) => {
  const found = search((node) => {
    const isCall = ts.isCallExpression(node) || ts.isNewExpression(node);
    return isCall && node.arguments?.some(ts.isSpreadElement) === true ? node : null;
  });
  matches(t, found, SPREADS);
});

const tests = filesBelow('test', '.ts')
  .filter((path) => !path.startsWith('test/structure/'))
  .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }));

/** A machine that is busy fails tests that assert how long something took; those stand in test/timed, and run alone. */
test('no test of the parallel step reads the clock without a reason', (t) => {
  const found = tests.filter(
    ({ path, text }) => !/^test\/(?:timed|soak)\//.test(path) && /performance\.now|Date\.now|hrtime/.test(text),
  );
  matches(
    t,
    found.map(({ path }) => path),
    TEST_CLOCKS,
  );
});

test('no test passes without a look, and none begins at random', (t) => {
  for (const { path, text } of tests) {
    t.notRegex(text, /\bt\.pass\(/, `${path}: a test that cannot run is skipped (test/helpers/skip.ts)`);
    if (path !== 'test/helpers/seed.ts')
      t.notRegex(text, /Math\.random/, `${path}: seeds come from test/helpers/seed.ts`);
  }
});
