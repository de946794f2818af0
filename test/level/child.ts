/** Runs a suite that prints TAP in a process of its own, and counts. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';

interface Counts {
  readonly tests: number;
  readonly pass: number;
  readonly fail: number;
  /** What failed, each with what its suite says about it; the end of the output if nothing is said to have failed. */
  readonly failures: string;
}

/** @param flags of Node itself */
export async function runSuite(name: string, args: readonly string[], flags: readonly string[] = []): Promise<Counts> {
  const path = fileURLToPath(new URL(name, import.meta.url));
  const child = spawn(process.execPath, [...process.execArgv, ...flags, path, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  await new Promise((done) => child.once('close', done));
  const count = (what: string): number => Number(new RegExp(`^# ${what} +(\\d+)$`, 'm').exec(output)?.[1] ?? 0);
  const failed = output.match(/^ *not ok[^]*?^ *\.\.\.$/gm);
  const failures = failed === null ? output.slice(-2000) : failed.slice(0, 10).join('\n');
  return { tests: count('tests'), pass: count('pass'), fail: count('fail'), failures };
}

/** On the real disk: see CONTRIBUTING.md. */
export function directoryOf(t: ExecutionContext): string {
  const directory = mkdtempSync(resolve('.tmp-level-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
