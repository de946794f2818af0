/**
 * The tools that use the packages, from npm, in groups. A group is installed once, at its first use, into a directory of
 * its own, which no project of the matrix can see. Where it cannot be installed its rows are skipped, with the reason.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cleanEnvironment } from './tap.mjs';

const node = (version) => `npm:node-linux-${process.arch}@${version}`;

/** Of each: the versions that were looked at. They run on Node 20.19. */
const GROUPS = {
  compilers: {
    'typescript-5.0': 'npm:typescript@5.0.4',
    'typescript-5.2': 'npm:typescript@5.2.2',
    'typescript-5.4': 'npm:typescript@5.4.5',
    'typescript-5.6': 'npm:typescript@5.6.3',
    'typescript-5.9': 'npm:typescript@5.9.3',
    'typescript-7.0': 'npm:typescript@7.0.2',
    '@types/node': '20.19.43',
    'types-node-latest': 'npm:@types/node@latest',
  },
  bundlers: { esbuild: '0.28.2', vite: '7.3.8', webpack: '5.112.2' },
  jest: { 'jest-29': 'npm:jest@29.7.0', 'jest-30': 'npm:jest@30.5.2' },
  vitest: { vitest: '4.1.12', vite: '7.3.8' },
  installers: { yarn: '1.22.22', '@yarnpkg/cli-dist': '4.18.1' },
  'node-20': { node: node('20.19.0') },
  'node-22': { node: node('22') },
  'node-24': { node: node('24') },
  'node-26': { node: node('26') },
};

export class Tools {
  #directory;
  #installed = new Map();

  constructor(directory) {
    this.#directory = directory;
  }

  /** The path of a file of a tool, or the reason why the tool is not there. */
  find(group, ...path) {
    if (!this.#installed.has(group)) this.#installed.set(group, this.#install(group));
    const { directory, reason } = this.#installed.get(group);
    return reason === undefined ? { path: join(directory, 'node_modules', ...path) } : { reason };
  }

  #install(group) {
    const directory = join(this.#directory, group);
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'package.json'), JSON.stringify({ private: true, dependencies: GROUPS[group] }));
    const { status, stderr, error } = spawnSync('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline'], {
      cwd: directory,
      encoding: 'utf8',
      env: cleanEnvironment({}),
    });
    if (status === 0) return { directory };
    const said = (error?.message ?? stderr).split('\n').find((line) => /error/i.test(line)) ?? 'npm failed';
    return { reason: `${group} cannot be installed: ${said.trim()}` };
  }
}
