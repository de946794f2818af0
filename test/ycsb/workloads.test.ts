/** Whole phases on databases in memory: what operations are done, and that wrong values are found. */
import test from 'ava';
import { BasicDb } from '../../benchmarks/ycsb/basic-db.ts';
import type { Db, Fields, Row } from '../../benchmarks/ycsb/db.ts';
import { MemoryDb } from '../../benchmarks/ycsb/memory-db.ts';
import { SetupError } from '../../benchmarks/ycsb/setup-error.ts';
import { phase, valueOf, workload } from './phases.ts';

const LETTERS = ['a', 'b', 'c', 'd', 'e', 'f'] as const;

for (const letter of LETTERS) {
  test(`workload ${letter}: all values are as expected, and operations come in proportion`, async (t) => {
    const given = workload(letter, { dataintegrity: 'true', operationcount: '5000', threadcount: '16' });
    const db = new MemoryDb();
    const loaded = await phase('load', db, given);
    t.is(valueOf(loaded, 'INSERT', 'Return=OK'), 1000);
    t.is(valueOf(loaded, 'INSERT', 'Operations'), 1000);

    const ran = await phase('run', db, given);
    t.is(ran.operations, 5000);
    t.is(ran.troubles.summary(), '');
    t.notRegex(ran.text, /FAILED|NOT_FOUND|ERROR|UNEXPECTED/);
    const verified = valueOf(ran, 'VERIFY', 'Return=OK');
    t.is(valueOf(ran, 'VERIFY', 'Operations'), verified);
    const reads = valueOf(ran, 'READ', 'Operations');
    if (letter === 'e') t.true(verified > valueOf(ran, 'SCAN', 'Operations') * 30);
    else t.is(verified, reads);
    const proportions = {
      READ: given['readproportion'],
      UPDATE: given['updateproportion'],
      INSERT: given['insertproportion'],
      SCAN: given['scanproportion'],
      'READ-MODIFY-WRITE': given['readmodifywriteproportion'],
    };
    for (const [operation, share] of Object.entries(proportions)) {
      // Of workload F half are plain reads, but each read-modify-write reads as well.
      const expected =
        letter === 'f' && operation !== 'READ-MODIFY-WRITE' ? { READ: 1, UPDATE: 0.5 }[operation] : share;
      const actual = valueOf(ran, operation, 'Operations') / 5000;
      t.true(Math.abs(actual - Number(expected ?? 0)) < 0.04, `${operation}: ${actual}, expected ${expected}`);
    }
  });
}

test('every distribution of requests finds only records that are there', async (t) => {
  for (const requestdistribution of ['uniform', 'zipfian', 'latest', 'hotspot', 'sequential', 'exponential']) {
    const given = {
      recordcount: '300',
      operationcount: '2000',
      readproportion: '0.9',
      updateproportion: '0',
      insertproportion: '0.1',
      dataintegrity: 'true',
      threadcount: '8',
      requestdistribution,
    };
    const db = new MemoryDb();
    await phase('load', db, given);
    const ran = await phase('run', db, given);
    t.is(ran.troubles.summary(), '', requestdistribution);
    t.is(valueOf(ran, 'READ', 'Return=OK') + valueOf(ran, 'INSERT', 'Return=OK'), 2000, requestdistribution);
  }
});

