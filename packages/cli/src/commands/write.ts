/** Commands that change single keys, or a range at once: `put`, `del`. */
import type { Command } from 'commander';
import { MIB, createCodec } from '@aiokv/core';
import { inputError, usageError } from '../errors.ts';
import {
  addDurabilityFlag,
  addEncodingFlags,
  addExamples,
  addRangeFlags,
  addStoreFlags,
  encodingOf,
  isPart,
  openFlagsOf,
  rangeOf,
} from '../flags.ts';
import type { EncodingFlags, RangeFlags, StoreFlags } from '../flags.ts';
import { readAll } from '../io/input.ts';
import type { Session } from '../session.ts';
import { parseBytes } from '../text/bytes.ts';
import type { Encoding } from '../text/bytes.ts';

const MOST_VALUE_BYTES = 64 * MIB;

export function addWriteCommands(program: Command, session: Session): void {
  addPut(program, session);
  addDel(program, session);
}

interface PutFlags extends EncodingFlags, StoreFlags {
  readonly create?: true;
  readonly ifAbsent?: true;
  readonly msgpack?: true;
}

function addPut(program: Command, session: Session): void {
  const command = program
    .command('put <directory> <key> [value]')
    .description('set a value; without one, or with -, it is read from stdin')
    .option('--create', 'make the store if it is not there')
    .option('--if-absent', 'exit code 1, and no change, if the key is there')
    .option('--msgpack', 'the value is JSON: store it as MessagePack')
    .action(async (directory: string, name: string, text: string | undefined, flags: PutFlags) => {
      const encoding = encodingOf(flags);
      const key = parseBytes(name, encoding, 'the key');
      const value = await valueOf(session, text, encoding, flags.msgpack === true);
      await session.withStore(directory, openFlagsOf(flags, flags.create === true), async (store) => {
        await store.put(key, value, flags.ifAbsent === true ? { ifAbsent: true } : {});
      });
    });
  addDurabilityFlag(addStoreFlags(addEncodingFlags(command)));
  addExamples(command, [
    ['aiokv put ./data user:1 \'{"name":"Ada"}\'', 'text'],
    ['aiokv put ./data photo < photo.jpg', 'a file, up to 64 MiB'],
    ['aiokv put ./data lock 1 --if-absent', 'only if nobody has it'],
    ['aiokv put ./new first 1 --create', 'into a store that is made'],
  ]);
}

async function valueOf(
  session: Session,
  text: string | undefined,
  encoding: Encoding,
  isMessagePack: boolean,
): Promise<Uint8Array> {
  const isFromStdin = text === undefined || text === '-';
  const bytes = isFromStdin ? await readAll(session.stdinFor('the value'), MOST_VALUE_BYTES, 'the value') : null;
  if (isMessagePack) {
    const json = bytes === null ? (text as string) : bytes.toString();
    try {
      return createCodec().encode(JSON.parse(json));
    } catch (error) {
      throw inputError('the value is not JSON', 'with --msgpack, give JSON, such as \'{"a":1}\'', error);
    }
  }
  if (bytes === null) return parseBytes(text as string, encoding, 'the value');
  return encoding === 'hex' ? parseBytes(bytes.toString().trim(), encoding, 'the value') : bytes;
}

interface DelFlags extends EncodingFlags, StoreFlags, RangeFlags {
  readonly yes?: true;
}

function addDel(program: Command, session: Session): void {
  const command = program
    .command('del <directory> [keys...]')
    .description('remove keys, or with --yes all keys of a range')
    .option('--yes', 'remove the range that --from, --to and --prefix name')
    .action(async (directory: string, names: string[], flags: DelFlags) => {
      const encoding = encodingOf(flags);
      const keys = names.map((name) => parseBytes(name, encoding, 'the key'));
      const range = rangeOf(flags, encoding);
      checkDel(keys.length, flags);
      await session.withStore(directory, openFlagsOf(flags), async (store) => {
        if (isPart(flags)) await store.deleteRange(range);
        else await store.batch(keys.map((key) => ({ type: 'del', key })));
      });
    });
  addDurabilityFlag(addStoreFlags(addEncodingFlags(addRangeFlags(command))));
  addExamples(command, [
    ['aiokv del ./data user:1 user:2', 'keys; one that is not there is no error'],
    ['aiokv del ./data --prefix session: --yes', 'a range, in one write'],
  ]);
}

function checkDel(keys: number, flags: DelFlags): void {
  if (isPart(flags) ? keys > 0 : keys === 0) {
    throw usageError('del takes keys, or a range', 'name keys, or give --from, --to or --prefix, and --yes');
  }
  if (isPart(flags) && flags.yes !== true) {
    throw usageError(
      'a range is removed only with --yes',
      '`aiokv count` with the same flags tells how many keys it has',
    );
  }
}
