/**
 * Entries as text: on a terminal in columns that fit, in a pipe as bytes, or in the format that was asked for.
 *
 * ```
 *             terminal               pipe                   --jsonl                      --csv
 *   first     user:1  {"name":"a…    user:1⇥{"name":…}⏎     {"key":…,"value":…}⏎         key,value⏎
 * ```
 *
 * PRINT-1. What `--json`, `--jsonl` and `--csv` print is the same bytes when it is imported again, or is refused.
 */
import { isUtf8 } from 'node:buffer';
import { createCodec } from '@aiokv/core';
import type { Codec } from '@aiokv/core';
import { inputError } from '../errors.ts';
import type { Output } from '../io/output.ts';
import { jsonOfBytes, printable, showBytes } from './bytes.ts';
import type { Encoding } from './bytes.ts';
import { countOf } from './numbers.ts';
import type { Style } from './style.ts';
import { cutTo, padTo } from './width.ts';

export interface PrintOptions {
  /** `'plain'`: as `isTerminal` says. */
  readonly format: 'plain' | 'json' | 'jsonl' | 'csv';
  readonly encoding: Encoding;
  /** Values are MessagePack, and are shown as JSON. */
  readonly msgpack: boolean;
  /** Long values are cut, unless this is asked for. */
  readonly full: boolean;
  readonly style: Style;
}

/** Each returns a promise to wait for, or null. The value is undefined where only keys are printed. */
export interface EntryPrinter {
  begin(): Promise<void> | null;
  entry(key: Buffer, value: Buffer | undefined): Promise<void> | null;
  end(): Promise<void> | null;
}

const KEY_COLUMNS = 24;
const SEPARATOR = Buffer.from('\t');
const NEWLINE = Buffer.from('\n');

export function printerFor(output: Output, options: PrintOptions, withValues: boolean): EntryPrinter {
  switch (options.format) {
    case 'json':
      return new JsonPrinter(output, options);
    case 'jsonl':
      return linePrinter(output, (key, value) => `${jsonOfEntry(key, value, options)}\n`);
    case 'csv':
      return new CsvPrinter(output, options, withValues);
    default:
      if (!output.isTerminal) return plainPrinter(output, options);
      return linePrinter(output, (key, value) => `${rowOf(key, value, options, output.columns)}\n`);
  }
}

function linePrinter(output: Output, lineOf: (key: Buffer, value: Buffer | undefined) => string): EntryPrinter {
  return { begin: () => null, entry: (key, value) => output.write(lineOf(key, value)), end: () => null };
}

/** For programs: key, tab, value, line feed. Bytes as they are, unless it was said what they are. */
function plainPrinter(output: Output, { encoding, msgpack }: PrintOptions): EntryPrinter {
  const bytesOf = (bytes: Buffer): string | Buffer =>
    encoding === 'hex' ? bytes.toString('hex') : encoding === 'utf8' ? bytes.toString() : bytes;
  return {
    begin: () => null,
    entry(key, value) {
      let wait = output.write(bytesOf(key));
      if (value !== undefined) {
        wait = output.write(SEPARATOR) ?? wait;
        wait = output.write(msgpack ? JSON.stringify(decoded(key, value)) : bytesOf(value)) ?? wait;
      }
      return output.write(NEWLINE) ?? wait;
    },
    end: () => null,
  };
}

function rowOf(
  key: Buffer,
  value: Buffer | undefined,
  { encoding, msgpack, full, style }: PrintOptions,
  columns: number,
): string {
  const name = showBytes(key, encoding);
  if (value === undefined) return style('cyan', full ? name : cutTo(name, columns));
  const shownName = padTo(full ? name : cutTo(name, Math.max(KEY_COLUMNS, columns >> 1)), KEY_COLUMNS);
  const text = shownText(key, value, { encoding, msgpack, mostBytes: full ? Infinity : 4 * columns });
  const size = ` (${countOf(value.length)} B)`;
  const room = columns - Math.max(KEY_COLUMNS, shownName.length) - 2;
  const cut = full ? text : cutTo(text, room);
  if (cut === text && (full || value.length <= 4 * columns)) return `${style('cyan', shownName)}  ${text}`;
  return `${style('cyan', shownName)}  ${cutTo(text, Math.max(8, room - size.length))}${style('dim', size)}`;
}

