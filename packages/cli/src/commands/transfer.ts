/** `import` and `export`: entries from files and databases of other kinds, and to files that other programs read. */
import { existsSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import type { Command } from 'commander';
import { Option } from 'commander';
import { usageError } from '../errors.ts';
import {
  addEncodingFlags,
  addExamples,
  addStoreFlags,
  addWalkFlags,
  encodingOf,
  openFlagsOf,
  printOptionsOf,
  rangeOf,
} from '../flags.ts';
import type { FormatFlags, RangeFlags, StoreFlags } from '../flags.ts';
import { ByteReader } from '../io/byte-reader.ts';
import { readFrom, writeTo } from '../io/files.ts';
import type { Session } from '../session.ts';
import { printerFor } from '../text/entry-printer.ts';
import { countOf, sizeOf } from '../text/numbers.ts';
import { readLevel, readLmdb } from '../transfer/databases.ts';
import { readDump } from '../transfer/dump-format.ts';
import { Loader } from '../transfer/loader.ts';
import { RecordReader } from '../transfer/records.ts';
import { readCsv, readJsonLines } from '../transfer/sources.ts';
import type { SomeEntries } from '../transfer/sources.ts';
import { walkEntries } from '../walk.ts';

const KINDS = ['jsonl', 'csv', 'level', 'lmdb', 'dump'] as const;
type Kind = (typeof KINDS)[number];

export function addTransferCommands(program: Command, session: Session): void {
  addImport(program, session);
  addExport(program, session);
}

interface ImportFlags extends StoreFlags, Partial<Record<Kind, true>> {
  readonly key?: string;
  readonly value?: string;
  readonly delimiter?: string;
  readonly database?: string;
  readonly hex?: true;
  readonly msgpack?: true;
}

function addImport(program: Command, session: Session): void {
  const command = program
    .command('import <directory> [source]')
    .description('put entries of a file, a database or stdin into a store, which is made if it is not there');
  const others = (kind: Kind): string[] => KINDS.filter((other) => other !== kind);
  const kinds: Readonly<Record<Kind, string>> = {
    jsonl: 'a line of JSON for each record (.jsonl, .ndjson, stdin)',
    csv: 'comma-separated, with a heading (.csv, .tsv)',
    level: 'a directory of LevelDB; needs the package classic-level',
    lmdb: 'an environment of LMDB; needs the package lmdb',
    dump: 'what `aiokv dump` wrote',
  };
  for (const kind of KINDS) command.addOption(new Option(`--${kind}`, kinds[kind]).conflicts(others(kind)));
  command
    .option('--key <field>', 'the field or column that is the key; key unless it is told')
    .option('--value <field>', 'that of the value; unless it is told, value, or with --key the whole record')
    .option('--delimiter <text>', 'of a CSV file; a comma, and a tab for .tsv')
    .option('--database <name>', 'of LMDB: a named database')
    .option('--hex', 'keys and values of JSON and CSV are hexadecimal digits')
    .option('--msgpack', 'values of JSON and CSV become MessagePack')
    .action(async (directory: string, source: string | undefined, flags: ImportFlags) => {
      await importFrom(session, directory, source, flags);
    });
  addStoreFlags(command);
  addExamples(command, [
    ['aiokv import ./data users.jsonl --key id', 'each line under its id'],
    ['aiokv import ./data users.csv --key email --value name', 'two columns'],
    ['aiokv export ./old --jsonl | aiokv import ./data', 'what export wrote, from stdin'],
    ['aiokv import ./data ./leveldb-directory', 'after npm install classic-level'],
    ['aiokv import ./data ./lmdb-directory --database users', 'after npm install lmdb'],
  ]);
}

async function importFrom(
  session: Session,
  directory: string,
  source: string | undefined,
  flags: ImportFlags,
): Promise<void> {
  const kind = KINDS.find((name) => flags[name] === true) ?? kindOf(source);
  const { key, value, hex, msgpack } = flags;
  const shape = {
    key: key ?? 'key',
    value: value ?? (key === undefined ? 'value' : null),
    isHex: hex === true,
    isMessagePack: msgpack === true,
  };
  const reader = new RecordReader(shape);
  if (kind === 'level' || kind === 'lmdb') {
    if (source === undefined) throw usageError(`--${kind} takes a directory`, 'name it behind that of the store');
    const entries = kind === 'level' ? readLevel(source) : readLmdb(source, flags.database);
    await loadAll(session, directory, flags, { entries, total: 0, done: () => 0 });
    return;
  }
  await readFrom(session.environment, source, async ({ chunks, bytes, name }) => {
    let done = 0;
    const counted = countedChunks(chunks, (length) => (done += length));
    const delimiter = flags.delimiter ?? (source !== undefined && extname(source) === '.tsv' ? '\t' : ',');
    const entries =
      kind === 'dump'
        ? readDump(new ByteReader(counted))
        : kind === 'csv'
          ? readCsv(counted, reader, { name, delimiter })
          : readJsonLines(counted, reader, name);
    await loadAll(session, directory, flags, { entries, total: bytes, done: () => done });
  });
}

function kindOf(source: string | undefined): Kind {
  if (source === undefined || source === '-') return 'jsonl';
  if (existsSync(source) && statSync(source).isDirectory()) {
    if (existsSync(join(source, 'CURRENT'))) return 'level';
    if (existsSync(join(source, 'data.mdb'))) return 'lmdb';
    const remedy = existsSync(join(source, 'data.aiokv'))
      ? 'it is a store of aiokv: aiokv dump SOURCE | aiokv load DIRECTORY'
      : 'say what it is: --level or --lmdb';
    throw usageError(`${source} is a directory of an unknown kind`, remedy);
  }
  const kinds: Readonly<Record<string, Kind>> = { '.csv': 'csv', '.tsv': 'csv', '.mdb': 'lmdb', '.aiokv': 'dump' };
  const kind = kinds[extname(source)] ?? (['.jsonl', '.ndjson'].includes(extname(source)) ? 'jsonl' : undefined);
  if (kind === undefined) throw usageError(`what is in ${source}?`, 'say it: --jsonl, --csv, --lmdb or --dump');
  return kind;
}

async function* countedChunks(
  chunks: AsyncIterable<Buffer | string>,
  count: (bytes: number) => void,
): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    count(bytes.length);
    yield bytes;
  }
}

