/** Whether io_uring can be had here; containers often forbid it. */
import { linuxPlatform } from '@aiokv/aio';
import { AiokvError } from '@aiokv/core';

/** Null where it can be had, else why not. */
export function whyNoUring(ffi: 'ffi-napi' | 'koffi'): string | null {
  try {
    void linuxPlatform({ ffi }).createEngine({ slots: 1, depth: 1, engine: 'io_uring' }).close();
    return null;
  } catch (error) {
    if (error instanceof AiokvError && error.code === 'ERR_AIOKV_ENGINE_UNAVAILABLE') return error.message;
    throw error;
  }
}
