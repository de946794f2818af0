/** `round-trip.mjs`, as CommonJS. */
const { strictEqual } = require('node:assert');
const { openQueue } = require('@aiokv/aio');
const { AiokvError, createCodec } = require('@aiokv/core');
const { open } = require('@aiokv/kv');

exports.roundTrip = async (directory) => {
  const codec = createCodec();
  const store = await open(directory);
  await store.put('fruit', codec.encode({ name: 'plum' }), { durability: 'flushed' });
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
};
