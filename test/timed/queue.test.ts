/** What a queue that is never empty leaves of the event loop. */
import test from 'ava';
import { allocateAligned } from '@aiokv/aio';
import { BLOCK, BLOCKS, places } from '../aio/queue-place.ts';

const CPU_MS = 300;
/** Code is compiled meanwhile, on other threads of the process, whose time would count. */
const WARM_UP_MS = 300;
/** What one turn may take of the processor. */
const MOST_MS_PER_TICK = 6;

/** Time of the processor, not of the clock: what others take of it makes no turn longer. */
function usedMsSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

for (const [name, at] of Object.entries(places)) {
  test(`${name}: a timer fires while 128 readers keep the queue full`, (t) =>
    at(async ({ file, open }) => {
      const queue = open();
      const read = (cpuMs: number): Promise<unknown> => {
        const before = process.cpuUsage();
        const reader = async (_: unknown, i: number): Promise<void> => {
          const buffer = allocateAligned(BLOCK);
          for (let n = i; n % 32 !== 0 || usedMsSince(before) < cpuMs; n++) {
            await queue.read(file, buffer, { offset: (n % BLOCKS) * BLOCK });
          }
        };
        return Promise.all(Array.from({ length: 128 }, reader));
      };
      await read(WARM_UP_MS);
      let ticks = 0;
      const timer = setInterval(() => ticks++, 1);
      const before = process.cpuUsage();
      await read(CPU_MS);
      const usedMs = usedMsSince(before);
      clearInterval(timer);
      t.log(`${ticks} ticks in ${usedMs} ms of the processor`);
      t.true(ticks >= usedMs / MOST_MS_PER_TICK, `${ticks} ticks in ${usedMs} ms of the processor`);
    }));
}