test('one field is read and written unless all are asked for', async (t) => {
  const db = new MemoryDb();
  const seen: { read: (readonly string[] | null)[]; written: string[][] } = { read: [], written: [] };
  const watched: Db = Object.assign(Object.create(db) as MemoryDb, {
    init: () => db.init(),
    cleanup: () => db.cleanup(),
    insert: (table: string, key: string, values: Fields) => db.insert(table, key, values),
    read: (table: string, key: string, fields: readonly string[] | null) => {
      seen.read.push(fields);
      return db.read(table, key, fields);
    },
    update: (table: string, key: string, values: Fields) => {
      seen.written.push(Object.keys(values));
      return db.update(table, key, values);
    },
  });
  const given = {
    recordcount: '50',
    operationcount: '200',
    updateproportion: '0.5',
    readproportion: '0.5',
    dataintegrity: 'true',
  };
  await phase('load', watched, given);
  const one = await phase('run', watched, { ...given, readallfields: 'false' });
  t.is(one.troubles.summary(), '');
  t.true(seen.read.every((fields) => fields?.length === 1));
  t.true(seen.written.every((fields) => fields.length === 1));
  t.is(new Set(seen.written.flat()).size, 10);
  seen.read = [];
  seen.written = [];
  await phase('run', watched, { ...given, writeallfields: 'true' });
  t.true(seen.read.every((fields) => fields === null));
  t.true(seen.written.every((fields) => fields.length === 10));
});

test('loads can be divided', async (t) => {
  const db = new MemoryDb();
  const given = { recordcount: '100', insertorder: 'ordered', zeropadding: '3' };
  await phase('load', db, { ...given, insertcount: '40' });
  await phase('load', db, { ...given, insertstart: '40', insertcount: '60', threadcount: '7' });
  const rows = await db.scan('usertable', 'user', 1000, null);
  t.deepEqual(
    rows.map(({ key }) => key),
    Array.from({ length: 100 }, (_, i) => `user${String(i).padStart(3, '0')}`),
  );
  t.deepEqual(Object.keys(rows[0]?.fields ?? {}).length, 10);
});

test('field lengths follow their distribution', async (t) => {
  const db = new MemoryDb();
  await phase('load', db, {
    recordcount: '200',
    fieldlengthdistribution: 'uniform',
    minfieldlength: '5',
    fieldlength: '9',
  });
  const rows = await db.scan('usertable', '', 1000, null);
  const lengths = new Set(rows.flatMap(({ fields }) => Object.values(fields).map((value) => value.length)));
  t.deepEqual(
    [...lengths].sort((a, b) => a - b),
    [5, 6, 7, 8, 9],
  );
});

/** A memory database of which one thing goes wrong. */
class BrokenDb extends MemoryDb {
  readonly fault: 'flip' | 'forget' | 'throw' | 'skip' | 'drop';

  constructor(fault: BrokenDb['fault']) {
    super();
    this.fault = fault;
  }

  override async read(table: string, key: string, fields: readonly string[] | null): Promise<Fields | null> {
    const found = await super.read(table, key, fields);
    if (found === null || this.fault === 'forget') return null;
    if (this.fault === 'throw') throw Object.assign(new Error('the disk is on fire'), { code: 'EIO' });
    if (this.fault === 'drop') return Object.fromEntries(Object.entries(found).slice(1));
    if (this.fault !== 'flip') return found;
    const [name, value] = Object.entries(found)[5] as [string, Uint8Array];
    const flipped = Uint8Array.from(value);
    flipped[50] = (flipped[50] as number) ^ 1;
    return { ...found, [name]: flipped };
  }

  override async scan(table: string, key: string, count: number, fields: readonly string[] | null): Promise<Row[]> {
    const rows = await super.scan(table, key, count, fields);
    return this.fault === 'skip' ? rows.slice(1) : rows.reverse();
  }
}

const FAULTS = [
  ['flip', 'c', 'UNEXPECTED_STATE'],
  ['drop', 'c', 'UNEXPECTED_STATE'],
  ['forget', 'c', 'ERROR'],
  ['skip', 'e', 'UNEXPECTED_STATE'],
  ['throw', 'c', 'ERROR'],
] as const;

