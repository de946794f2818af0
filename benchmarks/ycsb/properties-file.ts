/**
 * The grammar of Java's properties files, in full, so that a workload file means here what it means to the
 * reference.
 *
 * ```
 *   file      lines, ended by \n, \r or \r\n, decoded as ISO-8859-1
 *   comment   first character after blanks is # or !; it is never continued
 *   logical   a line that ends in an odd number of \ goes on in the next, whose leading blanks are dropped
 *   key       up to the first blank, = or : that is not escaped
 *   separator blanks, at most one = or :, blanks
 *   value     all the rest, trailing blanks too
 *   escapes   \t \n \r \f \uXXXX; of any other \c the c is left
 *   blank     space, tab, form feed
 * ```
 */
import { readFileSync } from 'node:fs';
import { SetupError } from './setup-error.ts';

const LINE_END = /\r\n|\r|\n/;
const LEADING_BLANKS = /^[ \t\f]+/;
const COMMENT = /^[#!]/;
const CONTINUED = /(?:^|[^\\])(?:\\\\)*\\$/;
const KEY = /^(?:\\.|[^\\ \t\f=:])*/su;
const SEPARATOR = /^[ \t\f]*[=:]?[ \t\f]*/;
const ESCAPE = /\\(?:u([0-9a-fA-F]{4})|(.))/gsu;
const MALFORMED_UNICODE = /(?:^|[^\\])(?:\\\\)*\\u(?![0-9a-fA-F]{4})/;
const CONTROL: Readonly<Record<string, string>> = { t: '\t', n: '\n', r: '\r', f: '\f' };

/** Reads the properties of a file. */
export function readPropertiesFile(path: string): Map<string, string> {
  let text: string;
  try {
    text = readFileSync(path, 'latin1');
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new SetupError(
      `cannot read the properties file ${path} (${reason}): give -P a file such as benchmarks/workloads/workloada`,
      { cause: error },
    );
  }
  return parseProperties(text, path);
}

/** @param source names the text in messages */
export function parseProperties(text: string, source: string): Map<string, string> {
  const properties = new Map<string, string>();
  for (const line of logicalLines(text)) {
    if (MALFORMED_UNICODE.test(line)) {
      throw new SetupError(`${source}: \\u must be followed by four hexadecimal digits, in: ${line}`);
    }
    const key = KEY.exec(line)?.[0] ?? '';
    const rest = line.slice(key.length);
    properties.set(unescape(key), unescape(rest.replace(SEPARATOR, '')));
  }
  return properties;
}

function* logicalLines(text: string): Generator<string> {
  const naturalLines = text.split(LINE_END);
  if (naturalLines.at(-1) === '') naturalLines.pop();
  const last = naturalLines.length - 1;
  let open: string | null = null;
  for (const [i, natural] of naturalLines.entries()) {
    const line = natural.replace(LEADING_BLANKS, '');
    if (open === null && (line === '' || COMMENT.test(line))) continue;
    const whole: string = (open ?? '') + line;
    const continued = CONTINUED.test(line);
    const content = continued ? whole.slice(0, -1) : whole;
    if (!continued || i === last) {
      open = null;
      yield content;
    } else {
      // A backslash alone continues nothing: what follows is a line of its own, and may be a comment.
      open = content === '' ? null : content;
    }
  }
}

function unescape(text: string): string {
  return text.replace(ESCAPE, (_, hex: string | undefined, character: string | undefined) =>
    hex === undefined
      ? (CONTROL[character as string] ?? (character as string))
      : String.fromCharCode(parseInt(hex, 16)),
  );
}
