/**
 * What all commands share in one run: the environment, where they print, and how they come by a store. A command opens its store
 * and closes it; in the `repl` one store stays open for all of them.
 *
 * ```
 *   withStore ─► kept? ─ yes ─► work
 *                 └─ no ─► open ─► work ─► close, whatever happened
 * ```
 *
 * SESSION-1. A store that was opened is closed before the run ends. An error of the work is not hidden by one of the close.
 * SESSION-2. Work gets the store of the directory that it names. While one is kept there is no other.
 */
import { resolve } from 'node:path';
import { assert } from '@aiokv/core';
import { open } from '@aiokv/kv';
import type { Durability, Store, StoreOptions } from '@aiokv/kv';
import { Interrupted, usageError } from './errors.ts';
import type { ExitCode } from './errors.ts';
import type { Environment, Source } from './io/environment.ts';
import { Output } from './io/output.ts';
import { Progress } from './text/progress.ts';
import { styleFor } from './text/style.ts';
import type { Style } from './text/style.ts';

export interface OpenFlags {
  readonly create: boolean;
  readonly memoryBytes?: number | undefined;
  readonly durability?: Durability | undefined;
}

export class Session {
  readonly environment: Environment;
  readonly output: Output;
  /** For messages and progress. */
  readonly messages: Output;
  readonly style: Style;
  /** What the run ends with, unless it fails. */
  exitCode: ExitCode = 0;
  #kept: { readonly directory: string; readonly store: Store } | null = null;

  constructor(environment: Environment) {
    this.environment = environment;
    this.output = new Output(environment.stdout);
    this.messages = new Output(environment.stderr);
    this.style = styleFor(this.output.isTerminal, environment.variables);
  }

  /** @throws CliError in the `repl`, whose lines come from there */
  stdinFor(what: string): Source {
    if (this.#kept !== null) throw usageError(`${what} is missing`, 'give it as an argument');
    return this.environment.stdin;
  }

  progress(label: string): Progress {
    return new Progress(this.messages, this.environment.clock, label);
  }

  /** @throws Interrupted when a signal has asked for the end */
  checkSignal(): void {
    const { signal } = this.environment;
    if (signal.aborted) throw signal.reason instanceof Error ? signal.reason : new Interrupted();
  }

  /** A line on stderr. */
  say(line: string): void {
    this.messages.writeNow(`${line}\n`);
  }

  async withStore<T>(directory: string, flags: OpenFlags, work: (store: Store) => Promise<T>): Promise<T> {
    this.checkSignal();
    const path = resolve(directory);
    if (this.#kept !== null) {
      assert(this.#kept.directory === path, 'SESSION-2: a store that is kept is the one that is asked for');
      return work(this.#kept.store);
    }
    const store = await this.#open(path, flags);
    let result: T;
    try {
      result = await work(store);
    } catch (error) {
      // SESSION-1.
      await store.close().catch(() => undefined);
      throw error;
    }
    await store.close();
    return result;
  }

  /** `withStore`, whose store is that of every `withStore` within. */
  async keepStore<T>(directory: string, flags: OpenFlags, work: (store: Store) => Promise<T>): Promise<T> {
    return this.withStore(directory, flags, async (store) => {
      this.#kept = { directory: resolve(directory), store };
      try {
        return await work(store);
      } finally {
        this.#kept = null;
      }
    });
  }

  release(): void {
    this.output.release();
    this.messages.release();
  }

  async #open(directory: string, { create, memoryBytes, durability }: OpenFlags): Promise<Store> {
    const progress = this.progress('opening');
    const options: Partial<StoreOptions> = {
      createIfMissing: create,
      onProgress: ({ doneBytes, totalBytes }) => {
        this.checkSignal();
        progress.tell({ done: doneBytes, total: totalBytes, unit: 'bytes' });
      },
    };
    if (memoryBytes !== undefined) options.memoryBytes = memoryBytes;
    if (durability !== undefined) options.durability = durability;
    try {
      return await open(directory, options);
    } finally {
      progress.end();
    }
  }
}
