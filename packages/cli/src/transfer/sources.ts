/**
 * What entries are imported from. Each source gives some at a time, and reads no further ahead than that.
 */
import { parse } from 'csv-parse';
import { Readable } from 'node:stream';
import { MIB } from '@aiokv/core';
import { CliError, inputError } from '../errors.ts';
import type { RecordFields, RecordReader } from './records.ts';

export type SomeEntries = readonly (readonly [key: Buffer, value: Uint8Array])[];

const NEWLINE = 0x0a;
/** A line of more is no record: a value has at most 64 MiB, and JSON may take six characters for one. */
const MOST_LINE_BYTES = 400 * MIB;
const RECORDS_AT_ONCE = 256;

/** A line of JSON for each record. Empty lines are passed over. */
export async function* readJsonLines(
  chunks: AsyncIterable<Buffer>,
  reader: RecordReader,
  name: string,
): AsyncGenerator<SomeEntries> {
  let line = 0;
  let parts: Buffer[] = [];
  let partBytes = 0;
  const entryOf = (text: string): readonly [Buffer, Uint8Array] | null => {
    line++;
    const trimmed = (line === 1 ? text.replace(/^\ufeff/, '') : text).trim();
    return trimmed === '' ? null : at(`${name}, line ${line}`, () => reader.entryOf(recordOf(trimmed), trimmed));
  };
  for await (const chunk of chunks) {
    const entries: (readonly [Buffer, Uint8Array])[] = [];
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, from)) {
      let text: string;
      if (parts.length > 0) {
        parts.push(chunk.subarray(from, end));
        text = Buffer.concat(parts).toString();
        parts = [];
        partBytes = 0;
      } else text = chunk.toString('utf8', from, end);
      const entry = entryOf(text);
      if (entry !== null) entries.push(entry);
      from = end + 1;
    }
    if (from < chunk.length) parts.push(chunk.subarray(from));
    partBytes += chunk.length - from;
    if (partBytes > MOST_LINE_BYTES) {
      throw inputError(
        `${name}, line ${line + 1} is longer than ${MOST_LINE_BYTES / MIB} MiB`,
        'give a line for each record',
      );
    }
    if (entries.length > 0) yield entries;
  }
  const last = entryOf(Buffer.concat(parts).toString());
  if (last !== null) yield [last];
}

function recordOf(text: string): RecordFields {
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch (error) {
    throw inputError(`it is no JSON: ${(error as Error).message}`, 'give a line of JSON for each record', error);
  }
  if (typeof record !== 'object' || record === null || Array.isArray(record)) {
    throw inputError('it is no object', 'give an object in each line, such as {"key":"a","value":"b"}');
  }
  return record as RecordFields;
}

/** Comma-separated, with a heading. */
export async function* readCsv(
  chunks: AsyncIterable<Buffer>,
  reader: RecordReader,
  { name, delimiter }: { readonly name: string; readonly delimiter: string },
): AsyncGenerator<SomeEntries> {
  const parser = parse({ bom: true, columns: true, delimiter, skip_empty_lines: true, info: true });
  const source = Readable.from(chunks);
  source.on('error', (error) => parser.destroy(error));
  source.pipe(parser);
  let entries: (readonly [Buffer, Uint8Array])[] = [];
  try {
    for await (const { record, info } of parser as AsyncIterable<{ record: RecordFields; info: { lines: number } }>) {
      entries.push(at(`${name}, line ${info.lines}`, () => reader.entryOf(record, null)));
      if (entries.length === RECORDS_AT_ONCE) {
        yield entries;
        entries = [];
      }
    }
  } catch (error) {
    const { code } = error as { code?: string };
    if (code?.startsWith('CSV_') !== true) throw error;
    throw inputError(`${name}: ${(error as Error).message}`, 'look at that line, and at --delimiter', error);
  } finally {
    source.destroy();
    parser.destroy();
  }
  if (entries.length > 0) yield entries;
}

/** Says where it was, of what goes wrong with a record. */
function at<T>(where: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    throw inputError(`${where}: ${error.message}`, error.remedy, error);
  }
}
