/**
 * Sessions of a web server in a Level database: a sublevel with JSON values, and an index by time that the same batch
 * keeps. Whatever takes an abstract-level database takes this one.
 *
 *   node --import=tsx --conditions=@aiokv/source examples/level.ts [directory]
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AioLevel } from '@aiokv/level';

interface Session {
  readonly user: string;
  readonly endsAt: number;
}

const directory = await mkdtemp(join(process.argv[2] ?? '.', '.tmp-level-'));
try {
  const db = new AioLevel(directory);
  // Most calls wait for the opening; a chained batch does not.
  await db.open();
  const sessions = db.sublevel<string, Session>('sessions', { valueEncoding: 'json' });
  const byEnd = db.sublevel('by-end');
  const timeOf = (ms: number): string => String(ms).padStart(16, '0');

  const begin = (id: string, session: Session): Promise<void> =>
    db
      .batch()
      .put(id, session, { sublevel: sessions })
      .put(`${timeOf(session.endsAt)} ${id}`, id, { sublevel: byEnd })
      .write();
  await Promise.all([
    begin('s1', { user: 'ada', endsAt: 1000 }),
    begin('s2', { user: 'bob', endsAt: 3000 }),
    begin('s3', { user: 'cyd', endsAt: 2000 }),
  ]);
  console.log(`s2 is of ${(await sessions.get('s2'))?.user}, s9 of ${(await sessions.get('s9'))?.user}`);

  const over = { lt: timeOf(2500) };
  const ended = await byEnd.values(over).all();
  await sessions.batch(ended.map((id) => ({ type: 'del', key: id })));
  await byEnd.clear(over);
  console.log(`ended: ${ended.join(', ')}`);
  console.log(`left: ${(await sessions.keys().all()).join(', ')}`);
  await db.close();
} finally {
  await rm(directory, { recursive: true, force: true });
}
