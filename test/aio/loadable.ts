/** Whether a foreign-function interface can be loaded here; `ffi-napi` is optional. */
import { AiokvError } from '@aiokv/core';
import { linuxPlatform } from '@aiokv/aio';

export function isLoadable(ffi: 'ffi-napi' | 'koffi'): boolean {
  try {
    linuxPlatform({ ffi });
    return true;
  } catch (error) {
    if (error instanceof AiokvError && error.code === 'ERR_AIOKV_FFI_UNAVAILABLE') return false;
    throw error;
  }
}
