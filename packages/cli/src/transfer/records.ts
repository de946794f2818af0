/**
 * Records of somebody else's file as entries: which field is the key, which is the value, and what bytes they are.
 *
 * ```
 *   --key id --value name   {"id":7,"name":"Ada","x":1}   7  ►  Ada
 *   --key id                {"id":7,"name":"Ada","x":1}   7  ►  {"id":7,"name":"Ada","x":1}
 *   neither                 {"key":"a","value":"b"}       a  ►  b
 * ```
 *
 * RECORD-1. What `export` wrote becomes the same bytes: text is its UTF-8, `{ "$hex": … }` is bytes, and with --hex every
 *     string is digits.
 */
import { createCodec } from '@aiokv/core';
import type { Codec } from '@aiokv/core';
import { inputError } from '../errors.ts';
import { bytesOfHexObject, parseBytes } from '../text/bytes.ts';

export interface RecordShape {
  readonly key: string;
  /** Null: the whole record. */
  readonly value: string | null;
  readonly isHex: boolean;
  /** Values become MessagePack. */
  readonly isMessagePack: boolean;
}

export type RecordFields = Readonly<Record<string, unknown>>;

export class RecordReader {
  readonly #shape: RecordShape;
  readonly #codec: Codec = createCodec();

  constructor(shape: RecordShape) {
    this.#shape = shape;
  }

  /** @param text of the whole record, where it has one. @throws CliError that does not say where the record is */
  entryOf(record: RecordFields, text: string | null): readonly [Buffer, Uint8Array] {
    const { key, value, isMessagePack } = this.#shape;
    const name = this.#keyOf(fieldOf(record, key));
    if (value !== null) return [name, this.#valueOf(fieldOf(record, value))];
    return [name, isMessagePack ? this.#codec.encode(record) : Buffer.from(text ?? JSON.stringify(record))];
  }

  #keyOf(field: unknown): Buffer {
    if (typeof field === 'string') return parseBytes(field, this.#shape.isHex ? 'hex' : 'utf8', 'the key');
    if (typeof field === 'number') return Buffer.from(String(field));
    const bytes = bytesOfHexObject(field);
    if (bytes !== null) return bytes;
    throw inputError(
      `the key is ${JSON.stringify(field)}, which is neither a string nor a number`,
      'name another field with --key',
    );
  }

  #valueOf(field: unknown): Uint8Array {
    const { isHex, isMessagePack } = this.#shape;
    if (isMessagePack) return this.#codec.encode(field);
    if (typeof field === 'string') return parseBytes(field, isHex ? 'hex' : 'utf8', 'the value');
    return bytesOfHexObject(field) ?? Buffer.from(JSON.stringify(field));
  }
}

function fieldOf(record: RecordFields, name: string): unknown {
  if (Object.hasOwn(record, name)) return record[name];
  const names = Object.keys(record).slice(0, 8).join(', ');
  throw inputError(`there is no field '${name}' in it`, `it has ${names}: name one with --key and --value`);
}
