/**
 * Flags that several commands have, and what they say to the store. Each is checked once, here.
 */
import { Option } from 'commander';
import type { Command } from 'commander';
import type { Durability, RangeOptions } from '@aiokv/kv';
import { usageError } from './errors.ts';
import type { OpenFlags, Session } from './session.ts';
import { parseBytes } from './text/bytes.ts';
import type { Encoding } from './text/bytes.ts';
import type { PrintOptions } from './text/entry-printer.ts';
import { parseSize, parseWhole } from './text/numbers.ts';

export interface StoreFlags {
  readonly memory?: string;
  readonly durability?: Durability;
}

export interface EncodingFlags {
  readonly hex?: true;
  readonly utf8?: true;
}

export interface FormatFlags extends EncodingFlags {
  readonly json?: true;
  readonly jsonl?: true;
  readonly csv?: true;
  readonly msgpack?: true;
  readonly full?: true;
}

export interface RangeFlags {
  readonly from?: string;
  readonly to?: string;
  readonly prefix?: string;
  readonly limit?: string;
  readonly reverse?: true;
}

export function addStoreFlags(command: Command): Command {
  return command.option('--memory <size>', 'memory for the store, such as 256M');
}

export function addDurabilityFlag(command: Command): Command {
  const levels = ['flushed', 'written', 'buffered'];
  return command.addOption(
    new Option('--durability <level>', 'when a write is done: it survives power loss, kill -9, or neither yet').choices(
      levels,
    ),
  );
}

export function addEncodingFlags(command: Command): Command {
  return command
    .addOption(new Option('--hex', 'keys and values are hexadecimal digits').conflicts('utf8'))
    .option('--utf8', 'keys and values are text, whatever their bytes are');
}

export function addFormatFlags(command: Command): Command {
  addEncodingFlags(command);
  return command
    .addOption(new Option('--json', 'one JSON document').conflicts(['jsonl', 'csv']))
    .addOption(new Option('--jsonl', 'a line of JSON for each entry').conflicts('csv'))
    .option('--csv', 'comma-separated, with a heading')
    .option('--msgpack', 'values are MessagePack: show them as JSON')
    .option('--full', 'do not cut long values on a terminal');
}

export function addRangeFlags(command: Command): Command {
  return command
    .option('--from <key>', 'the first key')
    .option('--to <key>', 'the key in front of which to stop')
    .option('--prefix <key>', 'keys that begin so');
}

export function addWalkFlags(command: Command): Command {
  return addRangeFlags(command)
    .option('--limit <n>', 'at most so many')
    .option('--reverse', 'from the last key to the first');
}

export function openFlagsOf({ memory, durability }: StoreFlags, create = false): OpenFlags {
  return {
    create,
    durability,
    memoryBytes: memory === undefined ? undefined : parseSize(memory, '--memory'),
  };
}

export function encodingOf({ hex, utf8 }: EncodingFlags): Encoding {
  return hex === true ? 'hex' : utf8 === true ? 'utf8' : 'auto';
}

export function printOptionsOf(session: Session, flags: FormatFlags): PrintOptions {
  const { json, jsonl, csv, msgpack = false, full = false } = flags;
  const format = json === true ? 'json' : jsonl === true ? 'jsonl' : csv === true ? 'csv' : 'plain';
  return { format, encoding: encodingOf(flags), msgpack, full, style: session.style };
}

/** Whether the flags name a part of the keys. */
export function isPart({ from, to, prefix }: RangeFlags): boolean {
  return from !== undefined || to !== undefined || prefix !== undefined;
}

export function rangeOf(flags: RangeFlags, encoding: Encoding): Partial<RangeOptions> {
  const range: { -readonly [Name in keyof RangeOptions]?: RangeOptions[Name] } = {};
  const from = flags.from === undefined ? null : parseBytes(flags.from, encoding, '--from');
  const to = flags.to === undefined ? null : parseBytes(flags.to, encoding, '--to');
  const prefix = flags.prefix === undefined ? null : parseBytes(flags.prefix, encoding, '--prefix');
  const behind = prefix === null ? null : keyBehind(prefix);
  const first = laterOf(from, prefix);
  const end = to === null || behind === null ? (to ?? behind) : to.compare(behind) < 0 ? to : behind;
  if (first !== null) range.gte = first;
  if (end !== null) range.lt = end;
  if (flags.limit !== undefined) range.limit = parseWhole(flags.limit, '--limit', 0);
  if (flags.reverse === true) range.reverse = true;
  if (from !== null && to !== null && from.compare(to) > 0) {
    throw usageError(`--from '${flags.from}' comes after --to '${flags.to}'`, 'swap them; --reverse turns the order');
  }
  return range;
}

function laterOf(one: Buffer | null, other: Buffer | null): Buffer | null {
  if (one === null || other === null) return one ?? other;
  return one.compare(other) > 0 ? one : other;
}

/** The first key behind all that begin so; null: there is none. */
function keyBehind(prefix: Buffer): Buffer | null {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  if (length === 0) return null;
  const key = Buffer.from(prefix.subarray(0, length));
  key[length - 1] = (key[length - 1] as number) + 1;
  return key;
}

/** Of `--help`: what to type, and what it does. */
export function addExamples(command: Command, examples: readonly (readonly [line: string, what: string])[]): Command {
  const width = examples.reduce((most, [line]) => Math.max(most, line.length), 0);
  const lines = examples.map(([line, what]) => `  $ ${line.padEnd(width)}   ${what}`);
  return command.addHelpText('after', `\nExamples:\n${lines.join('\n')}`);
}
