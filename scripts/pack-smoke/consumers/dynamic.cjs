/** A dynamic import from CommonJS, and `require` beside it: both give the same copy of the package. */
const { strictEqual } = require('node:assert');
const required = require('@aiokv/kv');

void import('./round-trip.mjs').then(async ({ roundTrip }) => {
  await roundTrip(process.argv[2]);
  const imported = await import('@aiokv/kv');
  strictEqual(imported.open, required.open, 'one copy in a process');
  console.log('round trip');
});
