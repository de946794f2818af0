/**
 * A process that is measured, told what to do by JSON in its argument, whose lines of JSON are read as they come. It is
 * one plain file, bundled from its sources: a loader of TypeScript would be 30 MiB of its memory.
 */
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { interrupted } from './exit.ts';

/** Foreign-function interfaces are looked for from where aio is, not from where the bundle lies. */
const AIO = new URL('../../packages/aio/src/ffi/installed.ts', import.meta.url).href;

/**
 * @param entry the source that it runs
 * @param directory where its bundle lies meanwhile
 * @throws Error when it does not end well, UsageError when it was interrupted
 */
export async function runMeasured(
  entry: URL,
  task: unknown,
  directory: string,
  onLine: (line: string) => void,
): Promise<void> {
  const outfile = join(directory, 'measured.mjs');
  await build({
    entryPoints: [fileURLToPath(entry)],
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    conditions: ['@aiokv/source'],
    define: { 'import.meta.url': JSON.stringify(AIO) },
    logLevel: 'warning',
  });
  try {
    interrupted.signal.throwIfAborted();
    await runBundle(outfile, task, onLine);
  } finally {
    rmSync(outfile, { force: true });
  }
}

async function runBundle(path: string, task: unknown, onLine: (line: string) => void): Promise<void> {
  const child = spawn(process.execPath, [path, JSON.stringify(task)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const end = (): void => {
    child.kill('SIGKILL');
  };
  interrupted.signal.addEventListener('abort', end);
  createInterface(child.stdout).on('line', onLine);
  const [code, signal] = await new Promise<[number | null, string | null]>((done, failed) => {
    child.once('error', failed);
    child.once('close', (...ended) => done(ended));
  });
  interrupted.signal.removeEventListener('abort', end);
  interrupted.signal.throwIfAborted();
  if (code !== 0) throw new Error(`the process that was measured ended with ${signal ?? `code ${code}`}`);
}
