/**
 * `interface-datastore-tests` over `datastore-level` over `AioLevel`, in a process of its own. They are written for mocha
 * and take chai from a tool box of 1,400 packages: here node:test runs them, and chai comes alone.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { register } from 'node:module';
import { join } from 'node:path';
import * as nodeTest from 'node:test';
import { AioLevel } from '@aiokv/level';
import { LevelDatastore } from 'datastore-level';

const [directory] = process.argv.slice(2) as [string];
const chai = new URL('plain-chai.mjs', import.meta.url).href;
const resolver = `export const resolve = (name, context, next) =>
  next(name === 'aegir/chai' ? ${JSON.stringify(chai)} : name, context);`;
register(`data:text/javascript,${encodeURIComponent(resolver)}`);

const { describe, before, after, beforeEach, afterEach, it } = nodeTest;
Object.assign(globalThis, {
  describe,
  before,
  after,
  beforeEach,
  afterEach,
  it: (title: string, run: (this: object) => Promise<void>) => it(title, () => run.call({ timeout: () => undefined })),
});

const { interfaceDatastoreTests } = await import('interface-datastore-tests');
const places = new Map<object, string>();

void describe('interface-datastore-tests', () => {
  interfaceDatastoreTests({
    async setup() {
      const place = mkdtempSync(join(directory, 'store-'));
      const db = new AioLevel<string, Uint8Array>(place, { keyEncoding: 'utf8', valueEncoding: 'view' });
      // Its constructor names the class of `level`, and takes any database.
      const datastore = new LevelDatastore(db as never);
      places.set(datastore, place);
      await datastore.open();
      return datastore;
    },
    async teardown(datastore: LevelDatastore) {
      await datastore.close();
      rmSync(places.get(datastore) as string, { recursive: true });
    },
  });
});
