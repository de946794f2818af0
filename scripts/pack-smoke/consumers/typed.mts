/** What a TypeScript project does with the three packages. */
import { allocateAligned, openQueue } from '@aiokv/aio';
import { AiokvError, createCodec } from '@aiokv/core';
import type { Codec } from '@aiokv/core';
import { open } from '@aiokv/kv';
import type { BatchOperation, Store } from '@aiokv/kv';

interface Fruit {
  name: string;
}

export async function main(directory: string): Promise<string> {
  const codec: Codec<Fruit> = createCodec<Fruit>();
  const store: Store = await open(directory);
  const operations: BatchOperation[] = [{ type: 'put', key: 'fruit', value: codec.encode({ name: 'plum' }) }];
  await store.batch(operations, { durability: 'flushed' });
  let found = '';
  for await (const [key, value] of store.iterator({ gte: 'f' })) {
    found += `${key.toString('utf8')} ${codec.decode(value).name}`;
  }
  await store.close();
  const queue = openQueue({ depth: 4 });
  const aligned: Uint8Array = allocateAligned(4096).bytes;
  await queue.close();
  try {
    await store.get('fruit');
  } catch (error) {
    if (error instanceof AiokvError) found += ` ${error.code} ${aligned.length}`;
  }
  return found;
}
