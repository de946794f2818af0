/**
 * Branded numbers for the places where two numbers of different meaning could be swapped, and the
 * arithmetic of alignment. A brand exists in the types only and costs nothing at run time.
 */
declare const brand: unique symbol;

/** A `T` that must not be mixed up with another `T`. */
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** A position in the order of all writes of a store; 1 is the first, 0 means "before any". Below 2^53. */
export type Sequence = Brand<number, 'Sequence'>;

/** A byte offset in a file. Below 2^53. */
export type FileOffset = Brand<number, 'FileOffset'>;

export const KIB = 1024;
export const MIB = 1024 * 1024;
export const GIB = 1024 * 1024 * 1024;

export function isPowerOfTwo(value: number): boolean {
  // The logarithm of a number close to a large power rounds to a whole number, so the power is compared.
  return Number.isSafeInteger(value) && value > 0 && 2 ** Math.round(Math.log2(value)) === value;
}

/** The remainder of `value` by `alignment`, a power of two up to 2^31. `%` takes ten times as long for values above 2^31. */
function rest(value: number, alignment: number): number {
  // The low 32 bits decide, and `&` uses just those of any safe integer.
  return value & (alignment - 1);
}

/** The greatest multiple of `alignment`, a power of two up to 2^31, that is not above `value`; exact up to 2^53. */
export function alignDown(value: number, alignment: number): number {
  return value - rest(value, alignment);
}

/** The smallest multiple of `alignment`, a power of two up to 2^31, that is not below `value`; exact up to 2^53. */
export function alignUp(value: number, alignment: number): number {
  return value + rest(-value, alignment);
}

export function isAligned(value: number, alignment: number): boolean {
  return rest(value, alignment) === 0;
}
