/**
 * Keys and values between bytes and text. A store knows bytes only; which text they are is up to whoever asks.
 *
 * What goes to a terminal has no control characters and no marks that turn the direction of writing: a value cannot move
 * the cursor, and cannot look like another one.
 */
import { isUtf8 } from 'node:buffer';
import { usageError } from '../errors.ts';

/** `'auto'`: text where it is UTF-8, hexadecimal digits elsewhere. */
export type Encoding = 'auto' | 'utf8' | 'hex';

const UNPRINTABLE = /[\p{Cc}\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;
const NAMED: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** An argument of the command line as bytes. @throws CliError for digits that are none */
export function parseBytes(text: string, encoding: Encoding, what: string): Buffer {
  if (encoding !== 'hex') return Buffer.from(text);
  const digits = text.replace(/^0x/i, '');
  if (!/^(?:[0-9a-f]{2})*$/i.test(digits)) {
    throw usageError(
      `${what} '${text}' is not hexadecimal`,
      'with --hex, give two digits for each byte, such as 6b6579',
    );
  }
  return Buffer.from(digits, 'hex');
}

/** For people. */
export function showBytes(bytes: Buffer, encoding: Encoding): string {
  if (encoding === 'hex' || (encoding === 'auto' && !isUtf8(bytes))) return `0x${bytes.toString('hex')}`;
  return printable(bytes.toString());
}

/** Text that a terminal shows and does not obey. */
export function printable(text: string): string {
  return text.replaceAll(
    UNPRINTABLE,
    (mark) => NAMED[mark] ?? `\\u${mark.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** What JSON has for bytes: a string; `{ "$hex": … }` where it would not be the same bytes again. */
export function jsonOfBytes(bytes: Buffer, encoding: Encoding): unknown {
  if (encoding === 'hex') return bytes.toString('hex');
  if (encoding === 'utf8' || isUtf8(bytes)) return bytes.toString();
  return { $hex: bytes.toString('hex') };
}

/** The bytes of `{ "$hex": … }`, or null for everything else. */
export function bytesOfHexObject(value: unknown): Buffer | null {
  if (typeof value !== 'object' || value === null) return null;
  const { $hex: digits, ...rest } = value as { $hex?: unknown };
  if (typeof digits !== 'string' || Object.keys(rest).length > 0) return null;
  return /^(?:[0-9a-f]{2})*$/i.test(digits) ? Buffer.from(digits, 'hex') : null;
}
