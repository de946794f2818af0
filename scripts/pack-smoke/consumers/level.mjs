/** A database of Level, with a module that takes any such database's operations: a sublevel. */
import { strictEqual } from 'node:assert';
import { AioLevel } from '@aiokv/level';

const db = new AioLevel(process.argv[2]);
await db.sublevel('fruits', { valueEncoding: 'json' }).put('plum', { colour: 'blue' });
await db.close();
await db.open();
strictEqual(await db.get('!fruits!plum'), '{"colour":"blue"}');
await db.close();
console.log('round trip');
