/** The scenarios of ffi-loading.test.ts, each in a process of its own; what they find goes to the output as JSON. */
import { createRequire } from 'node:module';
import { rmSync } from 'node:fs';
import * as first from '@aiokv/aio';

const [name, other] = process.argv.slice(2) as [string, string | undefined];

type Aio = typeof first;

let files = 0;

/** Writes and reads through one copy of the package; returns its interface. */
async function use({ openFile, openQueue, allocateAligned, foreignInterface }: Aio): Promise<string> {
  const path = `${process.cwd()}/data-${process.pid}-${++files}`;
  const file = await openFile(path, { create: true });
  await file.preallocate(0, 8192);
  const queue = openQueue();
  const buffer = allocateAligned(4096);
  buffer.bytes.fill(7);
  await queue.write(file, buffer, { offset: 4096 });
  buffer.bytes.fill(0);
  if ((await queue.read(file, buffer, { offset: 4096 })) !== 4096 || buffer.bytes[99] !== 7) throw new Error('wrong');
  await queue.close();
  await file.close();
  rmSync(path);
  return foreignInterface()?.name ?? 'none';
}

const scenarios: Record<string, () => Promise<unknown>> = {
  /** Another copy of the package, beside this one and after it, and this one again. */
  async copies() {
    const second = (await import(other as string)) as Aio;
    return [await use(first), await use(second), await use(first), second.Queue === first.Queue];
  },

  /** The program uses the package by itself. */
  async taken() {
    createRequire(import.meta.url)('ffi-napi');
    return [await use(first)];
  },

  /** Without addons: what is refused and with which words, and what works all the same. */
  async without() {
    const { openFile, openQueue, allocateAligned } = first;
    const path = `${process.cwd()}/data-${process.pid}`;
    const error = await openFile(path, { create: true }).catch((reason: Error) => reason);
    const queue = openQueue({ engine: 'threads' });
    const file = await openFile(path, { create: true, direct: 'prefer' });
    const written = await queue.write(file, allocateAligned(4096), { offset: 0 });
    await queue.close();
    await file.close();
    rmSync(path);
    const { code, message } = error as Error & { code?: string };
    return { code, message, written };
  },
};

const run = scenarios[name];
if (run === undefined) throw new Error(`there is no scenario ${name}`);
process.stdout.write(JSON.stringify(await run()));
