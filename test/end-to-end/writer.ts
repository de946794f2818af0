/**
 * A process that writes and is killed: opens the store at argv[2], writes with argv[3] as durability
 * from the batch number argv[4] on, and says on stdout which batches were acknowledged. Batch n holds
 * the keys n:0 to n:(size - 1), all with the same value, and overwrites another one. Checkpoints are written all the
 * time, and segments are cleaned in most of them. Ranges are put and deleted from the number argv[5] on, and the store is
 * compacted now and then.
 */
import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { open } from '@aiokv/kv';
import type { Durability } from '@aiokv/kv';
import { RANGE_PREFIX, batchOf, rangeBatchOf } from './batches.ts';

const [, , directory, durability, first, firstRange] = process.argv as [
  string,
  string,
  string,
  Durability,
  string,
  string,
];
const WRITERS = 32;
const COMPACT_EACH_MS = 500;

/** One small write to a pipe is atomic and, unlike a stream, does not stay in this process. */
function say(line: string): void {
  for (;;) {
    try {
      writeSync(1, line);
      return;
    } catch (error) {
      // The pipe is full because its reader is slow.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
  }
}

const store = await open(directory, {
  segmentBytes: 128 * 1024,
  checkpointBytes: 64 * 1024,
  memoryBytes: 4 * 1024 * 1024,
  spaceAmplificationMax: 1.2,
});
let next = Number(first);
say('ready\n');
void (async () => {
  for (let movedBefore = 0; ;) {
    await store.checkpoint();
    const { movedBytes } = store.statistics().written;
    if (movedBytes > movedBefore) say('moved\n');
    movedBefore = movedBytes;
  }
})();
void (async () => {
  for (;;) {
    await sleep(COMPACT_EACH_MS);
    await store.compact();
    say('compacted\n');
  }
})();
void (async () => {
  for (let n = Number(firstRange); ; n++) {
    say(`putting ${n}\n`);
    await store.batch(rangeBatchOf(n), { durability });
    say(`put ${n}\n`);
    await sleep(n % 8);
    say(`deleting ${n}\n`);
    await store.deleteRange({ gte: `${RANGE_PREFIX}:${n}:`, lt: `${RANGE_PREFIX}:${n};` }, { durability });
    say(`deleted ${n}\n`);
  }
})();
await Promise.all(
  Array.from({ length: WRITERS }, async () => {
    for (;;) {
      const n = next++;
      await store.batch(batchOf(n), { durability });
      say(`${n}\n`);
    }
  }),
);
