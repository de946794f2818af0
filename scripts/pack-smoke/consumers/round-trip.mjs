/** What every consumer does: a store is written, closed, opened and read. Prints `round trip` when all was right. */
import { strictEqual } from 'node:assert';
import { openQueue } from '@aiokv/aio';
import { AiokvError, createCodec } from '@aiokv/core';
import { open } from '@aiokv/kv';

export async function roundTrip(directory) {
  const codec = createCodec();
  const store = await open(directory);
  await store.put('fruit', codec.encode({ name: 'plum' }), { durability: 'flushed' });
  // From the package below the one that throws: the same class, whichever copies a bundler made.
  await store.put('fruit', 'again', { ifAbsent: true }).then(
    () => strictEqual(true, false, 'the condition does not hold'),
    (error) => strictEqual(error instanceof AiokvError, true, 'AiokvError is the AiokvError of the core'),
  );
  await store.close();
  const again = await open(directory);
  strictEqual(codec.decode(await again.get('fruit')).name, 'plum');
  await again.close();
  const queue = openQueue({ depth: 4 });
  await queue.close();
}
