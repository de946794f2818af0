/** Package managers: each installs the tarballs into a project of its own, which then imports and requires them. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { PNPM } from '../setup.mjs';
import { Project } from './project.mjs';
import { roundTrip } from './runtime.mjs';
import { cleanEnvironment } from './tap.mjs';

// The repository above is a workspace of pnpm's, too.
const PNPM_INSTALL = ['npx', '-y', PNPM, 'install', '--ignore-workspace', '--prefer-offline'];
const PROGRAMS = ['main.mjs', 'main.cjs'];

/** `tarballs` are paths by package name. npm itself is what installs the project of all other rows. */
export function installerRows(tap, tools, directory, tarballs) {
  const files = Object.fromEntries(Object.entries(tarballs).map(([name, path]) => [name, `file:${path}`]));
  const root = { private: true, dependencies: files };
  const project = (name) => {
    const made = new Project(join(directory, name));
    made.take('round-trip.mjs', 'round-trip.cjs', ...PROGRAMS);
    return made;
  };

  const pnpm = project('pnpm');
  pnpm.write('package.json', { ...root, pnpm: { overrides: files } });
  installed(tap, 'pnpm', pnpm, PNPM_INSTALL);

  const built = project('pnpm-built');
  built.write('package.json', {
    ...root,
    pnpm: { overrides: files, onlyBuiltDependencies: ['@2060.io/ffi-napi', '@2060.io/ref-napi'] },
  });
  installed(tap, 'pnpm with onlyBuiltDependencies', built, PNPM_INSTALL);

  const classic = tools.find('installers', 'yarn', 'bin', 'yarn.js');
  const berry = tools.find('installers', '@yarnpkg', 'cli-dist', 'bin', 'yarn.js');
  yarnRow(tap, 'yarn 1', project('yarn'), { tool: classic, root: { ...root, resolutions: files } });
  const registry = spawnSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).stdout.trim();
  for (const nodeLinker of ['node-modules', 'pnp']) {
    const made = project(`yarn-${nodeLinker}`);
    // An empty lockfile says that the project is its own, whatever lies above it.
    made.write('yarn.lock', '');
    const settings = { nodeLinker, enableGlobalCache: true, enableTelemetry: false, npmRegistryServer: registry };
    made.write('.yarnrc.yml', settings);
    yarnRow(tap, `yarn 4, ${nodeLinker}`, made, { tool: berry, root: { ...root, resolutions: files } });
  }
}

function yarnRow(tap, name, project, { tool, root }) {
  project.write('package.json', root);
  if (tool.reason === undefined) installed(tap, name, project, [process.execPath, tool.path, 'install']);
  else for (const program of ['installs', ...PROGRAMS]) tap.skip(`${name}: ${program}`, tool.reason);
}

function installed(tap, name, project, [command, ...args]) {
  const isPnp = name.endsWith('pnp');
  const env = { YARN_ENABLE_IMMUTABLE_INSTALLS: 'false' };
  const options = { cwd: project.directory, env, timeoutMs: 300_000 };
  if (!tap.check(`${name}: installs`, command, args, options)) {
    for (const program of PROGRAMS) tap.skip(`${name}: ${program}`, 'it was not installed');
    return;
  }
  // Plug'n'Play has no node_modules: its loaders say where packages are.
  const loaders = isPnp ? ['--require', './.pnp.cjs', '--loader', './.pnp.loader.mjs', '--no-warnings'] : [];
  for (const program of PROGRAMS) {
    tap.check(`${name}: ${program}`, process.execPath, [...loaders, program, project.data()], {
      cwd: project.directory,
      judge: roundTrip,
    });
  }
}

/** Installs the tarballs into the project of the other rows, with npm. */
export function installWithNpm(tap, project, tarballs) {
  project.write('package.json', { name: 'smoke', private: true });
  const args = ['install', '--no-audit', '--no-fund', '--prefer-offline', ...Object.values(tarballs)];
  const options = { cwd: project.directory, timeoutMs: 300_000 };
  return tap.check('npm: installs', 'npm', args, options);
}

export function hasFfiNapi(project) {
  const probe = "require('ffi-napi')";
  const { status } = spawnSync(process.execPath, ['-e', probe], {
    cwd: project.directory,
    stdio: 'ignore',
    env: cleanEnvironment({}),
  });
  return status === 0;
}
