/** What a TypeScript project does with @aiokv/level. */
import { AioLevel } from '@aiokv/level';
import type { AioLevelOptions, AioWriteOptions, StoreOpener } from '@aiokv/level';
import type { AbstractLevel } from 'abstract-level';

const options: AioLevelOptions<string, number[]> = { valueEncoding: 'json', memoryBytes: 1 << 26 };
const safe: AioWriteOptions = { durability: 'flushed' };

export async function main(directory: string, opener: StoreOpener): Promise<number> {
  const db = new AioLevel<string, number[]>(directory, options);
  await db.put('a', [1], safe);
  await db.put(Buffer.from('b'), 'text', { keyEncoding: 'buffer', valueEncoding: 'utf8', sync: true });
  await db.del('b', safe);
  await db.batch([{ type: 'put', key: 'c', value: [2] }]);
  await db.clear({ gt: 'b', ...safe });
  let sum = await db.approximateSize('a', 'z');
  for await (const [key, value] of db.iterator({ gte: 'a' })) sum += key.length + value.length;
  const any: AbstractLevel<Buffer, string, number[]> = db;
  await any.close();
  return sum + (new AioLevel(opener).location ?? '').length;
}
