/** What a queue that is never empty leaves of the event loop. */
import test from 'ava';
import { allocateAligned } from '@aiokv/aio';
import { BLOCK, BLOCKS, places } from '../aio/queue-place.ts';

const CPU_MS = 300;
/**
 * What a tick may take of the processor, that of the kernel and of compiling included: 4 to 7.5 ms on a machine whose speed varies. A queue
 * that leaves nothing to timers has a tick or two in all.
 */
const MOST_MS_PER_TICK = 15;

for (const [name, at] of Object.entries(places)) {
  test(`${name}: a timer fires while 128 readers keep the queue full`, (t) =>
    at(async ({ file, open }) => {
      const queue = open();
      let ticks = 0;
      const timer = setInterval(() => ticks++, 1);
      const before = process.cpuUsage();
      // Time of the processor, not of the clock: what others take of it makes no turn longer.
      const usedMs = (): number => {
        const { user, system } = process.cpuUsage(before);
        return (user + system) / 1000;
      };
      await Promise.all(
        Array.from({ length: 128 }, async (_, i) => {
          const buffer = allocateAligned(BLOCK);
          for (let n = i; n % 32 !== 0 || usedMs() < CPU_MS; n++) {
            await queue.read(file, buffer, { offset: (n % BLOCKS) * BLOCK });
          }
        }),
      );
      clearInterval(timer);
      t.log(`${ticks} ticks in ${usedMs()} ms of the processor`);
      t.true(ticks >= usedMs() / MOST_MS_PER_TICK, `${ticks} ticks in ${usedMs()} ms of the processor`);
    }));
}
