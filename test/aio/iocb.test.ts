/** The bytes of `struct iocb`, `struct iovec` and their pointers, against the kernel's header, by DataView. */
import test from 'ava';
import { Random } from '@aiokv/core';
import { requireForeignInterface } from '../../packages/aio/src/ffi/load.ts';
import type { ForeignInterface } from '../../packages/aio/src/ffi/port.ts';
import { IocbArray, IocbCommand, IovecArray, RwFlag } from '../../packages/aio/src/raw/index.ts';

const ffi = requireForeignInterface();

function memoryAt(address: number, byteLength: number, from: ForeignInterface = ffi): DataView {
  const bytes = from.viewOf(address, byteLength) as Uint8Array;
  return new DataView(bytes.buffer, bytes.byteOffset, byteLength);
}

/** include/uapi/linux/aio_abi.h, little-endian. */
function decode(view: DataView): Record<string, number> {
  return {
    data: Number(view.getBigUint64(0, true)),
    key: view.getUint32(8, true),
    rwFlags: view.getInt32(12, true),
    opcode: view.getUint16(16, true),
    reqprio: view.getInt16(18, true),
    fd: view.getInt32(20, true),
    buf: Number(view.getBigUint64(24, true)),
    nbytes: Number(view.getBigUint64(32, true)),
    offset: Number(view.getBigInt64(40, true)),
    reserved: Number(view.getBigUint64(48, true)),
    flags: view.getUint32(56, true),
    resfd: view.getUint32(60, true),
  };
}

const zero = decode(new DataView(new ArrayBuffer(64)));

test('each way to prepare fills the fields that it names and no others', (t) => {
  const iocbs = new IocbArray(ffi, 3);
  const one = memoryAt(iocbs.addressOf(1), 64);
  const buf = 2 ** 46 + 4096;
  const offset = 2 ** 40 + 512;
  const transfer = { ...zero, fd: 9, buf, nbytes: 8192, offset };
  iocbs.prepRead(1, 9, buf, 8192, offset, 77);
  t.deepEqual(decode(one), { ...transfer, data: 77, opcode: IocbCommand.pread });
  iocbs.prepWrite(1, 9, buf, 8192, offset);
  t.deepEqual(decode(one), { ...transfer, data: 1, opcode: IocbCommand.pwrite }, 'the index is the default of data');
  iocbs.prepReadv(1, 9, buf, 3, offset, 5);
  t.deepEqual(decode(one), { ...transfer, data: 5, nbytes: 3, opcode: IocbCommand.preadv });
  iocbs.prepWritev(1, 9, buf, 3, offset, 5);
  t.deepEqual(decode(one), { ...transfer, data: 5, nbytes: 3, opcode: IocbCommand.pwritev });
  iocbs.prepFsync(1, 9, 5);
  t.deepEqual(decode(one), { ...zero, data: 5, fd: 9, opcode: IocbCommand.fsync });
  iocbs.prepFdsync(1, 9, 5);
  t.deepEqual(decode(one), { ...zero, data: 5, fd: 9, opcode: IocbCommand.fdsync });
  iocbs.prepPoll(1, 9, 1, 5);
  t.deepEqual(decode(one), { ...zero, data: 5, fd: 9, buf: 1, opcode: IocbCommand.poll });
});

test('flags and an eventfd last until the entry is prepared again', (t) => {
  const iocbs = new IocbArray(ffi, 1);
  const view = memoryAt(iocbs.addressOf(0), 64);
  iocbs.prepRead(0, 3, 4096, 512, 0);
  iocbs.setEventfd(0, 17);
  iocbs.setRwFlags(0, RwFlag.nowait | RwFlag.dsync);
  const { flags, resfd, rwFlags } = decode(view);
  t.deepEqual({ flags, resfd, rwFlags }, { flags: 1, resfd: 17, rwFlags: 0xa });
  iocbs.prepFdsync(0, 3);
  t.deepEqual(decode(view), { ...zero, fd: 3, opcode: IocbCommand.fdsync });
});

test('random fields come out as they went in, in their own entry only', (t) => {
  const random = new Random(20_261_123);
  const iocbs = new IocbArray(ffi, 16);
  const entries = Array.from({ length: 16 }, () => ({ ...zero }));
  for (let round = 0; round < 2000; round++) {
    const index = random.below(16);
    const fields = {
      fd: random.below(2 ** 31) * (random.chance(0.1) ? -1 : 1),
      buf: random.below(2 ** 15) * 2 ** 32 + random.uint32(),
      nbytes: random.uint32(),
      offset: (random.below(2 ** 20) * 2 ** 32 + random.uint32()) * (random.chance(0.1) ? -1 : 1),
      data: random.uint32(),
    };
    iocbs.prepRead(index, fields.fd, fields.buf, fields.nbytes, fields.offset, fields.data);
    entries[index] = { ...zero, ...fields };
    const neighbour = random.below(16);
    for (const i of [index, neighbour]) t.deepEqual(decode(memoryAt(iocbs.addressOf(i), 64)), entries[i], `entry ${i}`);
  }
});

test('pointers lead to the iocbs that they were pointed at', (t) => {
  const iocbs = new IocbArray(ffi, 5);
  const pointers = memoryAt(iocbs.pointersAddress, 5 * 8);
  [4, 0, 3].forEach((index, place) => iocbs.point(place, index));
  const found = [0, 1, 2].map((place) => Number(pointers.getBigUint64(place * 8, true)));
  t.deepEqual(found, [iocbs.addressOf(4), iocbs.addressOf(0), iocbs.addressOf(3)]);
});

test('an iovec is an address and a length, 64 bits each', (t) => {
  const iovecs = new IovecArray(ffi, 2);
  iovecs.set(0, 2 ** 46 + 4096, 4096);
  iovecs.set(1, 512, 2 ** 31);
  const view = memoryAt(iovecs.addressOf(0), 32);
  const words = [0, 8, 16, 24].map((at) => Number(view.getBigUint64(at, true)));
  t.deepEqual(words, [2 ** 46 + 4096, 4096, 512, 2 ** 31]);
  t.is(iovecs.addressOf(1), iovecs.addressOf(0) + 16);
});
