/** Runs the command line in this process, with streams of the test's own: a terminal, a pipe, one whose reader goes away. */
import { mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { run } from '@aiokv/cli';
import type { Environment } from '@aiokv/cli';
import { open } from '@aiokv/kv';
import type { ExecutionContext } from 'ava';

/** A directory that is removed after the test; not in the system's own, which may have no `O_DIRECT`. */
export function directoryOf(t: ExecutionContext): string {
  const directory = mkdtempSync(resolve('.tmp-cli-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

interface Given extends Partial<Omit<Environment, 'stdin' | 'stdout' | 'stderr'>> {
  readonly stdin?: string | Uint8Array | Readable;
  /** Whether stdout and stderr are a terminal of 80 columns. */
  readonly isTerminal?: boolean;
  readonly stdout?: Writable;
  /** Called with what stdout gets, when it gets it. */
  readonly onOutput?: (text: string) => void;
}

export interface Outcome {
  readonly code: number;
  readonly bytes: Buffer;
  readonly stdout: string;
  readonly stderr: string;
}

export async function aiokv(args: readonly string[], given: Given = {}): Promise<Outcome> {
  const { stdin = '', isTerminal = false, stdout, onOutput, ...rest } = given;
  const [out, outBytes] = collector(isTerminal, onOutput);
  const [err, errBytes] = collector(isTerminal);
  const source = stdin instanceof Readable ? stdin : Readable.from([Buffer.from(stdin)], { objectMode: false });
  const variables = { NO_COLOR: '1' };
  const code = await run(args, { variables, ...rest, stdin: source, stdout: stdout ?? out, stderr: err });
  const bytes = outBytes();
  return { code, bytes, stdout: bytes.toString(), stderr: errBytes().toString() };
}

function collector(isTTY: boolean, onOutput?: (text: string) => void): [Writable, () => Buffer] {
  const chunks: Buffer[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      chunks.push(chunk);
      onOutput?.(chunk.toString());
      done();
    },
  });
  return [Object.assign(stream, { isTTY, columns: 80 }), () => Buffer.concat(chunks)];
}

/** The directory of a store with these entries, which is closed. */
export async function storeOf(
  t: ExecutionContext,
  entries: Readonly<Record<string, string | Uint8Array>>,
): Promise<string> {
  const directory = join(directoryOf(t), 'store');
  await fill(directory, entries);
  return directory;
}

export async function fill(directory: string, entries: Readonly<Record<string, string | Uint8Array>>): Promise<void> {
  const store = await open(directory);
  await store.batch(Object.entries(entries).map(([key, value]) => ({ type: 'put', key, value })));
  await store.close();
}