for (const [fault, letter, code] of FAULTS) {
  test(`a database that goes wrong is found out: ${fault}`, async (t) => {
    const db = new BrokenDb(fault);
    const given = workload(letter, { dataintegrity: 'true', operationcount: '100' });
    await phase('load', db, given);
    const ran = await phase('run', db, given);
    t.true(ran.troubles.mismatches > 0);
    t.is(ran.measurements.countOf('VERIFY', code), ran.troubles.mismatches);
    t.regex(ran.log.join('\n'), new RegExp(`VERIFY failed: user\\d+ .*\\(${code}\\)`));
    if (fault === 'forget') {
      t.is(valueOf(ran, 'READ', 'Return=NOT_FOUND'), 100);
      t.is(valueOf(ran, 'READ-FAILED', 'Operations'), 100);
    }
    if (fault === 'throw') {
      t.is(valueOf(ran, 'READ', 'Return=ERROR'), 100);
      t.is(valueOf(ran, 'READ', 'Operations'), 0);
      t.is(ran.troubles.failures, 100);
      t.is(ran.log.filter((line) => line.includes('READ failed: EIO: the disk is on fire')).length, 5);
    }
  });
}

test('a load ends where an insert fails', async (t) => {
  class FullDb extends MemoryDb {
    #room = 10;
    override async insert(table: string, key: string, values: Fields): Promise<void> {
      if (this.#room-- === 0) throw new Error('no room');
      await super.insert(table, key, values);
    }
  }
  const ran = await phase('load', new FullDb(), { recordcount: '100' });
  t.is(ran.operations, 10);
  t.is(ran.troubles.failures, 1);
});

test('operations are divided among the clients, of which there are never more than operations', async (t) => {
  const db = new BasicDb();
  const ran = await phase('run', db, { recordcount: '10', operationcount: '103', threadcount: '10' });
  t.is(db.calls.read + db.calls.update, 103);
  t.is(ran.operations, 103);
  const few = await phase('run', db, { recordcount: '10', operationcount: '3', threadcount: '10' });
  t.regex(few.log.join('\n'), /there will be 3/);
  t.is(few.operations, 3);
  t.deepEqual([db.calls.init, db.calls.cleanup], [2, 2]);
});

test('clients are concurrent, each with one operation at a time', async (t) => {
  let inFlight = 0;
  let most = 0;
  class SlowDb extends BasicDb {
    override async read(): Promise<Fields> {
      most = Math.max(most, ++inFlight);
      await new Promise((resolve) => setTimeout(resolve, 1));
      inFlight--;
      return super.read();
    }
  }
  const given = {
    recordcount: '10',
    operationcount: '320',
    threadcount: '32',
    readproportion: '1',
    updateproportion: '0',
  };
  await phase('run', new SlowDb(), given);
  t.is(most, 32);
});

test('the same seed makes the same operations', async (t) => {
  const keysOf = async (seed: string): Promise<string[]> => {
    const keys: string[] = [];
    class WatchedDb extends MemoryDb {
      override async read(table: string, key: string, fields: readonly string[] | null): Promise<Fields | null> {
        keys.push(key);
        return super.read(table, key, fields);
      }
    }
    await phase('run', new WatchedDb(), workload('c', { operationcount: '50', seed }));
    return keys;
  };
  t.deepEqual(await keysOf('7'), await keysOf('7'));
  t.notDeepEqual(await keysOf('7'), await keysOf('8'));
});

test('an interrupt ends a run with the results so far', async (t) => {
  const interrupt = new AbortController();
  setTimeout(() => interrupt.abort(), 100);
  const ran = await phase('run', new BasicDb(), { recordcount: '10', operationcount: '1000000000' }, interrupt.signal);
  t.true(ran.operations > 0 && ran.operations < 1e9);
  t.is(valueOf(ran, 'CLEANUP', 'Operations'), 1);
});

test('a phase without an end is refused', async (t) => {
  await t.throwsAsync(phase('run', new BasicDb(), { recordcount: '10' }), {
    instanceOf: SetupError,
    message: /operationcount/,
  });
  await t.throwsAsync(phase('load', new BasicDb(), {}), { instanceOf: SetupError, message: /recordcount/ });
});
