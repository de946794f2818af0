/**
 * Paths as callers give them: a string or a `file:` URL. Resolved once, at the call, so that a change of the working
 * directory later does not lead elsewhere.
 */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AiokvTypeError } from './errors.ts';

/**
 * The absolute path.
 *
 * @param where names the function and what the path is of, for the message: "open: the directory"
 * @throws AiokvTypeError ERR_AIOKV_INVALID_ARGUMENT for anything but a non-empty string without NUL, or a `file:` URL
 */
export function resolvePath(where: string, path: unknown): string {
  const text = isUrl(path) ? pathOfUrl(where, path.href) : path;
  if (typeof text !== 'string') throw refused(where, `not ${describe(text)}`);
  if (text === '') throw refused(where, 'not an empty one');
  if (text.includes('\0')) throw refused(where, 'without NUL characters');
  if (/^file:\/\//iu.test(text)) throw refused(where, `not a string that holds a URL: pass new URL('${text}')`);
  return resolve(text);
}

/** By its shape: a URL of another realm is no instance of this realm's class. */
function isUrl(path: unknown): path is { readonly href: string } {
  const { href, protocol } = (path ?? {}) as { href?: unknown; protocol?: unknown };
  return typeof path === 'object' && typeof href === 'string' && typeof protocol === 'string';
}

function pathOfUrl(where: string, href: string): string {
  try {
    return fileURLToPath(href);
  } catch (cause) {
    throw refused(where, `not ${href}, which names no file of this machine`, cause);
  }
}

function refused(where: string, what: string, cause?: unknown): AiokvTypeError {
  return new AiokvTypeError(
    'ERR_AIOKV_INVALID_ARGUMENT',
    `${where} must be a path as a string, or a file: URL, ${what}`,
    cause === undefined ? undefined : { cause },
  );
}

function describe(value: unknown): string {
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (value instanceof Uint8Array) return 'bytes: decode them first';
  return typeof value;
}
