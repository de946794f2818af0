/** Sets up, then runs one of the project's commands with the arguments that follow it. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { ROOT, setup } from './setup.mjs';
import { runSuite } from './test.mjs';

const SOURCE = ['--import=tsx', '--conditions=@aiokv/source'];

const commands = {
  demo: [...SOURCE, join(ROOT, 'benchmarks/demo/main.ts')],
  ycsb: [...SOURCE, join(ROOT, 'benchmarks/ycsb/main.ts')],
  'aio-bench': [...SOURCE, join(ROOT, 'benchmarks/aio-bench/main.ts')],
  bench: [...SOURCE, join(ROOT, 'benchmarks/bench/main.ts')],
  report: [...SOURCE, join(ROOT, 'benchmarks/report/main.ts')],
  compare: [...SOURCE, join(ROOT, 'benchmarks/compare/main.ts')],
  space: [...SOURCE, join(ROOT, 'benchmarks/space/main.ts')],
  compaction: [...SOURCE, join(ROOT, 'benchmarks/compaction/main.ts')],
  'memory-load': [...SOURCE, join(ROOT, 'benchmarks/memory/main.ts')],
  'bench:regress': [...SOURCE, join(ROOT, 'benchmarks/regress/main.ts')],
  profile: [...SOURCE, join(ROOT, 'benchmarks/profile/main.ts')],
  'level-bench': [...SOURCE, join(ROOT, 'benchmarks/micro/level.ts')],
  qualify: [...SOURCE, join(ROOT, 'packages/aio/src/qualify-cli.ts')],
  soak: [...SOURCE, join(ROOT, 'test/soak/main.ts')],
  'soak:full': [...SOURCE, join(ROOT, 'test/soak/full-device.ts')],
  'soak:snapshots': [...SOURCE, join(ROOT, 'test/soak/snapshots.ts')],
};

const [name, ...rest] = process.argv.slice(2);
if (name !== 'test' && !Object.hasOwn(commands, name)) {
  console.error(`usage: node scripts/run.mjs test|${Object.keys(commands).join('|')} [arguments]`);
  process.exit(2);
}
setup();
// Ctrl-C reaches the children of a terminal by itself; passed on, it would arrive twice and cut their clearing up short.
process.on('SIGINT', () => {});
if (name === 'test') {
  process.exitCode = await runSuite(rest);
} else {
  const child = spawn(process.execPath, [...commands[name], ...rest], { cwd: ROOT, stdio: 'inherit' });
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  child.on('exit', (code, signal) => {
    process.exitCode = signal === null ? code : 1;
  });
}
