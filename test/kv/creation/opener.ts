/**
 * A process that opens stores. As `opener.ts DIRECTORY STEP` it opens one and kills itself before that step; else it is
 * told by messages what to open, at which moment.
 */
import { fileURLToPath } from 'node:url';
import { localPlatform } from '@aiokv/aio';
import { open } from '@aiokv/kv';
import type { Store } from '@aiokv/kv';
import { counting } from './steps.ts';

/** Small, so that many can be made. */
export const OPENING = { segmentBytes: 64 * 1024, queueDepth: 16, memoryBytes: 2 * 1024 * 1024 };

export interface Report {
  /** Of the error, or null when it has the store. */
  readonly code: string | null;
}

interface Order {
  readonly directory: string;
  readonly who: string;
  readonly delayMs: number;
}

let store: Store | null = null;

async function carryOut({ directory, who, delayMs }: Order): Promise<void> {
  await new Promise((done) => setTimeout(done, delayMs));
  let code: string | null = null;
  try {
    store = await open(directory, OPENING);
    await store.put('who', who);
  } catch (error) {
    code = (error as { code: string }).code;
  }
  process.send?.({ code });
}

async function close(): Promise<void> {
  await store?.close();
  store = null;
  process.send?.({ code: null });
}

async function dieAt(directory: string, step: number): Promise<void> {
  let calls = 0;
  const platform = counting(localPlatform(), () => {
    if (calls++ === step) process.kill(process.pid, 'SIGKILL');
  });
  await open(directory, { ...OPENING, platform });
  // The steps of what follows are no concern of this.
  process.stdout.write('opened\n', () => process.exit());
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [directory, step] = process.argv.slice(2);
  if (directory !== undefined) await dieAt(directory, Number(step));
  else {
    process.on('message', (message: Order | 'close') => void (message === 'close' ? close() : carryOut(message)));
    process.send?.({ code: null });
  }
}
