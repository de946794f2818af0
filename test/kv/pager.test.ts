/** The pager by itself: a tree in memory above it, and below it a queue in which each read completes when the test says so. */
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { Random, SystemCallError } from '@aiokv/core';
import type { AlignedBuffer, CompletionHandler, DirectFile, Queue } from '@aiokv/aio';
import { AddressCache } from '../../packages/kv/src/cache/address-cache.ts';
import { ExpiryClock } from '../../packages/kv/src/file/expiry-clock.ts';
import { ValueCache } from '../../packages/kv/src/cache/value-cache.ts';
import { sealPage } from '../../packages/kv/src/format/page.ts';
import type { AbsentLeaf } from '../../packages/kv/src/tree/index.ts';
import { Mapping } from '../../packages/kv/src/index/mapping.ts';
import { Pager } from '../../packages/kv/src/index/pager.ts';
import {
  Entry,
  FOUND,
  MARK_FRESH,
  MARK_SEALED,
  MARK_STORED,
  NodeMemory,
  PageImage,
  Tree,
  node,
  pageOf,
} from '../../packages/kv/src/tree/index.ts';

const PAGE_BYTES = 4096;
const SECTOR_BYTES = 512;
const EIO = -5;

interface Read {
  readonly buffer: AlignedBuffer;
  readonly bufferOffset: number;
  readonly lengthBytes: number;
  readonly fileOffset: number;
  readonly handler: CompletionHandler;
  readonly token: number;
}

/** A disk of one file, and a queue whose reads stay open until they are completed. */
class FakeQueue {
  readonly bytes = new Uint8Array(1024 * 1024);
  readonly open: Read[] = [];
  /** What the next transfers from `victim` are instead of whole: fewer bytes, or an error number. */
  readonly results: number[] = [];
  victim = { from: 0, to: Infinity };
  reads = 0;

  submitRead(
    _file: DirectFile,
    buffer: AlignedBuffer,
    bufferOffset: number,
    lengthBytes: number,
    fileOffset: number,
    handler: CompletionHandler,
    token: number,
  ): boolean {
    this.open.push({ buffer, bufferOffset, lengthBytes, fileOffset, handler, token });
    return true;
  }

  readSync(
    _file: DirectFile,
    buffer: AlignedBuffer,
    where: { offset: number; bufferOffset: number; length: number },
  ): number {
    const result = this.#transfer(buffer, where.bufferOffset, where.length, where.offset);
    if (result < 0) throw new SystemCallError('read', result);
    return result;
  }

  /** Completes the read that was submitted as the `at`th of those that are open. */
  complete(at = 0): void {
    const [read] = this.open.splice(at, 1) as [Read];
    const result = this.#transfer(read.buffer, read.bufferOffset, read.lengthBytes, read.fileOffset);
    read.handler.complete(read.token, result);
  }

  completeAll(): void {
    while (this.open.length > 0) this.complete();
  }

  #transfer(buffer: AlignedBuffer, bufferOffset: number, lengthBytes: number, fileOffset: number): number {
    this.reads++;
    const isVictim = fileOffset >= this.victim.from && fileOffset < this.victim.to;
    const result = (isVictim ? this.results.shift() : undefined) ?? lengthBytes;
    if (result > 0) buffer.bytes.set(this.bytes.subarray(fileOffset, fileOffset + result), bufferOffset);
    return result;
  }
}

class Bench {
  readonly queue = new FakeQueue();
  readonly memory = new NodeMemory({ nodeBytes: PAGE_BYTES });
  readonly tree = new Tree(this.memory, true);
  readonly mapping = new Mapping();
  readonly pager: Pager;
  #end = 100;
  readonly #image = new PageImage();
  /** What the waiters were told, in its order. */
  readonly told: string[] = [];

  constructor(limitBytes = 0) {
    const file = { path: '/store/data.aiokv', alignment: { offset: SECTOR_BYTES } } as DirectFile;
    this.pager = new Pager({
      queue: this.queue as unknown as Queue,
      file,
      memory: this.memory,
      tree: this.tree,
      mapping: this.mapping,
      limitBytes,
      values: new ValueCache({
        memory: this.memory,
        limitBytes,
        shareBytes: 0,
        expiry: new ExpiryClock(() => 0, false, 0),
        planted: {},
      }),
      addresses: new AddressCache(this.memory, limitBytes, 0, {}),
      planted: {},
    });
  }

