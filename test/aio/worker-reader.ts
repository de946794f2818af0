/**
 * A worker with requests in flight, for worker-churn.ts to end. It keeps `IN_FLIGHT` transfers of mixed sizes in flight
 * and never closes its queue; `ending` says how it comes to its end.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { allocateAligned, foreignInterface, openFile, openQueue, raw } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, Queue } from '@aiokv/aio';

export interface ReaderData {
  readonly path: string;
  readonly fileBytes: number;
  readonly ownContext: boolean;
  /**
   * `terminate`: by the parent, with everything in flight. `end`: by itself, when all is read. `throw`, `exit`: with
   * everything in flight. `starting`, `closing`: by the parent, while a context is made or given back. `bare`: by the
   * parent, with a context that nobody has made sure of and a poll in flight.
   */
  readonly ending: 'terminate' | 'end' | 'throw' | 'exit' | 'starting' | 'closing' | 'bare';
}

const IN_FLIGHT = 64;
const SIZES = [4096, 16_384, 131_072];

const { path, fileBytes, ownContext, ending } = workerData as ReaderData;

function transfer(queue: Queue, file: DirectFile, buffer: AlignedBuffer, turn: number): Promise<number> {
  const places = fileBytes / buffer.byteLength;
  const offset = ((turn * 7919) % places) * buffer.byteLength;
  return turn % 4 === 0 ? queue.write(file, buffer, { offset }) : queue.read(file, buffer, { offset });
}

async function forever(queue: Queue, file: DirectFile, lane: number): Promise<never> {
  const buffer = allocateAligned(SIZES[lane % SIZES.length] as number);
  for (let turn = lane; ; turn++) await transfer(queue, file, buffer, turn);
}

/** Leaves a context behind that has a poll in flight, which touches no memory; tells the parent its address. */
function leaveBareContext(): void {
  const ffi = foreignInterface();
  if (ffi === undefined) throw new Error('koffi can be had');
  const libc = raw.libcOf(ffi);
  const calls = raw.aioCalls(ffi);
  const context = calls.ioSetup(1);
  const iocbs = new raw.IocbArray(ffi, 1);
  const eventfd = libc.eventfd(0, 0);
  iocbs.prepPoll(0, eventfd, 1);
  iocbs.point(0, 0);
  if (calls.ioSubmit(context, 1, iocbs.pointersAddress) !== 1) throw new Error('a poll was refused');
  // The kernel holds on to it.
  libc.close(eventfd);
  parentPort?.postMessage(context);
}

async function main(): Promise<void> {
  if (ending === 'bare') {
    leaveBareContext();
    return void setInterval(() => undefined, 1000);
  }
  // A file that Node is opening when the worker is ended stays open: that is not what is measured here.
  const file = await openFile(path);
  const queue = openQueue({ depth: IN_FLIGHT, ownContext });
  if (ending === 'starting') {
    parentPort?.postMessage('ready');
    for (let i = 0; i < 6; i++) openQueue({ depth: 4, maxWaiting: 4, ownContext: true });
    return void setInterval(() => undefined, 1000);
  }
  if (ending === 'closing') {
    // Code that runs for the first time takes long between one call and the next.
    await openQueue({ ownContext: true }).close();
    const closed = queue.close();
    parentPort?.postMessage('ready');
    return closed;
  }
  for (let lane = 0; lane < IN_FLIGHT; lane++) {
    if (ending !== 'end') void forever(queue, file, lane);
    else void transfer(queue, file, allocateAligned(SIZES[lane % SIZES.length] as number), 4 * lane + 1);
  }
  // The first turn of the loop has sent them down.
  setImmediate(() => {
    if (queue.statistics().inFlight === 0 && ending !== 'end') throw new Error('nothing is in flight');
    parentPort?.postMessage('ready');
    if (ending === 'throw') throw new Error('as planned');
    if (ending === 'exit') process.exit(3);
  });
}

await main();
