/** Commands that read: `get`, `has`, `scan`, `keys`, `count`. */
import type { Command } from 'commander';
import { EXIT } from '../errors.ts';
import {
  addEncodingFlags,
  addExamples,
  addFormatFlags,
  addRangeFlags,
  addStoreFlags,
  addWalkFlags,
  encodingOf,
  openFlagsOf,
  printOptionsOf,
  rangeOf,
} from '../flags.ts';
import type { EncodingFlags, FormatFlags, RangeFlags, StoreFlags } from '../flags.ts';
import type { Session } from '../session.ts';
import { parseBytes, showBytes } from '../text/bytes.ts';
import { printerFor, shownText } from '../text/entry-printer.ts';
import type { PrintOptions } from '../text/entry-printer.ts';
import { countOf } from '../text/numbers.ts';
import { walkEntries, walkKeys } from '../walk.ts';

export function addReadCommands(program: Command, session: Session): void {
  addGet(program, session);
  addHas(program, session);
  addScan(program, session);
  addKeys(program, session);
  addCount(program, session);
}

function addGet(program: Command, session: Session): void {
  const command = program
    .command('get <directory> <keys...>')
    .description('print values; exit code 1 if a key is not there')
    .action(async (directory: string, keys: string[], flags: FormatFlags & StoreFlags) => {
      await get(session, directory, keys, flags);
    });
  addStoreFlags(addFormatFlags(command));
  addExamples(command, [
    ['aiokv get ./data user:1', 'the value; in a pipe its bytes alone'],
    ['aiokv get ./data user:1 > photo.jpg', 'bytes as they are'],
    ['aiokv get ./data user:1 user:2 --jsonl', 'several, with their keys'],
    ['aiokv get ./data 0x00ff --hex', 'a key that is no text'],
  ]);
}

async function get(
  session: Session,
  directory: string,
  names: readonly string[],
  flags: FormatFlags & StoreFlags,
): Promise<void> {
  const options = printOptionsOf(session, flags);
  const keys = names.map((name) => parseBytes(name, options.encoding, 'the key'));
  await session.withStore(directory, openFlagsOf(flags), async (store) => {
    const values = await store.getMany(keys);
    if (keys.length === 1 && options.format === 'plain') {
      const [value] = values;
      if (value !== undefined) await printValue(session, keys[0] as Buffer, value, options);
      else reportMissing(session, keys[0] as Buffer, options);
      return;
    }
    const printer = printerFor(session.output, options, true);
    await printer.begin();
    for (const [i, value] of values.entries()) {
      if (value === undefined) reportMissing(session, keys[i] as Buffer, options);
      else await printer.entry(keys[i] as Buffer, value);
    }
    await printer.end();
  });
}

/** One value: its bytes and nothing else in a pipe, a line on a terminal. */
async function printValue(session: Session, key: Buffer, value: Buffer, options: PrintOptions): Promise<void> {
  const { output } = session;
  if (output.isTerminal || options.msgpack)
    await output.write(`${shownText(key, value, { ...options, mostBytes: Infinity })}\n`);
  else if (options.encoding === 'auto') await output.write(value);
  else await output.write(`${options.encoding === 'hex' ? value.toString('hex') : value.toString()}\n`);
}

function reportMissing(session: Session, key: Buffer, { encoding }: PrintOptions): void {
  session.exitCode = EXIT.no;
  session.say(`aiokv: no such key: ${showBytes(key, encoding)}`);
}

function addHas(program: Command, session: Session): void {
  const command = program
    .command('has <directory> <keys...>')
    .description('whether keys exist: 1 or 0 for each; exit code 1 if one does not')
    .action(async (directory: string, names: string[], flags: EncodingFlags & StoreFlags) => {
      const keys = names.map((name) => parseBytes(name, encodingOf(flags), 'the key'));
      await session.withStore(directory, openFlagsOf(flags), async (store) => {
        const found = await Promise.all(keys.map((key) => store.has(key)));
        for (const isThere of found) {
          if (!isThere) session.exitCode = EXIT.no;
          await session.output.write(
            session.output.isTerminal ? (isThere ? 'yes\n' : 'no\n') : isThere ? '1\n' : '0\n',
          );
        }
      });
    });
  addStoreFlags(addEncodingFlags(command));
  addExamples(command, [
    ['aiokv has ./data user:1', 'reads no value'],
    ['aiokv has ./data user:1 >/dev/null && echo known', 'in a script'],
  ]);
}

function addScan(program: Command, session: Session): void {
  const command = program
    .command('scan <directory>')
    .description('print entries, in the order of their keys')
    .option('--keys-only', 'keys without values, which are not read')
    .action(async (directory: string, flags: FormatFlags & RangeFlags & StoreFlags & { readonly keysOnly?: true }) => {
      await scan(session, directory, flags, flags.keysOnly === true);
    });
  addStoreFlags(addFormatFlags(addWalkFlags(command)));
  addExamples(command, [
    ['aiokv scan ./data --limit 20', 'the first 20'],
    ['aiokv scan ./data --prefix user: --reverse', 'a prefix, the last one first'],
    ['aiokv scan ./data --from 2024-01 --to 2024-02 --csv', 'a range; --to itself is left out'],
    ['aiokv scan ./data --jsonl | jq -r .key', 'for programs: a line each'],
    ['aiokv scan ./data --msgpack --full', 'values of MessagePack as JSON'],
  ]);
}

function addKeys(program: Command, session: Session): void {
  const command = program
    .command('keys <directory>')
    .description('print keys; reads no value')
    .action(async (directory: string, flags: FormatFlags & RangeFlags & StoreFlags) => {
      await scan(session, directory, flags, true);
    });
  addStoreFlags(addFormatFlags(addWalkFlags(command)));
  addExamples(command, [
    ['aiokv keys ./data --prefix user:', 'keys that begin so'],
    ['aiokv keys ./data --reverse --limit 1', 'the last key'],
  ]);
}

async function scan(
  session: Session,
  directory: string,
  flags: FormatFlags & RangeFlags & StoreFlags,
  keysOnly: boolean,
): Promise<void> {
  const options = printOptionsOf(session, flags);
  const range = rangeOf(flags, options.encoding);
  await session.withStore(directory, openFlagsOf(flags), async (store) => {
    const printer = printerFor(session.output, options, !keysOnly);
    await printer.begin();
    if (keysOnly) await walkKeys(session, store, range, (key) => printer.entry(key, undefined));
    else await walkEntries(session, store, range, (key, value) => printer.entry(key, value));
    await printer.end();
    // While the store is open still: a reader that went away ends the walk, not the closing.
    await session.output.flush();
  });
}

function addCount(program: Command, session: Session): void {
  const command = program
    .command('count <directory>')
    .description('how many keys there are; reads no value')
    .action(async (directory: string, flags: EncodingFlags & RangeFlags & StoreFlags) => {
      const { gte, lt } = rangeOf(flags, encodingOf(flags));
      const count = await session.withStore(directory, openFlagsOf(flags), async (store) => {
        const { signal } = session.environment;
        try {
          return await store.count({ gte, lt, signal });
        } catch (error) {
          session.checkSignal();
          throw error;
        }
      });
      await session.output.write(session.output.isTerminal ? `${countOf(count)}\n` : `${count}\n`);
    });
  addStoreFlags(addEncodingFlags(addRangeFlags(command)));
  addExamples(command, [
    ['aiokv count ./data', 'all keys'],
    ['aiokv count ./data --prefix user:', 'those that begin so'],
  ]);
}