  put(from: number, to: number, word = 1): void {
    for (let i = from; i < to; i++) this.tree.set(...keyOf(i), i, word);
  }

  /** Ids of the leaves that the tree has now, by key. */
  get leaves(): number[] {
    const ids: number[] = [];
    for (let id = 1; id < this.memory.idLimit; id++) {
      if (this.memory.units(id) === 0) continue;
      const isAbsent = !this.memory.isResident(id);
      if (isAbsent || (node.level(this.memory.words(id), this.memory.base(id)) === 0 && id !== this.tree.root))
        ids.push(id);
    }
    return ids;
  }

  /** Saves all leaves that are fresh. */
  save(): void {
    for (const id of this.leaves) {
      if (!this.tree.isFresh(id)) continue;
      this.#image.make(this.memory, id, 1);
      const { lengthBytes, tag } = this.#image;
      const at = Math.ceil(this.#end / 8) * 8;
      const view = new DataView(this.queue.bytes.buffer);
      const block = { bytes: this.queue.bytes, view };
      const units = this.memory.units(id);
      this.#image.copyTo(block, at);
      this.mapping.set({ pageId: id, fileOffset: at, imageBytes: lengthBytes, units, tag });
      this.memory.unmark(id, MARK_FRESH);
      this.memory.mark(id, MARK_SEALED | MARK_STORED);
      this.#end = at + lengthBytes;
    }
  }

  /** As many sweeps as it takes for nothing to change any more. */
  sweep(): void {
    for (let i = 0; i < 3; i++) this.pager.makeRoom();
  }

  get absent(): number[] {
    return this.leaves.filter((id) => !this.memory.isResident(id));
  }

  wait(pageId: number, name = `${pageId}`): void {
    this.pager.whenLoaded(pageId, {
      pageLoaded: (words, base) => this.told.push(`${name}: ${node.count(words, base) > 0 ? 'loaded' : 'empty'}`),
      pageFailed: (error) => this.told.push(`${name}: ${(error as { code?: string }).code}`),
    });
  }
}

/** Keys with an end that does not pack, so that the image of a page takes several sectors. */
function keyOf(number: number): [Uint8Array, number] {
  const end = new Random(number).fill(new Uint8Array(24));
  const key = Buffer.concat([Buffer.from(`key ${String(number).padStart(10, '0')}`), end]);
  return [key, key.length];
}

/** A tree of some leaves, all on the device, none in memory. */
function evicted(leaves = 4): { bench: Bench; mapping: Mapping; ids: number[] } {
  const bench = new Bench();
  bench.put(0, leaves * 120);
  bench.save();
  bench.sweep();
  return { bench, mapping: bench.mapping, ids: bench.absent };
}

test('what has its image on the device is evicted, and only that (PAGER-1)', (t) => {
  const bench = new Bench();
  bench.put(0, 2000);
  t.true(bench.leaves.length > 4);
  bench.sweep();
  t.deepEqual(bench.absent, [], 'nothing is on the device yet');
  bench.save();
  const [first] = bench.leaves as [number];
  // A key of the first leaf changes: it becomes another page (SNAP-5).
  bench.put(0, 1, 2);
  t.is(bench.memory.units(first), 0);
  const fresh = bench.leaves.filter((id) => bench.tree.isFresh(id));
  t.is(fresh.length, 1);
  bench.sweep();
  t.deepEqual(
    bench.absent,
    bench.leaves.filter((id) => !fresh.includes(id)),
  );
  bench.tree.verify();
});

test('a page that waits to be read takes less than 200 bytes', (t) => {
  const count = 50_000;
  const bench = new Bench();
  const ids = Array.from({ length: count }, (_, i) => i + 1);
  bench.memory.restore(ids, new Uint8Array(count).fill(1));
  for (const pageId of ids) bench.mapping.set({ pageId, fileOffset: 0, imageBytes: 8, units: 1, tag: 0 });
  const waiter = { pageLoaded: () => undefined, pageFailed: () => undefined };
  const usedBytes = (): number => {
    (globalThis.gc as () => void)();
    return process.memoryUsage().heapUsed;
  };
  const before = usedBytes();
  for (const id of ids) bench.pager.whenLoaded(id, waiter);
  const bytes = (usedBytes() - before) / count;
  t.log(`${bytes.toFixed(0)} bytes a page`);
  t.true(bytes > 50 && bytes < 200, `${bytes} bytes a page`);
  // It is alive until here.
  t.is(bench.pager.pageReads, 0);
});

test('what only a snapshot needs is evicted too, and read again as it was', (t) => {
  const bench = new Bench();
  bench.put(0, 2000);
  bench.save();
  const snapshot = bench.tree.snapshot();
  const before = bench.leaves;
  bench.put(0, 2000, 2);
  bench.sweep();
  t.deepEqual(bench.absent, before);
  const entry = new Entry();
  const leaf = snapshot.get(...keyOf(7), entry);
  t.not(leaf, FOUND);
  bench.pager.loadSync(pageOf(leaf as AbsentLeaf));
  t.is(snapshot.get(...keyOf(7), entry), FOUND);
  t.is(entry.word1, 1, 'as it was');
  bench.tree.verify();
  snapshot.release();
  bench.memory.reclaimSome(Infinity);
  for (const id of before) t.is(bench.memory.units(id), 0, 'nobody needs it any more');
});

test('as memory fills, the pager is asked at every write and sweeps now and then', (t) => {
  const bench = new Bench(20 * PAGE_BYTES);
  bench.put(0, 8000);
  bench.save();
  bench.pager.keepWithin();
  for (let from = 8000; from < 24_000; from += 200) {
    bench.put(from, from + 200);
    bench.save();
    bench.pager.keepWithin();
  }
  t.true(bench.memory.bytesUsed <= 20 * PAGE_BYTES + 128 * 1024, `${bench.memory.bytesUsed}`);
});

test('what is used stays for one more round, and what is pinned until it is unpinned', async (t) => {
  const bench = new Bench();
  bench.put(0, 2000);
  bench.save();
  const [first, second, third] = bench.leaves as [number, number, number];
  await bench.pager.pin([first, second]);
  await bench.pager.pin([first]);
  bench.sweep();
  t.deepEqual(
    bench.leaves.filter((id) => bench.memory.isResident(id)),
    [first, second],
  );
  t.true(bench.absent.includes(third));
  bench.pager.unpin([first, second]);
  bench.sweep();
  t.deepEqual(
    bench.leaves.filter((id) => bench.memory.isResident(id)),
    [first],
    'it is pinned twice',
  );
  bench.pager.unpin([first]);
  bench.sweep();
  t.deepEqual(bench.absent, bench.leaves);
  t.throws(() => bench.pager.unpin([first]), { code: 'ERR_AIOKV_INTERNAL' });
});

test('all who wait for a page share one read, and are told in their order (PAGER-3)', (t) => {
  const { bench, ids } = evicted();
  const [first, second] = ids as [number, number];
  bench.wait(first, 'a');
  bench.wait(second, 'b');
  bench.wait(first, 'c');
  t.is(bench.queue.open.length, 2);
  t.deepEqual(bench.told, []);
  bench.queue.complete(1);
  t.deepEqual(bench.told, ['b: loaded']);
  bench.queue.complete();
  t.deepEqual(bench.told, ['b: loaded', 'a: loaded', 'c: loaded']);
  t.is(bench.pager.pageReads, 2);
  t.true(bench.memory.isResident(first), 'the page that was just read is not evicted at once');
  const entry = new Entry();
  t.is(bench.tree.get(...keyOf(3), entry), FOUND);
  t.is(entry.word0, 3);
});

test('more pages than reads at once wait in their order', async (t) => {
  const { bench, ids } = evicted(100);
  t.true(ids.length > 70);
  for (const id of ids) bench.wait(id);
  t.is(bench.queue.open.length, 64);
  let isQuiet = false;
  const quiet = bench.pager.quiet().then(() => (isQuiet = true));
  // From the last to the first: what waits takes the place of each.
  for (let left = ids.length; left > 0; left--) {
    t.false(isQuiet);
    bench.queue.complete(bench.queue.open.length - 1);
    await Promise.resolve();
  }
  await quiet;
  t.is(bench.told.length, ids.length);
  t.true(bench.told.every((line) => line.endsWith('loaded')));
  t.is(bench.queue.reads, ids.length);
});

test('pages that are held ahead come in long reads, and stay (PAGER-7)', async (t) => {
  const { bench, ids } = evicted(100);
  bench.wait(ids[5] as number, 'a');
  bench.pager.holdAhead(ids);
  bench.wait(ids[6] as number, 'b');
  const bytes = ids.reduce((sum, id) => sum + bench.mapping.imageBytesOf(id), 0);
  const reads = bench.queue.open.length;
  t.true(reads <= 2 + Math.ceil(bytes / (64 * 1024)), `${reads} reads`);
  // Unpacking the pages of one read is one step.
  t.true(reads >= ids.length / 32, `${reads} reads of ${ids.length} pages`);
  bench.queue.completeAll();
  await bench.pager.quiet();
  t.deepEqual(bench.told, ['a: loaded', 'b: loaded']);
  t.is(bench.pager.pageReads, ids.length);
  bench.sweep();
  t.deepEqual(bench.absent, [], 'they are held');
  bench.pager.holdAhead(ids);
  t.is(bench.queue.open.length, 0, 'they are there');
  bench.tree.verify();
  bench.pager.unpin(ids);
  bench.pager.unpin(ids);
  bench.sweep();
  t.deepEqual(bench.absent, ids);
});

test('pages far apart are read one by one', (t) => {
  const { bench, ids } = evicted(100);
  const far = ids.filter((_, i) => i % 5 === 0);
  bench.pager.holdAhead(far);
  t.is(bench.queue.open.length, far.length);
  bench.queue.completeAll();
  t.deepEqual(
    bench.absent,
    ids.filter((id) => !far.includes(id)),
  );
});

test('a long read that fails, and a page of one that is damaged, are read page by page (PAGER-6, PAGER-7)', async (t) => {
  const { bench, ids } = evicted(20);
  bench.queue.results.push(EIO);
  bench.pager.holdAhead(ids);
  bench.wait(ids[1] as number, 'a');
  t.true(bench.queue.open.length < 4);
  bench.queue.completeAll();
  await bench.pager.quiet();
  t.deepEqual(bench.absent, []);
  t.deepEqual(bench.told, ['a: loaded']);
  bench.pager.unpin(ids);
  bench.sweep();
  const damaged = ids[3] as number;
  bench.queue.bytes[bench.mapping.fileOffsetOf(damaged) + 100]! ^= 1;
  bench.pager.holdAhead(ids);
  bench.wait(damaged, 'b');
  bench.queue.completeAll();
  await bench.pager.quiet();
  t.deepEqual(bench.told, ['a: loaded', 'b: ERR_AIOKV_CORRUPT']);
  t.deepEqual(bench.absent, [damaged]);
  bench.pager.unpin(ids);
});

type Damage = (bench: Bench, mapping: Mapping, id: number) => void;

/** What may be wrong with a read of a page, and what it is told as. `once`: the second attempt is well. */
const damages: Record<string, { readonly damage: Damage; readonly code: string | null; readonly message?: RegExp }> = {
  nothing: { damage: () => undefined, code: null },
  'EIO once': { damage: ({ queue }) => queue.results.push(EIO), code: null },
  'EIO twice': { damage: ({ queue }) => queue.results.push(EIO, EIO), code: 'ERR_AIOKV_IO', message: /EIO/ },
  'short once': { damage: ({ queue }) => queue.results.push(SECTOR_BYTES), code: null },
  'short once, at no boundary of sectors': {
    damage: ({ queue }) => queue.results.push(SECTOR_BYTES + 100),
    code: null,
  },
  'short twice': {
    damage: ({ queue }) => queue.results.push(SECTOR_BYTES, SECTOR_BYTES),
    code: 'ERR_AIOKV_IO',
    message: /fewer bytes than asked for/,
  },
  'short, then EIO': { damage: ({ queue }) => queue.results.push(SECTOR_BYTES, EIO), code: 'ERR_AIOKV_IO' },
  'short, then the end of the file': {
    damage: ({ queue }) => queue.results.push(SECTOR_BYTES, 0),
    code: 'ERR_AIOKV_CORRUPT',
    message: /beyond the end of the file/,
  },
  'the end of the file': {
    damage: ({ queue }) => queue.results.push(0, 0),
    code: 'ERR_AIOKV_CORRUPT',
    message: /beyond the end of the file/,
  },
  'a flipped bit': {
    damage: ({ queue }, mapping, id) => (queue.bytes[mapping.fileOffsetOf(id) + 100]! ^= 1),
    code: 'ERR_AIOKV_CORRUPT',
    message: /checksum/,
  },
  'another length': {
    damage: ({ queue }, mapping, id) => (queue.bytes[mapping.fileOffsetOf(id) + 28]! ^= 16),
    code: 'ERR_AIOKV_CORRUPT',
    message: /length/,
  },
  'a form of pages that is not known': {
    damage: ({ queue }, mapping, id) => (queue.bytes[mapping.fileOffsetOf(id) + 27] = 2),
    code: 'ERR_AIOKV_CORRUPT',
    message: /checksum/,
  },
  'a whole image of no node': {
    damage: ({ queue, memory }, mapping, id) => {
      const { bytes } = queue;
      const block = { bytes, view: new DataView(bytes.buffer) };
      const from = mapping.fileOffsetOf(id);
      const payloadBytes = block.view.getUint32(from + 28, true);
      bytes.fill(0xff, from + 32, from + 32 + payloadBytes);
      const header = { pageId: id, units: memory.units(id), checkpoint: 1, level: 0, entries: 9, payloadBytes };
      mapping.set({ ...mapping.entryOf(id), tag: sealPage(block, from, header) });
    },
    code: 'ERR_AIOKV_CORRUPT',
    message: /contents/,
  },
  'another page, whole': {
    damage: (bench, mapping, id) => {
      const other = bench.leaves.find((one) => one !== id && mapping.imageBytesOf(one) === mapping.imageBytesOf(id));
      const from = mapping.fileOffsetOf(other as number);
      bench.queue.bytes.copyWithin(mapping.fileOffsetOf(id), from, from + mapping.imageBytesOf(id));
    },
    code: 'ERR_AIOKV_CORRUPT',
    message: /tag|page id/,
  },
};

for (const [name, { damage, code, message }] of Object.entries(damages)) {
  const check = (t: ExecutionContext, error: unknown): void => {
    if (code === null) t.is(error, null);
    else {
      t.is((error as { code?: string } | null)?.code, code);
      t.regex((error as Error).message, message ?? /./);
      t.regex((error as Error).message, /the index page at byte \d+ of \/store\/data\.aiokv/);
    }
  };

  test(`a page that meets ${name} is ${code ?? 'read'}, by each way that leads to it (PAGER-4)`, async (t) => {
    for (const way of ['whenLoaded', 'pin', 'loadSync'] as const) {
      const { bench, mapping, ids } = evicted();
      const [first, second] = [ids[0], ids.at(-1)] as [number, number];
      const from = mapping.fileOffsetOf(first);
      bench.queue.victim = { from: from - (from % SECTOR_BYTES), to: from + mapping.imageBytesOf(first) };
      damage(bench, mapping, first);
      if (way === 'whenLoaded') {
        let outcome: Error | null | undefined;
        for (let i = 0; i < 2; i++) {
          bench.pager.whenLoaded(first, {
            pageLoaded: () => (outcome = null),
            pageFailed: (error) => (outcome = error),
          });
        }
        bench.queue.completeAll();
        check(t, outcome);
      } else if (way === 'pin') {
        const pinned = bench.pager.pin([first, second]).then(
          () => null,
          (error: unknown) => error,
        );
        bench.queue.completeAll();
        check(t, await pinned);
        if (code === null) bench.pager.unpin([first, second]);
        // None of them is pinned after a failure.
        else t.throws(() => bench.pager.unpin([second]), { code: 'ERR_AIOKV_INTERNAL' });
      } else {
        let outcome: unknown = null;
        try {
          bench.pager.loadSync(first);
        } catch (error) {
          outcome = error;
        }
        check(t, outcome);
      }
      t.is(bench.memory.isResident(first), code === null, way);
      await bench.pager.quiet();
      // Another page is read as if nothing had been.
      if (!bench.memory.isResident(second)) bench.pager.loadSync(second);
      t.true(bench.memory.isResident(second));
      if (code === null) bench.tree.verify();
    }
  });
}

test('a page that failed is read again when it is asked for again', (t) => {
  const { bench, ids } = evicted();
  const [first] = ids as [number];
  bench.queue.results.push(EIO, EIO);
  bench.wait(first, 'a');
  bench.queue.completeAll();
  bench.wait(first, 'b');
  bench.queue.completeAll();
  t.deepEqual(bench.told, ['a: ERR_AIOKV_IO', 'b: loaded']);
});

test('a page that the thread waits for while it is on its way is left to those who wait for it', (t) => {
  const { bench, ids } = evicted();
  const [first] = ids as [number];
  bench.wait(first);
  const { words, base } = bench.pager.loadSync(first);
  t.true(node.count(words, base) > 0);
  t.false(bench.memory.isResident(first));
  bench.queue.completeAll();
  t.deepEqual(bench.told, [`${first}: loaded`]);
  t.true(bench.memory.isResident(first));
});

test('loads that began before a page was moved are waited for (PAGER-5)', async (t) => {
  const { bench, mapping, ids } = evicted();
  const [first, second] = ids as [number, number];
  bench.wait(first);
  const [read] = bench.queue.open as [Read];
  const loadsDone = bench.pager.loadsDone();
  let isDone = false;
  void loadsDone.then(() => (isDone = true));
  // The page is moved meanwhile.
  const bytes = mapping.imageBytesOf(first);
  const from = mapping.fileOffsetOf(first);
  bench.queue.bytes.copyWithin(512 * 1024, from, from + bytes);
  mapping.set({ ...mapping.entryOf(first), fileOffset: 512 * 1024 });
  bench.wait(second);
  await new Promise((resolve) => setImmediate(resolve));
  t.false(isDone);
  t.true(read.fileOffset <= from && from < read.fileOffset + read.lengthBytes, 'it is read where it was');
  bench.queue.complete();
  await loadsDone;
  t.deepEqual(bench.told, [`${first}: loaded`], 'the load that began later is not waited for');
  bench.queue.completeAll();
});

test('a page that is freed while it is read is dropped, also if another one has its id by then (PAGER-8)', (t) => {
  for (const isReused of [false, true]) {
    const bench = new Bench();
    bench.put(0, 2000);
    bench.save();
    const snapshot = bench.tree.snapshot();
    const before = bench.leaves;
    bench.put(0, 2000, 2);
    bench.sweep();
    const [first, second, third] = before as [number, number, number];
    bench.wait(first);
    // In one long read.
    bench.pager.holdAhead([second, third]);
    snapshot.release();
    bench.memory.reclaimSome(Infinity);
    t.is(bench.memory.units(first), 0);
    if (isReused) {
      bench.put(2000, 8000);
      t.not(bench.memory.units(first), 0, 'another page has the id');
      bench.save();
      bench.sweep();
      t.true(bench.absent.includes(first));
      bench.wait(first, 'the other');
    }
    bench.queue.completeAll();
    const outcome = isReused ? 'loaded' : 'ERR_AIOKV_INTERNAL';
    t.deepEqual(bench.told, [`${first}: ${outcome}`, ...(isReused ? [`the other: ${outcome}`] : [])]);
    bench.pager.unpin([second, third]);
    for (let i = 0; i < (isReused ? 8000 : 2000); i += 7) {
      const entry = new Entry();
      const found = bench.tree.get(...keyOf(i), entry);
      if (found !== FOUND) bench.pager.loadSync(pageOf(found as AbsentLeaf));
      t.is(bench.tree.get(...keyOf(i), entry), FOUND);
      t.is(entry.word1, i < 2000 ? 2 : 1);
    }
  }
});

test('a load that fails does not keep a checkpoint waiting (PAGER-6)', async (t) => {
  const { bench, ids } = evicted();
  bench.wait(ids[0] as number);
  const loadsDone = bench.pager.loadsDone();
  const quiet = bench.pager.quiet();
  bench.queue.results.push(EIO, EIO);
  bench.queue.completeAll();
  await Promise.all([loadsDone, quiet]);
  t.deepEqual(bench.told, [`${ids[0]}: ERR_AIOKV_IO`]);
});
