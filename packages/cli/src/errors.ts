/**
 * What the command line says when something fails: its own errors, what to do about those of the store, and which exit
 * code each has. The README of this package lists codes and exit codes.
 */
import { AiokvError, AiokvRangeError, AiokvTypeError, SystemCallError } from '@aiokv/core';
import type { ErrorCode } from '@aiokv/core';

export const EXIT = {
  done: 0,
  /** The answer is no: a key is not there. */
  no: 1,
  /** Called wrongly. */
  usage: 2,
  /** The store cannot be opened. */
  unopened: 3,
  /** Something is not what was written: a record, a dump, a line of an import. */
  damaged: 4,
  failed: 5,
  interrupted: 130,
  terminated: 143,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

const EXIT_OF_OWN = {
  ERR_AIOKV_CLI_USAGE: EXIT.usage,
  ERR_AIOKV_CLI_INPUT: EXIT.damaged,
  ERR_AIOKV_CLI_DUMP: EXIT.damaged,
  ERR_AIOKV_CLI_FILE: EXIT.failed,
  ERR_AIOKV_CLI_PACKAGE: EXIT.failed,
  ERR_AIOKV_CLI_NOT_EMPTY: EXIT.failed,
} as const;

export type CliErrorCode = keyof typeof EXIT_OF_OWN;

/** Something that only the command line refuses. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly code: CliErrorCode;
  /** What to do about it. */
  readonly remedy: string;

  constructor(code: CliErrorCode, message: string, remedy: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.remedy = remedy;
  }
}

/** The reader of the output has gone away, as `head` does. Not a failure. */
export class OutputClosed extends Error {
  override readonly name = 'OutputClosed';
}

/** A signal has asked for the end. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly exitCode: ExitCode;

  constructor(signal: 'SIGINT' | 'SIGTERM' = 'SIGINT') {
    super(`ended by ${signal}`);
    this.exitCode = signal === 'SIGINT' ? EXIT.interrupted : EXIT.terminated;
  }
}

const EXIT_OF_STORE: Partial<Record<ErrorCode, ExitCode>> = {
  ERR_AIOKV_CONDITION_FAILED: EXIT.no,
  ERR_AIOKV_CORRUPT: EXIT.damaged,
  ERR_AIOKV_ENGINE_UNAVAILABLE: EXIT.unopened,
  ERR_AIOKV_EXISTS: EXIT.unopened,
  ERR_AIOKV_FFI_UNAVAILABLE: EXIT.unopened,
  ERR_AIOKV_FORMAT_NEWER: EXIT.unopened,
  ERR_AIOKV_INVALID_ARGUMENT: EXIT.usage,
  ERR_AIOKV_INVALID_OPTION: EXIT.usage,
  ERR_AIOKV_KEY_TOO_LARGE: EXIT.usage,
  ERR_AIOKV_LOCKED: EXIT.unopened,
  ERR_AIOKV_NOT_A_STORE: EXIT.unopened,
  ERR_AIOKV_NOT_FOUND: EXIT.unopened,
  ERR_AIOKV_NO_CONTEXT: EXIT.unopened,
  ERR_AIOKV_NO_DIRECT_IO: EXIT.unopened,
  ERR_AIOKV_PAGE_SIZE: EXIT.unopened,
  ERR_AIOKV_PERMISSION: EXIT.unopened,
  ERR_AIOKV_READ_ONLY: EXIT.unopened,
  ERR_AIOKV_RECORD_TOO_LARGE: EXIT.usage,
  ERR_AIOKV_TOO_MANY_FILES: EXIT.unopened,
};

/** In the words of somebody at a shell. */
const REMEDIES: Partial<Record<ErrorCode, string>> = {
  ERR_AIOKV_CONDITION_FAILED: 'the key is there already; leave --if-absent out to replace its value',
  ERR_AIOKV_CORRUPT:
    'restore a backup or load a dump; where the store can be opened, `aiokv verify` lists what is damaged',
  ERR_AIOKV_FFI_UNAVAILABLE: 'install koffi beside aiokv: npm install koffi',
  ERR_AIOKV_FORMAT_NEWER: 'update aiokv: a newer version wrote this store',
  ERR_AIOKV_IO: 'look at the device: the kernel log says what it reported',
  ERR_AIOKV_KEY_TOO_LARGE: 'a key has at most 4096 bytes',
  ERR_AIOKV_LATCHED: 'look at the device, then run the command again',
  ERR_AIOKV_LOCKED: 'stop the program that has the store open, or ask it; one process has a store open at a time',
  ERR_AIOKV_NOT_A_STORE: 'name the directory of a store; nothing in this one was touched',
  ERR_AIOKV_NOT_FOUND: 'look at the path; `put --create`, `load` and `import` make a store',
  ERR_AIOKV_NO_DIRECT_IO: 'use a directory on ext4, xfs or btrfs; `aiokv qualify DIRECTORY` tells what one can do',
  ERR_AIOKV_NO_SPACE: 'free space on the device or raise the limit, then run the command again',
  ERR_AIOKV_PERMISSION: 'run as the user who owns the store',
  ERR_AIOKV_READ_ONLY: 'mount the file system for writing',
  ERR_AIOKV_RECORD_TOO_LARGE: 'a value has at most 64 MiB: split it',
  ERR_AIOKV_TOO_MANY_FILES: 'raise the limit: ulimit -n',
};

export interface Failure {
  readonly code: string;
  readonly message: string;
  /** Undefined: there is nothing to say that the message does not. */
  readonly remedy: string | undefined;
  readonly exitCode: ExitCode;
}

/** What to tell of anything that was thrown. */
export function failureOf(error: unknown): Failure {
  if (error instanceof CliError) {
    const { code, message, remedy } = error;
    return { code, message, remedy, exitCode: EXIT_OF_OWN[code] };
  }
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof AiokvError || error instanceof AiokvTypeError || error instanceof AiokvRangeError) {
    const { code } = error;
    return { code, message, remedy: REMEDIES[code], exitCode: EXIT_OF_STORE[code] ?? EXIT.failed };
  }
  if (error instanceof SystemCallError) return { code: error.code, message, remedy: undefined, exitCode: EXIT.failed };
  const { code } = (error ?? {}) as { code?: unknown };
  return {
    code: typeof code === 'string' ? code : 'ERR_AIOKV_INTERNAL',
    message,
    remedy: typeof code === 'string' ? undefined : 'run it again with --verbose, and report what it prints',
    exitCode: EXIT.failed,
  };
}

/** The command was called wrongly. */
export function usageError(message: string, remedy: string): CliError {
  return new CliError('ERR_AIOKV_CLI_USAGE', message, remedy);
}

/** What is read from outside is not what it should be. */
export function inputError(message: string, remedy: string, cause?: unknown): CliError {
  return new CliError('ERR_AIOKV_CLI_INPUT', message, remedy, { cause });
}
