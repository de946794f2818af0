/** For compilers that have `Uint8Array<ArrayBuffer>` (5.7 and later): the declarations lose nothing for them. */
import { allocateAligned } from '@aiokv/aio';

export const bytes: Uint8Array<ArrayBuffer> = allocateAligned(4096).bytes;
export const buffer: ArrayBuffer = allocateAligned(4096).view.buffer;
