/** The scenarios of messages.test.ts, each in a process with a limit; what they find goes to the output as JSON. */
import { openSync, closeSync } from 'node:fs';
import { allocateAligned, openFile, openQueue } from '@aiokv/aio';
import type { EngineName } from '@aiokv/aio';

const BLOCK = 4096;
const [scenario, path, engine] = process.argv.slice(2) as [string, string, EngineName];

interface Told {
  readonly code?: string;
  readonly syscall?: string;
  readonly message: string;
}

async function failureOf(work: Promise<unknown>): Promise<Told | null> {
  try {
    await work;
    return null;
  } catch (error) {
    const { code, syscall, message } = error as Error & { code: string; syscall: string };
    return { code, syscall, message };
  }
}

const scenarios: Record<string, () => Promise<unknown>> = {
  /** Past the largest file: a write, one that blocks, growth. */
  async tooLarge() {
    process.on('SIGXFSZ', () => undefined);
    const file = await openFile(path, { create: true });
    const queue = openQueue({ engine });
    const told = [
      await failureOf(queue.write(file, allocateAligned(BLOCK), { offset: 1 << 20 })),
      await failureOf(file.preallocate(0, 1 << 20)),
    ];
    await queue.close();
    await file.close();
    return told;
  },

  /** No descriptors left: for a file, and for a queue; then after some were closed. */
  async tooMany() {
    await openFile(path, { create: true }).then((file) => file.close());
    await openQueue({ engine, ownContext: true }).close();
    const held: number[] = [];
    try {
      for (;;) held.push(openSync(path, 'r'));
    } catch {
      // That is the limit.
    }
    const told = [
      await failureOf(openFile(path)),
      await failureOf((async () => openQueue({ engine, ownContext: true }).close())()),
    ];
    for (const descriptor of held.splice(0)) closeSync(descriptor);
    told.push(await failureOf(openFile(path).then((file) => file.close())));
    told.push(await failureOf((async () => openQueue({ engine, ownContext: true }).close())()));
    return told;
  },

  /** On a read-only file system: for writing, for making, and for reading. */
  async readOnly() {
    return [
      await failureOf(openFile(path, { direct: 'never' })),
      await failureOf(openFile(`${path}-new`, { create: true, direct: 'never' })),
      await failureOf(openFile(path, { readOnly: true, direct: 'never' }).then((file) => file.close())),
    ];
  },
};

process.stdout.write(JSON.stringify(await scenarios[scenario]?.()));