interface Incoming {
  readonly entries: AsyncGenerator<SomeEntries>;
  /** Bytes, 0: it is not known. */
  readonly total: number;
  readonly done: () => number;
}

async function loadAll(
  session: Session,
  directory: string,
  flags: StoreFlags,
  { entries, total, done }: Incoming,
): Promise<void> {
  // Before a store is made of something that cannot be read.
  let some = await entries.next();
  await session.withStore(directory, openFlagsOf(flags, true), async (store) => {
    const loader = new Loader(store);
    const progress = session.progress('importing');
    try {
      for (; some.done !== true; some = await entries.next()) {
        for (const [key, value] of some.value) {
          const wait = loader.put(key, value);
          if (wait !== null) await wait;
        }
        if (total > 0) progress.tell({ done: done(), total, unit: 'bytes', entries: loader.entries });
        else progress.tell({ done: loader.entries, total: 0, unit: 'entries' });
        session.checkSignal();
      }
      await loader.end();
    } finally {
      progress.end();
      // Of a source that was not read to its end.
      await entries.return(undefined);
    }
    if (session.messages.isTerminal)
      session.say(`imported ${countOf(loader.entries)} entries, ${sizeOf(loader.bytes)}`);
  });
}

interface ExportFlags extends FormatFlags, RangeFlags, StoreFlags {
  readonly force?: true;
}

function addExport(program: Command, session: Session): void {
  const command = program
    .command('export <directory> [file]')
    .description('write entries as text, to a file or stdout; JSON lines unless it is told')
    .addOption(new Option('--jsonl', 'a line of JSON for each entry').conflicts(['json', 'csv']))
    .addOption(new Option('--json', 'one JSON document').conflicts('csv'))
    .option('--csv', 'comma-separated, with a heading')
    .option('--msgpack', 'values are MessagePack: write them as JSON')
    .option('--force', 'replace the file')
    .action(async (directory: string, path: string | undefined, flags: ExportFlags) => {
      await exportTo(session, directory, path, flags);
    });
  addStoreFlags(addEncodingFlags(addWalkFlags(command)));
  addExamples(command, [
    ['aiokv export ./data users.jsonl --prefix user:', 'what import takes'],
    ['aiokv export ./data all.csv', 'for a spreadsheet; the name says the format'],
    ['aiokv export ./data --hex | gzip > all.gz', 'whatever the bytes are'],
  ]);
}

async function exportTo(
  session: Session,
  directory: string,
  path: string | undefined,
  flags: ExportFlags,
): Promise<void> {
  const given = printOptionsOf(session, flags);
  const named = { '.csv': 'csv', '.json': 'json' } as const;
  const byName = named[extname(path ?? '') as keyof typeof named] ?? 'jsonl';
  const options = { ...given, format: given.format === 'plain' ? byName : given.format };
  const range = rangeOf(flags, encodingOf(flags));
  const target = { path, isForced: flags.force === true, isBinary: false };
  await session.withStore(directory, openFlagsOf(flags), async (store) => {
    const progress = session.progress('exporting');
    let entries = 0;
    try {
      await writeTo(session.output, target, async (output) => {
        const printer = printerFor(output, options, true);
        await printer.begin();
        await walkEntries(session, store, range, (key, value) => {
          entries++;
          if ((entries & 255) === 0) progress.tell({ done: entries, total: 0, unit: 'entries' });
          return printer.entry(key, value);
        });
        await printer.end();
      });
    } finally {
      progress.end();
    }
    if (session.messages.isTerminal) session.say(`exported ${countOf(entries)} entries`);
  });
}
