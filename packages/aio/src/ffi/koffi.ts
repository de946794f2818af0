/**
 * The FFI port over `koffi`, which ships its binaries and needs no compiler. A call of plain integers
 * costs 0.03 to 0.2 us (benchmarks/micro/ffi.ts).
 */
import { requireInstalled } from './installed.ts';
import type { ForeignCallback, ForeignInterface, ForeignLibrary, NativeFunction, NativeFunctionAsync } from './port.ts';

type Callee = ((...args: number[]) => number | bigint) & {
  async: (...args: (number | ((error: Error | null, result: number | bigint) => void))[]) => void;
};

/** The part of koffi that is used here. */
interface Koffi {
  load(path: string | null): { func(name: string, result: string, args: string[]): Callee };
  address(value: ArrayBuffer): bigint;
  view(address: bigint, length: number): ArrayBuffer;
  proto(result: string, args: string[]): unknown;
  pointer(type: unknown): unknown;
  register(callback: (...args: (number | bigint)[]) => void, type: unknown): bigint;
  unregister(callback: bigint): void;
}

const INTEGER = 'int64_t';

/** @throws Error when koffi is not installed or has no binary for this machine */
export function loadKoffi(): ForeignInterface {
  const koffi = requireInstalled('koffi') as Koffi;
  return {
    name: 'koffi',
    load: (library) => adapt(koffi.load(library)),
    addressOf: (buffer) => Number(koffi.address(buffer)),
    viewOf(address, byteLength) {
      try {
        return new Uint8Array(koffi.view(BigInt(address), byteLength));
      } catch {
        return undefined;
      }
    },
    callback: (target, arity) => register(koffi, target, arity),
  };
}

function adapt(library: ReturnType<Koffi['load']>): ForeignLibrary {
  const find = (symbol: string, arity: number): Callee =>
    library.func(symbol, INTEGER, new Array<string>(arity).fill(INTEGER));
  return {
    bind: (symbol, arity) => bind(find(symbol, arity), arity),
    bindAsync: (symbol, arity): NativeFunctionAsync => {
      const callee = find(symbol, arity);
      return (...args) =>
        new Promise((resolve, reject) => {
          callee.async(...args, (error, result) => {
            if (error === null) resolve(Number(result));
            else reject(error);
          });
        });
    },
    has(symbol) {
      try {
        find(symbol, 0);
        return true;
      } catch {
        return false;
      }
    },
  };
}

/** koffi counts its arguments, so each arity has its own call. Results above 2^53 come as BigInt; none do here. */
function bind(f: Callee, arity: number): NativeFunction {
  switch (arity) {
    case 0:
      return () => Number(f());
    case 1:
      return (a = 0) => Number(f(a));
    case 2:
      return (a = 0, b = 0) => Number(f(a, b));
    case 3:
      return (a = 0, b = 0, c = 0) => Number(f(a, b, c));
    case 4:
      return (a = 0, b = 0, c = 0, d = 0) => Number(f(a, b, c, d));
    case 5:
      return (a = 0, b = 0, c = 0, d = 0, e = 0) => Number(f(a, b, c, d, e));
    case 6:
      return (a = 0, b = 0, c = 0, d = 0, e = 0, g = 0) => Number(f(a, b, c, d, e, g));
    default:
      return (a = 0, b = 0, c = 0, d = 0, e = 0, g = 0, h = 0) => Number(f(a, b, c, d, e, g, h));
  }
}

function register(koffi: Koffi, target: (...args: number[]) => void, arity: number): ForeignCallback {
  const type = koffi.pointer(koffi.proto('void', new Array<string>(arity).fill(INTEGER)));
  const pointer = koffi.register((...args) => target(...args.map(Number)), type);
  return { address: Number(pointer), release: () => koffi.unregister(pointer) };
}
