/**
 * The soak: hours of random requests against a reference, over every engine that is asked for and both foreign-function
 * interfaces, each slice of it in a process of its own (child.ts). Stops at the first thing that is wrong.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { foreignInterface, linuxPlatform } from '@aiokv/aio';
import type { EngineName } from '@aiokv/aio';
import type { Slice } from './child.ts';

const USAGE = `npm run -s soak -- [options]
  --minutes N       how long, in all (60)
  --engines A,B     libaio, io_uring, posix, threads (libaio,io_uring,threads)
  --ffi A,B         koffi, ffi-napi (those that load)
  --size-mib N      of the file (64)
  --slice-minutes N most minutes of one process (5)
  --seed N          of the requests (from the clock)
`;
const ENGINES = ['libaio', 'io_uring', 'posix', 'threads'] as const;
const FFIS = ['koffi', 'ffi-napi'] as const;
/** What a process may take beyond its time before it counts as hanging. */
const OVERTIME_MS = 150_000;
/** What ends the run, with its directory removed. */
const STOPPING = ['SIGINT', 'SIGTERM'] as const;
const CHILD = fileURLToPath(new URL('child.ts', import.meta.url));

interface Settings {
  readonly minutes: number;
  readonly sliceMinutes: number;
  readonly sizeMiB: number;
  readonly seed: number;
  readonly pairs: readonly { readonly ffi: (typeof FFIS)[number]; readonly engine: EngineName }[];
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`--${name} is a number above 0, not ${text}`);
  return value;
}

function chosen<T extends string>(name: string, text: string, known: readonly T[]): T[] {
  return text.split(',').map((part) => {
    const found = known.find((one) => one === part);
    if (found === undefined) throw new Error(`--${name}: ${part} is none of ${known.join(', ')}`);
    return found;
  });
}

function settings(): Settings | null {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '60' },
      engines: { type: 'string', default: 'libaio,io_uring,threads' },
      ffi: { type: 'string', default: FFIS.filter((name) => foreignInterface(name) !== undefined).join(',') },
      'size-mib': { type: 'string', default: '64' },
      'slice-minutes': { type: 'string', default: '5' },
      seed: { type: 'string', default: String((Date.now() % 1_000_000) + 1) },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return null;
  const engines = chosen('engines', values.engines, ENGINES).filter(isAvailable);
  if (engines.length === 0) throw new Error('no engine is left');
  const ffis = chosen('ffi', values.ffi, FFIS);
  return {
    minutes: positive('minutes', values.minutes),
    sliceMinutes: positive('slice-minutes', values['slice-minutes']),
    sizeMiB: Math.ceil(positive('size-mib', values['size-mib'])),
    seed: positive('seed', values.seed),
    pairs: engines.flatMap((engine) => ffis.map((ffi) => ({ ffi, engine }))),
  };
}

function isAvailable(engine: EngineName): boolean {
  try {
    void linuxPlatform().createEngine({ slots: 1, depth: 1, engine }).close();
    return true;
  } catch (error) {
    process.stderr.write(`${engine} is left out: ${error instanceof Error ? error.message : String(error)}\n`);
    return false;
  }
}

/** Runs slices in turn until the time is up; returns whether all were well. */
async function soak({ minutes, sliceMinutes, sizeMiB, seed, pairs }: Settings, directory: string): Promise<boolean> {
  const untilMs = performance.now() + minutes * 60_000;
  const sliceSeconds = Math.min(sliceMinutes * 60, (minutes * 60) / pairs.length);
  process.stderr.write(`seed ${seed}, ${minutes} minutes, slices of ${Math.round(sliceSeconds)} s\n`);
  for (let turn = 0; turn < pairs.length || performance.now() < untilMs - 1000; turn++) {
    const { ffi, engine } = pairs[turn % pairs.length] as (typeof pairs)[number];
    const slice: Slice = { engine, seconds: sliceSeconds, sizeMiB, seed: seed + turn };
    const args = [...process.execArgv, '--expose-gc', CHILD, directory, JSON.stringify(slice)];
    const env = { ...process.env, AIOKV_FFI: ffi };
    const child = spawn(process.execPath, args, { env, stdio: 'inherit' });
    // One whose event loop stands still cannot tell.
    const stop = (): void => void child.kill('SIGKILL');
    for (const signal of STOPPING) process.on(signal, stop);
    const timer = setTimeout(stop, sliceSeconds * 1000 + OVERTIME_MS);
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
    clearTimeout(timer);
    for (const one of STOPPING) process.off(one, stop);
    if (code !== 0) {
      process.stderr.write(`FAILED: ${ffi}, ${JSON.stringify(slice)}, exit ${code ?? signal}\n`);
      return false;
    }
  }
  process.stderr.write('all as it should be\n');
  return true;
}

async function main(): Promise<void> {
  const chosenSettings = settings();
  if (chosenSettings === null) {
    process.stdout.write(USAGE);
    return;
  }
  const directory = await mkdtemp(resolve('.tmp-soak-'));
  try {
    if (!(await soak(chosenSettings, directory))) process.exitCode = 1;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

await main();
