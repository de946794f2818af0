/** A test file of Node's own runner. */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { roundTrip } from './round-trip.mjs';

void test('a store', async () => {
  const directory = mkdtempSync(join(import.meta.dirname, 'data-'));
  await roundTrip(join(directory, 'store'));
  rmSync(directory, { recursive: true });
});