/** A value for people, or as much of it as may be looked at. */
export function shownText(
  key: Buffer,
  value: Buffer,
  { encoding, msgpack, mostBytes }: { encoding: Encoding; msgpack: boolean; mostBytes: number },
): string {
  if (msgpack) return printable(JSON.stringify(decoded(key, value)));
  if (value.length <= mostBytes) return showBytes(value, encoding);
  if (encoding !== 'auto' || isUtf8(value))
    return showBytes(value.subarray(0, mostBytes), encoding === 'hex' ? 'hex' : 'utf8');
  return showBytes(value.subarray(0, mostBytes), 'hex');
}

function jsonOfEntry(key: Buffer, value: Buffer | undefined, { encoding, msgpack }: PrintOptions): string {
  const shownKey = jsonOfBytes(key, encoding);
  if (value === undefined) return JSON.stringify({ key: shownKey });
  return JSON.stringify({ key: shownKey, value: msgpack ? decoded(key, value) : jsonOfBytes(value, encoding) });
}

/** One array. */
class JsonPrinter implements EntryPrinter {
  readonly #output: Output;
  readonly #options: PrintOptions;
  #isFirst = true;

  constructor(output: Output, options: PrintOptions) {
    this.#output = output;
    this.#options = options;
  }

  begin(): Promise<void> | null {
    return this.#output.write('[');
  }

  entry(key: Buffer, value: Buffer | undefined): Promise<void> | null {
    const before = this.#isFirst ? '\n  ' : ',\n  ';
    this.#isFirst = false;
    return this.#output.write(before + jsonOfEntry(key, value, this.#options));
  }

  end(): Promise<void> | null {
    return this.#output.write(this.#isFirst ? ']\n' : '\n]\n');
  }
}

class CsvPrinter implements EntryPrinter {
  readonly #output: Output;
  readonly #options: PrintOptions;
  readonly #withValues: boolean;

  constructor(output: Output, options: PrintOptions, withValues: boolean) {
    this.#output = output;
    this.#options = options;
    this.#withValues = withValues;
  }

  begin(): Promise<void> | null {
    return this.#output.write(this.#withValues ? 'key,value\n' : 'key\n');
  }

  entry(key: Buffer, value: Buffer | undefined): Promise<void> | null {
    const cells = [this.#textOf(key, key)];
    if (value !== undefined) {
      cells.push(this.#options.msgpack ? JSON.stringify(decoded(key, value)) : this.#textOf(key, value));
    }
    return this.#output.write(`${cells.map(quoted).join(',')}\n`);
  }

  end(): null {
    return null;
  }

  /** PRINT-1. */
  #textOf(key: Buffer, bytes: Buffer): string {
    if (this.#options.encoding === 'hex') return bytes.toString('hex');
    if (this.#options.encoding === 'auto' && !isUtf8(bytes)) {
      throw inputError(
        `${bytes === key ? 'the key' : 'the value of'} ${showBytes(key, 'auto')} is not UTF-8, and CSV has text only`,
        'add --hex, or use --jsonl, which has both',
      );
    }
    return bytes.toString();
  }
}

function quoted(cell: string): string {
  return /[",\r\n]/.test(cell) || cell === '' ? `"${cell.replaceAll('"', '""')}"` : cell;
}

let codec: Codec | undefined;

/** Of MessagePack. Bytes and numbers that JSON does not have become what it has. */
function decoded(key: Buffer, value: Buffer): unknown {
  let found: unknown;
  try {
    found = (codec ??= createCodec()).decode(value);
  } catch (error) {
    throw inputError(
      `the value of ${showBytes(key, 'auto')} is not MessagePack`,
      'leave --msgpack out, or use --hex to see its bytes',
      error,
    );
  }
  return plain(found);
}

function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Uint8Array) return { $hex: Buffer.from(value).toString('hex') };
  if (value === undefined) return null;
  if (Array.isArray(value)) return value.map((each) => plain(each));
  if (value instanceof Map) return Object.fromEntries([...value].map(([name, each]) => [String(name), plain(each)]));
  if (typeof value !== 'object' || value === null || 'toJSON' in value) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]));
}
