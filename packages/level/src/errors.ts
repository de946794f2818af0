/** Errors in the form that programs of Level look for: a `code` that begins with LEVEL_, and the store's error as cause. */

export class LevelError extends Error {
  readonly code: string;

  constructor(code: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

/**
 * What an opening failed with, in the codes and words that programs of Level look for. It becomes the cause of
 * abstract-level's own error.
 */
export function openingFailed(error: unknown): unknown {
  const { code, message = '' } = (error ?? {}) as { code?: unknown; message?: string };
  switch (code) {
    case 'ERR_AIOKV_LOCKED':
      return new LevelError('LEVEL_LOCKED', message, error);
    case 'ERR_AIOKV_CORRUPT':
      return new LevelError('LEVEL_CORRUPTION', message, error);
    case 'ERR_AIOKV_NOT_FOUND':
      return new LevelError(code, `The database does not exist: ${message}`, error);
    case 'ERR_AIOKV_EXISTS':
      return new LevelError(code, `The database exists: ${message}`, error);
    default:
      return error;
  }
}

export function closedDatabase(call: string): LevelError {
  return new LevelError('LEVEL_DATABASE_NOT_OPEN', `Database is not open: cannot call ${call}()`);
}

/** The store below lacks what a call needs. */
export function unsupported(what: string): LevelError {
  return new LevelError('LEVEL_NOT_SUPPORTED', `The store of this database has no ${what}`);
}

/** What a read of an iterator fails with when its signal is aborted. */
export class AbortError extends LevelError {
  constructor(cause: unknown) {
    super('LEVEL_ABORTED', 'Operation has been aborted', cause);
    this.name = 'AbortError';
  }
}
