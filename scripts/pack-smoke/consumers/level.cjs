/** As level.mjs, beside the store below it: both are of one copy of the packages. */
const { strictEqual } = require('node:assert');
const { open, Store } = require('@aiokv/kv');
const { AioLevel } = require('@aiokv/level');

async function main() {
  let opened;
  const db = new AioLevel(async () => (opened = await open(process.argv[2])));
  await db.put('plum', 'blue');
  strictEqual(opened instanceof Store, true);
  strictEqual(String(await opened.get('plum')), 'blue');
  await db.close();
}

void main().then(() => console.log('round trip'));
