/**
 * A process that is measured, from its sources, told what to do by JSON in its argument, in a memory cgroup where one is
 * wanted. Its lines on stdout are read as they come; what it writes to stderr is shown.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { MemoryCgroup } from '../meters/cgroup.ts';
import { interrupted } from './exit.ts';

const MINUTE_MS = 60_000;

export interface ChildRequest {
  readonly file: string;
  readonly task: unknown;
  readonly cgroup: MemoryCgroup | null;
  /** After so long it is ended. */
  readonly limitMinutes: number;
  readonly onLine: (line: string) => void;
}

/** @throws Error when it fails or takes too long, UsageError when it was interrupted */
export async function runChild({ file, task, cgroup, limitMinutes, onLine }: ChildRequest): Promise<void> {
  interrupted.signal.throwIfAborted();
  const nodeArguments = [...process.execArgv, file, JSON.stringify(task)];
  const [command, args] = cgroup?.wrap(process.execPath, nodeArguments) ?? [process.execPath, nodeArguments];
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const end = (): void => {
    child.kill('SIGKILL');
  };
  interrupted.signal.addEventListener('abort', end);
  const timer = setTimeout(end, limitMinutes * MINUTE_MS);
  createInterface(child.stdout).on('line', onLine);
  const startMs = performance.now();
  const [code, signal] = await new Promise<[number | null, string | null]>((done, failed) => {
    child.once('error', failed);
    child.once('close', (...ended) => done(ended));
  });
  clearTimeout(timer);
  interrupted.signal.removeEventListener('abort', end);
  interrupted.signal.throwIfAborted();
  if (performance.now() - startMs >= limitMinutes * MINUTE_MS) {
    throw new Error(`took more than ${limitMinutes} minutes`);
  }
  if (signal === 'SIGKILL') throw new Error('was killed: more memory than the cgroup has, as a rule');
  if (code !== 0) throw new Error(`ended with ${signal ?? `code ${code}`}`);
}
