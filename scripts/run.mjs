/** Sets up, then runs one of the project's commands with the arguments that follow it. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { ROOT, setup } from './setup.mjs';

const SOURCE = ['--import=tsx', '--conditions=@aiokv/source'];

const commands = {
  demo: [...SOURCE, join(ROOT, 'benchmarks/demo/main.ts')],
  ycsb: [...SOURCE, join(ROOT, 'benchmarks/ycsb/main.ts')],
  'aio-bench': [...SOURCE, join(ROOT, 'benchmarks/aio-bench/main.ts')],
  compare: [...SOURCE, join(ROOT, 'benchmarks/compare/main.ts')],
  'bench:regress': [...SOURCE, join(ROOT, 'benchmarks/regress/main.ts')],
  qualify: [...SOURCE, join(ROOT, 'packages/aio/src/qualify-cli.ts')],
  soak: [...SOURCE, join(ROOT, 'test/soak/main.ts')],
  test: [join(ROOT, 'node_modules/ava/entrypoints/cli.mjs')],
};

const [name, ...rest] = process.argv.slice(2);
if (!Object.hasOwn(commands, name)) {
  console.error(`usage: node scripts/run.mjs ${Object.keys(commands).join('|')} [arguments]`);
  process.exit(2);
}
setup();
const child = spawn(process.execPath, [...commands[name], ...rest], { cwd: ROOT, stdio: 'inherit' });
// A terminal sends Ctrl-C to the child as well; passed on, it would arrive twice and cut the child's clearing up short.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => child.kill('SIGTERM'));
child.on('exit', (code, signal) => {
  process.exitCode = signal === null ? code : 1;
});
