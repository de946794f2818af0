/**
 * What a run of the command line may touch beside a store: streams, variables, a clock, and a signal that ends it. A test
 * hands in its own; `bin.ts` hands in those of the process.
 */
import process from 'node:process';
import type { Readable, Writable } from 'node:stream';
import { systemClock } from '@aiokv/core';
import type { Clock } from '@aiokv/core';

export type Source = Readable & { readonly isTTY?: boolean | undefined };
export type Sink = Writable & { readonly isTTY?: boolean | undefined; readonly columns?: number | undefined };

export interface Environment {
  readonly stdin: Source;
  readonly stdout: Sink;
  readonly stderr: Sink;
  readonly variables: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  /** Aborted with an `Interrupted`: what runs ends soon, and closes its store. */
  readonly signal: AbortSignal;
}

export function environmentOf(given: Partial<Environment>): Environment {
  return {
    stdin: given.stdin ?? process.stdin,
    stdout: given.stdout ?? process.stdout,
    stderr: given.stderr ?? process.stderr,
    variables: given.variables ?? process.env,
    clock: given.clock ?? systemClock,
    signal: given.signal ?? new AbortController().signal,
  };
}
