/** Node itself: `import`, `require` and dynamic import on each Node, `node --test`, and processes that lack something. */
const PROGRAMS = {
  import: 'main.mjs',
  require: 'main.cjs',
  'dynamic import beside require': 'dynamic.cjs',
  'import of level': 'level.mjs',
  'require of level': 'level.cjs',
};
const COMMAND = 'aiokv put';
const NODES = ['node-20', 'node-22', 'node-24', 'node-26'];

export function runtimeRows(tap, tools, project) {
  project.take('round-trip.mjs', 'round-trip.cjs', ...Object.values(PROGRAMS));
  rowsOf(tap, project, 'this node', process.execPath);
  for (const name of NODES) {
    const { path, reason } = tools.find(name, 'node', 'bin', 'node');
    if (reason === undefined) rowsOf(tap, project, name, path);
    else for (const what of [...Object.keys(PROGRAMS), COMMAND]) tap.skip(`${name}, ${what}`, reason);
  }
  testRunnerRow(tap, project);
  limitRows(tap, project);
}

function rowsOf(tap, project, name, node) {
  for (const [what, program] of Object.entries(PROGRAMS)) {
    tap.check(`${name}, ${what}`, node, [program, project.data()], { cwd: project.directory, judge: roundTrip });
  }
  const command = ['node_modules/@aiokv/cli/dist/bin.js', 'put', project.data(), 'key', 'value', '--create'];
  tap.check(`${name}, ${COMMAND}`, node, command, { cwd: project.directory });
}

function testRunnerRow(tap, project) {
  project.take(['suite-of-node.mjs', 'tests/a.test.mjs'], ['suite-of-node.mjs', 'tests/b.test.mjs']);
  project.take(['round-trip.mjs', 'tests/round-trip.mjs']);
  tap.check('node --test', process.execPath, ['--test', 'tests/a.test.mjs', 'tests/b.test.mjs'], {
    cwd: project.directory,
  });
}

function limitRows(tap, project) {
  const limits = { 'ulimit -v 8388608': ['ulimit -v 8388608', ''], '--jitless': ['true', '--jitless'] };
  for (const [name, [before, flag]] of Object.entries(limits)) {
    for (const program of ['main.mjs', 'main.cjs']) {
      const command = `${before} && exec "$0" ${flag} ${program} "$1"`;
      tap.check(`${name}, ${program}`, 'bash', ['-c', command, process.execPath, project.data()], {
        cwd: project.directory,
        judge: roundTrip,
      });
    }
  }
}

/** What is wrong with the output of a round trip. Warnings of Node, such as one about `require` of ES modules, are. */
export function roundTrip(stdout, stderr) {
  if (!stdout.includes('round trip')) return 'it ended before its end';
  return /\b(ExperimentalWarning|DeprecationWarning)\b/.test(stderr) ? 'it warned' : undefined;
}
