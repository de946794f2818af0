/** Reads a stream to its end, as far as memory allows it to be. */
import { MIB } from '@aiokv/core';
import { inputError, usageError } from '../errors.ts';
import type { Source } from './environment.ts';

/** @throws CliError for more than `mostBytes` */
export async function readAll(source: Source, mostBytes: number, what: string): Promise<Buffer> {
  if (source.isTTY === true) {
    throw usageError(`${what} is missing`, 'give it as an argument, or through a pipe: … < FILE');
  }
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of source as AsyncIterable<Buffer | string>) {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    length += bytes.length;
    if (length > mostBytes) throw inputError(`${what} is longer than ${mostBytes / MIB} MiB`, 'split it');
    chunks.push(bytes);
  }
  return Buffer.concat(chunks, length);
}
