/** `verify` and `compact`: reads everything, or puts everything in order. */
import type { Command } from 'commander';
import { AiokvError } from '@aiokv/core';
import type { Store } from '@aiokv/kv';
import { EXIT } from '../errors.ts';
import { addExamples, addStoreFlags, openFlagsOf } from '../flags.ts';
import type { StoreFlags } from '../flags.ts';
import type { Session } from '../session.ts';
import { showBytes } from '../text/bytes.ts';
import { countOf, sizeOf } from '../text/numbers.ts';
import { firstKey, walkEntries } from '../walk.ts';

export function addMaintenanceCommands(program: Command, session: Session): void {
  addVerify(program, session);
  addCompact(program, session);
}

function addVerify(program: Command, session: Session): void {
  const command = program
    .command('verify <directory>')
    .description('read every key and value, and compare checksums; exit code 4 if something is damaged')
    .action(async (directory: string, flags: StoreFlags) => {
      await session.withStore(directory, openFlagsOf(flags), (store) => verify(session, store));
    });
  addStoreFlags(command);
  addExamples(command, [['aiokv verify ./data', 'a line for each value that cannot be read, then the count']]);
}

/** What a verification has seen. */
interface Seen {
  entries: number;
  bytes: number;
  damaged: number;
  /** The last key that was read, or found damaged. */
  last: Buffer | null;
}

/**
 * ```
 *   walk ─► fails ─► the key behind the last good one, from the index ─► told ─► walk on behind it
 *                     └─ the index cannot be read either: the rest cannot be reached
 * ```
 */
async function verify(session: Session, store: Store): Promise<void> {
  const seen: Seen = { entries: 0, bytes: 0, damaged: 0, last: null };
  const progress = session.progress('verifying');
  try {
    while (
      !(await verifyOn(session, store, seen, (done) =>
        progress.tell({ done, total: 0, unit: 'bytes', entries: seen.entries }),
      ))
    );
  } finally {
    progress.end();
  }
  await session.output.write(
    `${countOf(seen.entries)} entries are good, ${sizeOf(seen.bytes)}; ${countOf(seen.damaged)} are damaged\n`,
  );
  if (seen.damaged > 0) session.exitCode = EXIT.damaged;
}

/** @returns whether it came to the end */
async function verifyOn(session: Session, store: Store, seen: Seen, tell: (done: number) => void): Promise<boolean> {
  const behind = (): { gt: Buffer } | object => (seen.last === null ? {} : { gt: seen.last });
  try {
    await walkEntries(session, store, behind(), (key, value) => {
      seen.entries++;
      seen.bytes += key.length + value.length;
      seen.last = key;
      if ((seen.entries & 255) === 0) tell(seen.bytes);
      return null;
    });
    return true;
  } catch (error) {
    if (!isDamage(error)) throw error;
    seen.damaged++;
    const key = await nextKey(store, behind());
    if (key === null) {
      await session.output.write(
        `the index behind ${seen.last === null ? 'its beginning' : showBytes(seen.last, 'auto')}: ${error.message}\n`,
      );
      return true;
    }
    await session.output.write(`${showBytes(key, 'auto')}: ${error.message}\n`);
    seen.last = key;
    return false;
  }
}

function isDamage(error: unknown): error is AiokvError {
  return error instanceof AiokvError && (error.code === 'ERR_AIOKV_CORRUPT' || error.code === 'ERR_AIOKV_IO');
}

/** Null: the index has no more, or cannot be read there. */
async function nextKey(store: Store, range: { gt?: Buffer }): Promise<Buffer | null> {
  try {
    return (await firstKey(store, range)) ?? null;
  } catch (error) {
    if (isDamage(error)) return null;
    throw error;
  }
}

function addCompact(program: Command, session: Session): void {
  const command = program
    .command('compact <directory>')
    .description('put all records in order, remove all garbage, cut the file to size')
    .action(async (directory: string, flags: StoreFlags) => {
      await session.withStore(directory, openFlagsOf(flags), (store) => compact(session, store));
    });
  addStoreFlags(command);
  addExamples(command, [['aiokv compact ./data', 'may be ended with Ctrl-C: what is in order by then stays so']]);
}

async function compact(session: Session, store: Store): Promise<void> {
  const { signal } = session.environment;
  const before = store.statistics().space.fileBytes;
  const progress = session.progress('compacting');
  try {
    await store.compact({
      signal,
      onProgress: ({ doneBytes, totalBytes }) => progress.tell({ done: doneBytes, total: totalBytes, unit: 'bytes' }),
    });
  } catch (error) {
    session.checkSignal();
    throw error;
  } finally {
    progress.end();
  }
  const after = store.statistics().space.fileBytes;
  await session.output.write(
    session.output.isTerminal ? `${sizeOf(before)} before, ${sizeOf(after)} now\n` : `${before}\t${after}\n`,
  );
}
