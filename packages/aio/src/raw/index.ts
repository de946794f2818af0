export { aioCalls } from './libaio.ts';
export type { AioCalls } from './libaio.ts';
export { EventArray, IocbArray, IocbCommand, RwFlag } from './iocb.ts';
export { IovecArray } from './iovec.ts';
export { libcOf } from './libc.ts';
export type { Libc } from './libc.ts';
export { CompletionRing } from './ring.ts';
export { Wakeup } from './wakeup.ts';
