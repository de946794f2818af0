/**
 * What aio needs of a foreign-function interface, and nothing more. There are two adapters, `ffi-napi.ts` and `koffi.ts`;
 * `load.ts` chooses one. No file outside this folder imports an FFI package.
 *
 * Addresses are plain numbers: user space on x86-64 and arm64 lies below 2^48, so every address is
 * a safe integer. Arguments and results are 64-bit integers in the native call.
 */

/** A bound native function. Costs under 1 us a call and allocates nothing. */
export type NativeFunction = (
  a0?: number,
  a1?: number,
  a2?: number,
  a3?: number,
  a4?: number,
  a5?: number,
  a6?: number,
) => number;

/** The same function run on a thread of libuv's pool; `errno` does not survive the way back. */
export type NativeFunctionAsync = (...args: number[]) => Promise<number>;

export type ForeignInterfaceName = 'ffi-napi' | 'koffi';

export interface ForeignInterface {
  readonly name: ForeignInterfaceName;

  /**
   * Loads a shared library. `null` stands for what the process has loaded, its C library included.
   *
   * @throws Error of the adapter when the library is not there
   */
  load(library: string | null): ForeignLibrary;

  /**
   * The address of an ArrayBuffer's first byte. It stays valid as long as the buffer is strongly
   * reachable and not detached; V8 does not move the memory of an ArrayBuffer.
   */
  addressOf(buffer: ArrayBuffer): number;

  /**
   * A view of memory that V8 does not own. The caller must drop every reference to it before the
   * memory is unmapped. Returns undefined where foreign memory may not become an ArrayBuffer.
   */
  viewOf(address: number, byteLength: number): Uint8Array | undefined;

  /** A C function pointer that calls `target` with `arity` 64-bit integers, on this thread only. */
  callback(target: (...args: number[]) => void, arity: number): ForeignCallback;
}

export interface ForeignLibrary {
  /**
   * Binds a symbol as a function of `arity` (0 to 7) integers that returns one.
   *
   * @throws Error of the adapter when the symbol is not there
   */
  bind(symbol: string, arity: number): NativeFunction;
  /** Binds a symbol to be run off the event loop. */
  bindAsync(symbol: string, arity: number): NativeFunctionAsync;
  /** Whether the library has the symbol. */
  has(symbol: string): boolean;
}

export interface ForeignCallback {
  readonly address: number;
  /** Frees the function pointer; native code must not call it any more. */
  release(): void;
}
