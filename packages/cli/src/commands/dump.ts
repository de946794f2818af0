/** `dump` and `load`: a store as one checksummed stream, and back. */
import type { Command } from 'commander';
import { CliError } from '../errors.ts';
import {
  addEncodingFlags,
  addExamples,
  addRangeFlags,
  addStoreFlags,
  encodingOf,
  openFlagsOf,
  rangeOf,
} from '../flags.ts';
import type { EncodingFlags, RangeFlags, StoreFlags } from '../flags.ts';
import { ByteReader } from '../io/byte-reader.ts';
import { readFrom, writeTo } from '../io/files.ts';
import type { Session } from '../session.ts';
import { countOf, sizeOf } from '../text/numbers.ts';
import { DumpWriter, readDump } from '../transfer/dump-format.ts';
import { Loader } from '../transfer/loader.ts';
import { firstKey, walkEntries } from '../walk.ts';

export function addDumpCommands(program: Command, session: Session): void {
  addDump(program, session);
  addLoad(program, session);
}

interface DumpFlags extends StoreFlags, RangeFlags, EncodingFlags {
  readonly force?: true;
}

function addDump(program: Command, session: Session): void {
  const command = program
    .command('dump <directory> [file]')
    .description('write all entries as one stream with checksums, to a file or stdout')
    .option('--force', 'replace the file')
    .action(async (directory: string, path: string | undefined, flags: DumpFlags) => {
      await dump(session, directory, path, flags);
    });
  addStoreFlags(addEncodingFlags(addRangeFlags(command)));
  addExamples(command, [
    ['aiokv dump ./data backup.aiokv', 'into a file'],
    ['aiokv dump ./data | zstd > backup.zst', 'through a compressor'],
    ['aiokv dump ./data | aiokv load ./copy', 'a copy, with all garbage left out'],
    ['aiokv dump ./data | ssh host aiokv load ./data', 'to another machine'],
  ]);
}

async function dump(session: Session, directory: string, path: string | undefined, flags: DumpFlags): Promise<void> {
  const range = rangeOf(flags, encodingOf(flags));
  const target = { path, isForced: flags.force === true, isBinary: true };
  await session.withStore(directory, openFlagsOf(flags), async (store) => {
    const total = store.statistics().space.liveBytes;
    const progress = session.progress('dumping');
    const writer = new DumpWriter();
    try {
      await writeTo(session.output, target, async (output) => {
        await output.write(writer.header);
        await walkEntries(session, store, range, (key, value) => {
          const block = writer.add(key, value);
          if (block === null) return null;
          // What lives in the store has headers, and is as of the last merge: an estimate.
          progress.tell({
            done: writer.bytes,
            total: Math.max(total, writer.bytes),
            unit: 'bytes',
            entries: writer.entries,
          });
          return output.write(block);
        });
        for (const block of writer.end()) await output.write(block);
      });
    } finally {
      progress.end();
    }
    tellEnd(session, 'dumped', writer);
  });
}

/** For whoever waited for it. */
function tellEnd(session: Session, done: string, { entries, bytes }: { entries: number; bytes: number }): void {
  if (session.messages.isTerminal) session.say(`${done} ${countOf(entries)} entries, ${sizeOf(bytes)}`);
}

interface LoadFlags extends StoreFlags {
  readonly merge?: true;
}

function addLoad(program: Command, session: Session): void {
  const command = program
    .command('load <directory> [file]')
    .description('make a store of what dump wrote, from a file or stdin')
    .option('--merge', 'into a store that has entries; a key that is there gets the value of the dump')
    .action(async (directory: string, path: string | undefined, flags: LoadFlags) => {
      await load(session, directory, path, flags);
    });
  addStoreFlags(command);
  addExamples(command, [
    ['aiokv load ./data backup.aiokv', 'into a new store'],
    ['zstd -d < backup.zst | aiokv load ./data', 'from a compressor'],
    ['aiokv load ./data changes.aiokv --merge', 'over what is there'],
  ]);
}

async function load(session: Session, directory: string, path: string | undefined, flags: LoadFlags): Promise<void> {
  await readFrom(session.environment, path, async ({ chunks, bytes: total }) => {
    const reader = new ByteReader(chunks);
    const blocks = readDump(reader);
    // Before a store is made of something that is no dump.
    let block = await blocks.next();
    await session.withStore(directory, openFlagsOf(flags, true), async (store) => {
      if (flags.merge !== true && (await firstKey(store, {})) !== undefined) {
        throw new CliError(
          'ERR_AIOKV_CLI_NOT_EMPTY',
          `the store in ${directory} has entries`,
          'name a new directory; --merge puts the dump over what is there',
        );
      }
      const loader = new Loader(store);
      const progress = session.progress('loading');
      try {
        for (; block.done !== true; block = await blocks.next()) {
          for (const [name, value] of block.value) {
            const wait = loader.put(name, value);
            if (wait !== null) await wait;
          }
          progress.tell({ done: reader.taken, total, unit: 'bytes', entries: loader.entries });
          session.checkSignal();
        }
        await loader.end();
      } finally {
        progress.end();
      }
      tellEnd(session, 'loaded', loader);
    });
  });
}
