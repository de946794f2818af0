/**
 * `npm start`: what aiokv is for, shown on this machine's own disk in about a minute. Loads records into
 * a store, then reads them at random with nothing cached, at several depths, and beside it the bare
 * queue on the same file. Every value that was read is checked. The store is removed afterwards.
 *
 * AIOKV_DIR says where the store lies (default: a directory under the working directory),
 * AIOKV_DEMO_RECORDS and AIOKV_DEMO_SECONDS how much and how long.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import { VALUE_BYTES, loadRecords } from './records.ts';
import { measureBareQueue, measureStore } from './measure.ts';
import type { Measured } from './measure.ts';
import { ProgressBar } from './progress.ts';
import { formatTable } from './table.ts';

const RECORDS = Number(process.env['AIOKV_DEMO_RECORDS'] ?? 200_000);
const SECONDS = Number(process.env['AIOKV_DEMO_SECONDS'] ?? 4);
const DEPTHS = [1, 8, 32, 128];

async function main(): Promise<void> {
  const parent = resolve(process.env['AIOKV_DIR'] ?? '.');
  await mkdir(parent, { recursive: true });
  const directory = await mkdtemp(join(parent, 'aiokv-demo-'));
  process.once('SIGINT', () => {
    void rm(directory, { recursive: true, force: true }).finally(() => process.exit(130));
  });
  try {
    console.log(`A store in ${directory}: ${RECORDS.toLocaleString('en')} records of 1 KB.`);
    await load(directory);
    const rows = await measure(directory);
    console.log(formatTable(rows));
    console.log('Every value that was read was checked against what had been written.');
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function load(directory: string): Promise<void> {
  const store = await open(directory, { directIo: 'require' });
  const progress = new ProgressBar('loading', RECORDS);
  const startMs = performance.now();
  await loadRecords(store, RECORDS, (done) => progress.show(done));
  await store.flush();
  const seconds = (performance.now() - startMs) / 1000;
  progress.end(`${Math.round(RECORDS / seconds).toLocaleString('en')} records/s, flushed`);
  await store.close();
}

/** Depth by depth, the store and the bare queue in turn, so that both see the same disk. */
async function measure(directory: string): Promise<{ depth: number; store: Measured; bare: Measured }[]> {
  const rows: { depth: number; store: Measured; bare: Measured }[] = [];
  const progress = new ProgressBar('reading', DEPTHS.length * 2);
  for (const depth of DEPTHS) {
    const store = await withStore(directory, (opened) => measureStore(opened, depth, SECONDS, RECORDS));
    progress.show(rows.length * 2 + 1);
    const bare = await measureBareQueue(join(directory, 'data.aiokv'), RECORDS * VALUE_BYTES, depth, SECONDS);
    rows.push({ depth, store, bare });
    progress.show(rows.length * 2);
  }
  progress.end(`${SECONDS} s each`);
  return rows;
}

async function withStore<T>(directory: string, use: (store: Store) => Promise<T>): Promise<T> {
  // Values come from the device, as those of the bare queue do.
  const store = await open(directory, { valueCachePart: 0, directIo: 'require' });
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

try {
  await main();
} catch (error) {
  const { code, message } = error as { code?: string; message: string };
  console.error(`${code ?? 'error'}: ${message}`);
  if (code === 'ERR_AIOKV_NO_DIRECT_IO') {
    console.error('Set AIOKV_DIR to a directory on a disk (ext4, xfs, btrfs): AIOKV_DIR=/some/where npm start');
  }
  process.exitCode = 1;
}
