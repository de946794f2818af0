export { aioCalls } from './libaio.ts';
export type { AioCalls } from './libaio.ts';
export { EventArray, IocbArray, IocbCommand, RwFlag } from './iocb.ts';
export {
  EnterFlag,
  FSYNC_DATASYNC,
  RegisterOpcode,
  SetupFlag,
  SqeArray,
  Uring,
  UringFeature,
  UringOpcode,
} from './io-uring.ts';
export type { UringSetup } from './io-uring.ts';
export { IovecArray } from './iovec.ts';
export { libcOf } from './libc.ts';
export type { Libc } from './libc.ts';
export { AiocbArray, AiocbList, LIO_NOWAIT, LioOpcode, NEVER_SUBMITTED, SyncFlag, posixAio } from './posix-aio.ts';
export type { PosixAio } from './posix-aio.ts';
export { CompletionRing } from './ring.ts';
export { Wakeup } from './wakeup.ts';
