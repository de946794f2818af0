/** Every public option object: what is unknown is refused with the nearest name, before anything is accepted. */
import {
  Queue,
  Shards,
  SimulatedDisk,
  allocateAligned,
  linuxPlatform,
  openFile,
  openQueue,
  openShards,
  portablePlatform,
  qualifyFile,
} from '@aiokv/aio';
import type { DirectFile } from '@aiokv/aio';
import test from 'ava';

interface Place {
  readonly disk: SimulatedDisk;
  readonly queue: Queue;
  readonly file: DirectFile;
}

/** What is called with the options, and a name that nearly is one of them. */
const cases: Record<string, [call: (place: Place, options: never) => unknown, wrong: string, right: string]> = {
  openFile: [(_, options) => openFile('/nowhere', options), 'readonly', 'readOnly'],
  openQueue: [(_, options) => openQueue(options), 'maxwaiting', 'maxWaiting'],
  openShards: [(_, options) => openShards(options), 'context', 'contexts'],
  'openShards, queues': [(_, options) => openShards({}, options), 'dephts', 'depth'],
  Queue: [({ disk }, options) => new Queue(disk, options), 'neverBlocks', 'neverBlock'],
  Shards: [({ disk }, options) => new Shards(disk, options), 'rangebytes', 'rangeBytes'],
  policy: [
    ({ disk }, options) =>
      new Queue(disk, { policy: { minComplete: 1, maxComplete: 1, timeoutMs: 0, ...(options as object) } }),
    'timeout',
    'timeoutMs',
  ],
  uring: [({ disk }, options) => new Queue(disk, { uring: options }), 'sqPoll', 'sqpoll'],
  linuxPlatform: [(_, options) => linuxPlatform(options), 'forceSyscall', 'forceSyscalls'],
  'linuxPlatform().open': [(_, options) => linuxPlatform().open('/nowhere', options), 'creat', 'create'],
  'portablePlatform().open': [(_, options) => portablePlatform().open('/nowhere', options), 'exclusiv', 'exclusive'],
  'SimulatedDisk.open': [({ disk }, options) => disk.open('/data', options), 'Direct', 'direct'],
  SimulatedDisk: [(_, options) => new SimulatedDisk(options), 'sead', 'seed'],
  inject: [({ disk }, options) => disk.inject(options), 'stickey', 'sticky'],
  qualifyFile: [(_, options) => qualifyFile('.', options), 'sizebytes', 'sizeBytes'],
  read: [
    ({ queue, file }, options) => queue.read(file, allocateAligned(4096), options),
    'bufferoffset',
    'bufferOffset',
  ],
  readSync: [({ queue, file }, options) => queue.readSync(file, allocateAligned(4096), options), 'ofset', 'offset'],
  write: [({ queue, file }, options) => queue.write(file, allocateAligned(4096), options), 'onshort', 'onShort'],
  readv: [({ queue, file }, options) => queue.readv(file, [allocateAligned(4096)], options), 'prio', 'priority'],
  writev: [({ queue, file }, options) => queue.writev(file, [allocateAligned(4096)], options), 'dSync', 'dsync'],
  fsync: [({ queue, file }, options) => queue.fsync(file, options), 'deadline', 'deadlineMs'],
  fdatasync: [({ queue, file }, options) => queue.fdatasync(file, options), 'signals', 'signal'],
  poll: [({ queue }, options) => queue.poll(0, options), 'event', 'events'],
  getEvents: [({ queue }, options) => queue.getEvents(options), 'timeout', 'timeoutMs'],
};

for (const [name, [call, wrong, right]] of Object.entries(cases)) {
  test(`${name}: '${wrong}' is refused, and '${right}' named`, async (t) => {
    const disk = new SimulatedDisk();
    const file = await disk.open('/data', { create: true });
    const queue = new Queue(disk);
    const place = { disk, queue, file };
    const given = (options: unknown) => async () => call(place, options as never);
    const code = 'ERR_AIOKV_INVALID_OPTION';
    await t.throwsAsync(given({ [wrong]: undefined }), {
      name: 'AiokvTypeError',
      code,
      message: new RegExp(`there is no (option|property) '${wrong}' \\(did you mean '${right}'\\?\\)`, 'u'),
    });
    if (name !== 'policy') {
      for (const other of [null, 'text', 8, []]) await t.throwsAsync(given(other), { code }, String(other));
    }
    t.is(queue.statistics().accepted, 0);
    await queue.close();
  });
}

test('values are checked, too', async (t) => {
  const code = 'ERR_AIOKV_INVALID_OPTION';
  await t.throwsAsync(openFile('/nowhere', { direct: 'always' as 'never' }), {
    code,
    message: /'require', 'prefer', 'never'/u,
  });
  await t.throwsAsync(openFile('/nowhere', { create: 1 as unknown as boolean }), { code });
  t.throws(() => linuxPlatform({ ffi: 'libffi' as 'koffi' }), { code, message: /'ffi-napi', 'koffi', not 'libffi'/u });
  t.throws(() => new SimulatedDisk({ alignment: { memory: 3, offset: 512, write: 512 } }), { code });
  const disk = new SimulatedDisk();
  t.throws(() => new Queue(disk, { uring: { sqpoll: 1 as unknown as boolean } }), {
    code,
    message: /'uring': option 'sqpoll'/u,
  });
  const file = await disk.open('/data', { create: true });
  const queue = new Queue(disk);
  const buffer = allocateAligned(4096);
  await t.throwsAsync(queue.read(file, buffer, { offset: 0, onShort: 'retry' as 'report' }), { code });
  await t.throwsAsync(queue.read(file, buffer, undefined as never), { code, message: /'offset' must be given/u });
  for (const path of ['', undefined, 8, null, {}]) {
    await t.throwsAsync(openFile(path as string), { code: 'ERR_AIOKV_INVALID_ARGUMENT', message: /path must be/u });
  }
});
