/** A test file as jest has it, with its globals. */
const { mkdtempSync, rmSync } = require('node:fs');
const path = require('node:path');
const { roundTrip } = require('./round-trip.cjs');

test('a store', async () => {
  const directory = mkdtempSync(path.join(__dirname, 'data-'));
  await roundTrip(path.join(directory, 'store'));
  rmSync(directory, { recursive: true });
});
