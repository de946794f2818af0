/**
 * The errors of all aiokv packages.
 *
 * A `code` is stable and part of the public interface. A message is free text that says what to do. The error underneath,
 * if there is one, is the `cause`. A mistake of the
 * program (wrong type, wrong option) is a `TypeError` or `RangeError` with such a code; a refused
 * system call looks like Node's own (`code`, `errno`, `syscall`).
 *
 * A process may hold several copies of this file: a bundle beside an installed package, CommonJS beside ES modules, a
 * realm of a test framework. `instanceof` holds across them, by a mark that all copies know.
 *
 * Governed by docs/errors.md, which lists every code.
 */
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';

export const ERROR_CODES = [
  'ERR_AIOKV_ABORTED',
  'ERR_AIOKV_ALIGNMENT',
  'ERR_AIOKV_BATCH_TOO_LARGE',
  'ERR_AIOKV_BUFFER_BUSY',
  'ERR_AIOKV_CLOSED',
  'ERR_AIOKV_COMPACTING',
  'ERR_AIOKV_CONDITION_FAILED',
  'ERR_AIOKV_CONFLICT',
  'ERR_AIOKV_CORRUPT',
  'ERR_AIOKV_DEADLINE',
  'ERR_AIOKV_ENGINE_UNAVAILABLE',
  'ERR_AIOKV_EXISTS',
  'ERR_AIOKV_FFI_UNAVAILABLE',
  'ERR_AIOKV_FORMAT_NEWER',
  'ERR_AIOKV_INTERNAL',
  'ERR_AIOKV_INVALID_ARGUMENT',
  'ERR_AIOKV_INVALID_OPTION',
  'ERR_AIOKV_IO',
  'ERR_AIOKV_KEY_TOO_LARGE',
  'ERR_AIOKV_LATCHED',
  'ERR_AIOKV_LOCKED',
  'ERR_AIOKV_NOT_A_STORE',
  'ERR_AIOKV_NOT_FOUND',
  'ERR_AIOKV_NO_CONTEXT',
  'ERR_AIOKV_NO_DIRECT_IO',
  'ERR_AIOKV_NO_SPACE',
  'ERR_AIOKV_PAGE_SIZE',
  'ERR_AIOKV_PERMISSION',
  'ERR_AIOKV_QUEUE_FULL',
  'ERR_AIOKV_READ_ONLY',
  'ERR_AIOKV_RECORD_TOO_LARGE',
  'ERR_AIOKV_SNAPSHOT_ENDED',
  'ERR_AIOKV_STORE_TOO_LARGE',
  'ERR_AIOKV_TOO_MANY_FILES',
  'ERR_AIOKV_TRANSACTION_ENDED',
  'ERR_AIOKV_TRANSACTION_TOO_LARGE',
  'ERR_AIOKV_UNSUPPORTED',
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

const MARK = Symbol.for('@aiokv/core/error');

/** Lets `instanceof` accept instances of the same class in another copy of this file. */
function acceptCopies(ours: { readonly prototype: object }, name: string): void {
  Object.defineProperty(ours.prototype, MARK, { value: name });
  Object.defineProperty(ours, Symbol.hasInstance, {
    value(this: { readonly prototype: object }, value: unknown): boolean {
      if (typeof value !== 'object' || value === null) return false;
      if (Object.prototype.isPrototypeOf.call(this.prototype, value)) return true;
      // A class that extends one of ours inherits this function, and has no copies.
      return this === ours && MARK in value && value[MARK] === name;
    },
  });
}

/** Something that went wrong while aiokv ran: the disk, the environment, a store's state. */
export class AiokvError extends Error {
  static {
    acceptCopies(this, 'AiokvError');
  }

  override readonly name: string = 'AiokvError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** A mistake of the calling program: an argument of the wrong type or shape. */
export class AiokvTypeError extends TypeError {
  static {
    acceptCopies(this, 'AiokvTypeError');
  }

  override readonly name: string = 'AiokvTypeError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** A mistake of the calling program: a value outside of what is allowed. */
export class AiokvRangeError extends RangeError {
  static {
    acceptCopies(this, 'AiokvRangeError');
  }

  override readonly name: string = 'AiokvRangeError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** Node's map lacks some that the kernel gives, such as EDQUOT. */
const nameOfErrno = new Map<number, readonly [string, string]>([
  ...Object.entries(constants.errno).map(([name, errno]) => [errno, [name, 'system error']] as const),
  ...[...getSystemErrorMap()].map(([errno, entry]) => [-errno, entry] as const),
]);

/** A system call that the kernel refused, in the shape of Node's own: `code` is `'EIO'`, `errno` -5. */
export class SystemCallError extends Error {
  static {
    acceptCopies(this, 'SystemCallError');
  }

  override readonly name: string = 'SystemCallError';
  readonly code: string;
  /** Negative, as in Node's own errors. */
  readonly errno: number;
  readonly syscall: string;

  /** @param errno the error number; its sign does not matter */
  constructor(syscall: string, errno: number, detail = '', options?: { cause?: unknown }) {
    const number = Math.abs(errno);
    const [code, text] = nameOfErrno.get(number) ?? [`E${number}`, 'unknown error'];
    super(`${code}: ${text}, ${syscall}${detail === '' ? '' : ` (${detail})`}`, options);
    this.code = code;
    this.errno = -number;
    this.syscall = syscall;
  }
}

/** States an invariant. If it does not hold, aiokv has a defect, not the caller. */
export function assert(condition: boolean, invariant: string): asserts condition {
  if (!condition) {
    throw new AiokvError('ERR_AIOKV_INTERNAL', `invariant broken: ${invariant}. Please report this.`);
  }
}
