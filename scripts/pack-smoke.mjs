/**
 * Packs the three packages as they would be published, checks their shape, installs the tarballs into an
 * empty project and runs the snippets of the READMEs there: those fences marked with `<!-- run -->`. Prints TAP.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PNPM, ROOT, setup } from './setup.mjs';

const PACKAGES = ['core', 'aio', 'kv'];
let passed = 0;
let failed = 0;

function check(name, command, args, cwd) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (status === 0) {
    passed++;
    console.log(`ok ${passed + failed} - ${name}`);
  } else {
    failed++;
    console.log(`not ok ${passed + failed} - ${name}\n${`${stdout}${stderr}`.replaceAll(/^/gm, '  ')}`);
  }
}

setup();
console.log('TAP version 13');

/** Direct I/O needs a real disk, which a temporary directory may not be: the project lies beside the repository's files. */
const project = mkdtempSync(join(ROOT, '.tmp-pack-'));
const bin = (name) => join(ROOT, 'node_modules/.bin', name);
try {
  // tsc leaves in dist what came of a source that is gone, and it would be packed.
  for (const name of PACKAGES) rmSync(join(ROOT, 'packages', name, 'dist'), { recursive: true, force: true });
  check('build', bin('tsc'), ['-b'], ROOT);
  for (const name of PACKAGES) {
    const folder = join(ROOT, 'packages', name);
    check(`pack ${name}`, 'npx', ['-y', PNPM, 'pack', '--pack-destination', project], folder);
    const tarball = join(
      project,
      readdirSync(project).find((file) => file.startsWith(`aiokv-${name}-`)) ?? 'missing.tgz',
    );
    check(`publint ${name}`, bin('publint'), ['run', tarball, '--strict'], folder);
    check(`attw ${name}`, bin('attw'), [tarball, '--profile', 'esm-only'], folder);
  }
  writeFileSync(join(project, 'package.json'), '{ "name": "smoke", "private": true, "type": "module" }\n');
  const tarballs = readdirSync(project).filter((file) => file.endsWith('.tgz'));
  check(
    'install the tarballs',
    'npm',
    ['install', '--no-audit', '--no-fund', ...tarballs.map((file) => `./${file}`)],
    project,
  );
  for (const readme of ['README.md', ...PACKAGES.map((name) => `packages/${name}/README.md`)]) {
    snippetsOf(join(ROOT, readme)).forEach((snippet, index) => {
      const file = `snippet-${readme.replaceAll(/\W/g, '-')}-${index}.mjs`;
      writeFileSync(join(project, file), snippet);
      check(`${readme}, snippet ${index + 1}`, process.execPath, [file], project);
    });
  }
} finally {
  rmSync(project, { recursive: true, force: true });
}
console.log(`\n1..${passed + failed}\n# pass ${passed}\n# fail ${failed}`);
process.exitCode = failed === 0 ? 0 : 1;

function snippetsOf(file) {
  return [...readFileSync(file, 'utf8').matchAll(/<!-- run -->\s*```(?:js|ts)\n(.*?)```/gs)].map((match) => match[1]);
}
