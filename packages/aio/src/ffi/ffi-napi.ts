/**
 * The FFI port over `ffi-napi` and `ref-napi` (their maintained forks, by alias). Their public functions box every argument
 * and cost 3 to 10 us a call. This adapter calls the binding underneath, with argument memory that is allocated once for
 * each function and written through a typed array: 0.35 to 0.5 us (benchmarks/micro/ffi.ts).
 *
 * ```
 *   argv ──► │ &arg0 │ &arg1 │ … │        args: │ arg0 low │ arg0 high │ arg1 low │ …   (32-bit words)
 *   ffi_call(cif, function, result, argv)
 * ```
 */
import { requireInstalled } from './installed.ts';
import type { ForeignCallback, ForeignInterface, ForeignLibrary, NativeFunction, NativeFunctionAsync } from './port.ts';

/** The part of ffi-napi that is used here; `lib/bindings` has no types of its own. */
interface FfiNapi {
  DynamicLibrary: new (path: string | null, mode?: number) => { get(symbol: string): Buffer };
  Callback: (result: string, args: string[], target: (...args: (number | string)[]) => void) => Buffer;
  types: Record<string, unknown>;
}

interface Bindings {
  readonly ffi_call: (cif: Buffer, target: Buffer, result: Buffer, argv: Buffer) => void;
  ffi_call_async(
    cif: Buffer,
    target: Buffer,
    result: Buffer,
    argv: Buffer,
    callback: (error: Error | null) => void,
  ): void;
}

interface RefNapi {
  address(buffer: Buffer): number;
  /** A buffer of `length` bytes at the address that `pointer` holds at `offset`. */
  readPointer(pointer: Buffer, offset: number, length: number): Buffer;
}

interface Packages {
  readonly ffi: FfiNapi;
  readonly bindings: Bindings;
  readonly ref: RefNapi;
  readonly makeCif: (result: unknown, args: unknown[]) => Buffer;
}

const WORD_BYTES = 8;
const TWO_32 = 0x1_0000_0000;
const RTLD_NOW = 2;

/** @throws Error when the packages are not installed or were not built for this Node */
export function loadFfiNapi(): ForeignInterface {
  const packages: Packages = {
    ffi: requireInstalled('ffi-napi') as FfiNapi,
    bindings: requireInstalled('ffi-napi/lib/bindings') as Bindings,
    makeCif: requireInstalled('ffi-napi/lib/cif') as Packages['makeCif'],
    ref: requireInstalled('ref-napi') as RefNapi,
  };
  const { ffi, ref } = packages;
  return {
    name: 'ffi-napi',
    load: (library) => adapt(packages, new ffi.DynamicLibrary(library, RTLD_NOW)),
    addressOf: (buffer) => ref.address(Buffer.from(buffer)),
    viewOf(address, byteLength) {
      const pointer = Buffer.alloc(WORD_BYTES);
      pointer.writeBigUInt64LE(BigInt(address));
      try {
        const memory = ref.readPointer(pointer, 0, byteLength);
        // Where foreign memory may not become an ArrayBuffer, some versions hand out a copy of it.
        if (ref.address(memory) !== address) return undefined;
        return new Uint8Array(memory.buffer, memory.byteOffset, byteLength);
      } catch {
        return undefined;
      }
    },
    callback: (target, arity) => makeCallback(packages, target, arity),
  };
}

function adapt(packages: Packages, library: { get(symbol: string): Buffer }): ForeignLibrary {
  return {
    bind: (symbol, arity) => bind(packages, library.get(symbol), arity),
    bindAsync: (symbol, arity) => bindAsync(packages, library.get(symbol), arity),
    has(symbol) {
      try {
        library.get(symbol);
        return true;
      } catch {
        return false;
      }
    },
  };
}

/** What one call needs: argument words, the pointers to them, and a word for the result. */
class CallFrame {
  readonly cif: Buffer;
  readonly words: Int32Array;
  readonly argv: Buffer;
  readonly result: Buffer;
  readonly resultWords: Int32Array;

  constructor({ makeCif, ffi, ref }: Packages, arity: number) {
    const integer = ffi.types['int64'];
    this.cif = makeCif(integer, new Array<unknown>(arity).fill(integer));
    const memory = new ArrayBuffer(WORD_BYTES * Math.max(1, arity));
    const base = ref.address(Buffer.from(memory));
    this.words = new Int32Array(memory);
    this.argv = Buffer.alloc(WORD_BYTES * Math.max(1, arity));
    for (let i = 0; i < arity; i++) {
      this.argv.writeBigUInt64LE(BigInt(base + i * WORD_BYTES), i * WORD_BYTES);
    }
    const resultMemory = new ArrayBuffer(WORD_BYTES);
    this.result = Buffer.from(resultMemory);
    this.resultWords = new Int32Array(resultMemory);
  }

  put(index: number, value: number): void {
    this.words[index * 2] = value;
    this.words[index * 2 + 1] = Math.floor(value / TWO_32);
  }

  get value(): number {
    return (this.resultWords[1] as number) * TWO_32 + ((this.resultWords[0] as number) >>> 0);
  }
}

function bind(packages: Packages, target: Buffer, arity: number): NativeFunction {
  const frame = new CallFrame(packages, arity);
  const { ffi_call } = packages.bindings;
  const { cif, result, argv } = frame;
  return (a = 0, b = 0, c = 0, d = 0, e = 0, g = 0, h = 0) => {
    if (arity > 0) frame.put(0, a);
    if (arity > 1) frame.put(1, b);
    if (arity > 2) frame.put(2, c);
    if (arity > 3) frame.put(3, d);
    if (arity > 4) frame.put(4, e);
    if (arity > 5) frame.put(5, g);
    if (arity > 6) frame.put(6, h);
    ffi_call(cif, target, result, argv);
    return frame.value;
  };
}

function bindAsync(packages: Packages, target: Buffer, arity: number): NativeFunctionAsync {
  return (...args) =>
    new Promise((resolve, reject) => {
      // Calls may overlap, so each has a frame of its own, held by the closure until it is back.
      const frame = new CallFrame(packages, arity);
      args.forEach((value, index) => frame.put(index, value));
      packages.bindings.ffi_call_async(frame.cif, target, frame.result, frame.argv, (error) => {
        if (error === null || error === undefined) resolve(frame.value);
        else reject(error);
      });
    });
}

function makeCallback(packages: Packages, target: (...args: number[]) => void, arity: number): ForeignCallback {
  const { ffi, ref } = packages;
  const types = new Array<string>(arity).fill('int64');
  // Held by the closure of `release`: native code has no reference that the collector sees.
  let pointer: Buffer | null = ffi.Callback('void', types, (...args) => target(...args.map(Number)));
  return {
    address: ref.address(pointer),
    release() {
      pointer = null;
    },
  };
}
