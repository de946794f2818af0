/** Test frameworks that load packages in a way of their own: jest in realms, vitest in workers and processes. */
/** The first is none: what is chosen where nobody asks. */
const FFIS = ['', 'koffi', 'ffi-napi'];

export function testerRows(tap, tools, project, { hasFfiNapi }) {
  project.take(['suite.cjs', 'jest/cjs/a.test.js'], ['suite.cjs', 'jest/cjs/b.test.js']);
  project.take(['round-trip.cjs', 'jest/cjs/round-trip.cjs']);
  project.take(['suite.mjs', 'jest/esm/a.test.mjs'], ['suite.mjs', 'jest/esm/b.test.mjs']);
  project.take(['round-trip.mjs', 'jest/esm/round-trip.mjs']);
  project.write('jest/package.json', {
    private: true,
    jest: { testEnvironment: 'node', testMatch: ['**/*.test.?(m)js'], moduleFileExtensions: ['js', 'mjs', 'cjs'] },
  });
  for (const version of ['jest-29', 'jest-30']) {
    for (const ffi of FFIS) jestRows(tap, tools, project, { version, ffi, hasFfiNapi });
  }
  vitestRows(tap, tools, project);
}

/** Two files in one process: each has a realm of its own, and loads the packages again. */
function jestRows(tap, tools, project, { version, ffi, hasFfiNapi }) {
  const { path, reason } = tools.find('jest', version, 'bin', 'jest.js');
  for (const [kind, flags] of Object.entries({ cjs: [], esm: ['--experimental-vm-modules', '--no-warnings'] })) {
    const name = `${version}, ${kind}, two files in one process, ${ffi === '' ? 'FFI by default' : ffi}`;
    if (reason !== undefined) tap.skip(name, reason);
    else if (ffi === 'ffi-napi' && !hasFfiNapi) tap.skip(name, 'ffi-napi is not installed: no C++ toolchain');
    else {
      tap.check(name, process.execPath, [...flags, path, '--runInBand', `${kind}/`], {
        cwd: `${project.directory}/jest`,
        env: { AIOKV_FFI: ffi },
        judge: (_, stderr) => (/Tests: +2 passed, 2 total/.test(stderr) ? undefined : 'not two tests'),
        timeoutMs: 60_000,
      });
    }
  }
}

function vitestRows(tap, tools, project) {
  project.take(['suite.mjs', 'vitest/a.test.mjs'], ['suite.mjs', 'vitest/b.test.mjs']);
  project.take(['round-trip.mjs', 'vitest/round-trip.mjs']);
  const { path, reason } = tools.find('vitest', 'vitest', 'vitest.mjs');
  for (const pool of ['threads', 'forks', 'vmThreads']) {
    const name = `vitest, ${pool}, two files`;
    if (reason !== undefined) tap.skip(name, reason);
    else {
      tap.check(name, process.execPath, [path, 'run', '--globals', '--pool', pool, '--root', 'vitest'], {
        cwd: project.directory,
        judge: (stdout) => (/Tests +2 passed \(2\)/.test(stdout) ? undefined : 'not two tests'),
        timeoutMs: 120_000,
      });
    }
  }
}
