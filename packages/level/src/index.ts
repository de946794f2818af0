export { AioLevel } from './aio-level.ts';
export type { AioLevelOptions, OpenRequest, StoreOpener } from './options.ts';
export type { AioWriteOptions } from './options.ts';
