/**
 * A store inside a program: single writes, a batch, reads, a range.
 *
 *   node --import=tsx --conditions=@aiokv/source examples/embed.ts [directory]
 *
 * The store is made in a new directory under the one given (default: the working directory) and removed.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { open } from '@aiokv/kv';

const directory = await mkdtemp(join(process.argv[2] ?? '.', '.tmp-embed-'));
try {
  const store = await open(directory);
  try {
    await store.put('city:oslo', '709037');
    // In memory first, on the device within a second; the flush below makes it certain.
    await store.put('city:bergen', '289330', { durability: 'buffered' });
    await store.batch([
      { type: 'put', key: 'city:trondheim', value: '212660' },
      { type: 'put', key: 'lake:mjøsa', value: '369' },
      { type: 'del', key: 'city:bergen' },
    ]);
    await store.flush();

    console.log(`oslo: ${String(await store.get('city:oslo'))}`);
    console.log(`bergen: ${String(await store.get('city:bergen'))}`);
    const [trondheim, mjosa] = await store.getMany(['city:trondheim', 'lake:mjøsa']);
    console.log(`trondheim: ${String(trondheim)}, mjøsa: ${String(mjosa)}`);
    for await (const [key, value] of store.iterator({ gte: 'city:', lt: 'city;', reverse: true })) {
      console.log(`range: ${key.toString()} ${value.toString()}`);
    }
  } finally {
    await store.close();
  }

  const reopened = await open(directory, { createIfMissing: false });
  console.log(`after reopening: ${String(await reopened.get('lake:mjøsa'))}`);
  await reopened.close();
} finally {
  await rm(directory, { recursive: true, force: true });
}
