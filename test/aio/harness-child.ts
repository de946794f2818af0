/** The cases of the harness that need a process of their own; what they find goes to the output as JSON. */
import { allocateAligned, openFile, openQueue } from '@aiokv/aio';
import type { DirectFile, EngineName, Queue } from '@aiokv/aio';
import { systemwideAioNr } from './footprint.js';

const BLOCK = 4096;
/** Charged to the system's count of requests, to be told from what others make. */
const EXIT_DEPTH = 4001;
const IN_FLIGHT = 128;

const [name, engine, path, size] = process.argv.slice(2) as [string, EngineName, string, string];

async function outcomeOf(queue: Queue, file: DirectFile, offset: number, blocks: number): Promise<number | string> {
  const buffer = allocateAligned(blocks * BLOCK);
  buffer.bytes.fill(0x5a);
  try {
    return await queue.write(file, buffer, { offset });
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

const cases: Record<string, (file: DirectFile) => Promise<unknown>> = {
  /** Writes across, at and behind the largest size that a file may have (7). */
  async fileSize(file) {
    process.on('SIGXFSZ', () => undefined);
    const queue = openQueue({ engine });
    const limit = Number(size);
    const across = await outcomeOf(queue, file, limit - 2 * BLOCK, 4);
    const behind = await outcomeOf(queue, file, limit, 1);
    const within = await outcomeOf(queue, file, 0, 1);
    const sizeBytes = await file.sizeBytes();
    await queue.close();
    return { across, behind, within, sizeBytes };
  },

  /** Fills a small file system (10). */
  async space(file) {
    const queue = openQueue({ engine });
    const BLOCKS = 16;
    const results: (number | string)[] = [];
    let at = 0;
    for (let attempt = 0; attempt < 10_000; attempt++) {
      const result = await outcomeOf(queue, file, at, BLOCKS);
      results.push(result);
      if (typeof result === 'string') break;
      at += result;
    }
    const target = allocateAligned(BLOCK);
    const readBack = at === 0 ? 0 : await queue.read(file, target, { offset: at - BLOCK });
    const isIntact = target.bytes.every((byte) => byte === 0x5a);
    const again = await outcomeOf(queue, file, 0, 1);
    await queue.close();
    return { writtenBytes: at, last: results.at(-1), readBack, isIntact, again };
  },

  /** Ends with everything in flight (14). */
  async exit(file) {
    const queue = openQueue({ engine, depth: EXIT_DEPTH, ownContext: true });
    for (let i = 0; i < IN_FLIGHT; i++) void queue.read(file, allocateAligned(16 * BLOCK), { offset: i * 16 * BLOCK });
    await new Promise((done) => process.nextTick(() => process.nextTick(done)));
    const { inFlight } = queue.statistics();
    process.stdout.write(JSON.stringify({ inFlight, aioNr: systemwideAioNr() }));
    process.exit(7);
  },
};

const run = cases[name];
if (run === undefined) throw new Error(`there is no case ${name}`);
const file = await openFile(path, { create: true });
const report = await run(file);
await file.close();
process.stdout.write(JSON.stringify(report));
