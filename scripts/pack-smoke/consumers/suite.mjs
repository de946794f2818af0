/** A test file of ES modules, with the globals of jest or vitest. */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { roundTrip } from './round-trip.mjs';

test('a store', async () => {
  const directory = mkdtempSync(join(import.meta.dirname ?? '.', 'data-'));
  await roundTrip(join(directory, 'store'));
  rmSync(directory, { recursive: true });
});
