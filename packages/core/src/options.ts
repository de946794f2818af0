/**
 * Validation of options, once, at the door. A shape says for each option what it may be and what it
 * is when left out; whatever is not in the shape is refused by name, so that a misspelt option is
 * an error and not a silent default.
 */
import { AiokvTypeError } from './errors.ts';
import { isPowerOfTwo } from './units.ts';

/** One option: its default and a check that returns what was expected instead, if it does not hold. */
export interface OptionRule<T> {
  readonly fallback: T;
  readonly expected: string;
  accepts(value: unknown): boolean;
}

export type OptionShape<T> = { readonly [K in keyof T]: OptionRule<T[K]> };

export function integer(min: number, max: number, fallback: number): OptionRule<number> {
  return {
    fallback,
    expected: `an integer from ${min} to ${max}`,
    accepts: (value) => Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max,
  };
}

export function powerOfTwo(min: number, max: number, fallback: number): OptionRule<number> {
  return {
    fallback,
    expected: `a power of two from ${min} to ${max}`,
    accepts: (value) => isPowerOfTwo(value as number) && (value as number) >= min && (value as number) <= max,
  };
}

export function boolean(fallback: boolean): OptionRule<boolean> {
  return { fallback, expected: 'true or false', accepts: (value) => typeof value === 'boolean' };
}

export function oneOf<const T extends string>(choices: readonly T[], fallback: NoInfer<T>): OptionRule<T> {
  return {
    fallback,
    expected: `one of ${choices.map((choice) => `'${choice}'`).join(', ')}`,
    accepts: (value) => (choices as readonly unknown[]).includes(value),
  };
}

/** An option that holds an object of the caller's, such as a clock or a function. */
export function instance<T>(expected: string, fallback: T, accepts: (value: unknown) => boolean): OptionRule<T> {
  return { fallback, expected, accepts };
}

/**
 * The options with every default filled in; `undefined` counts as left out.
 *
 * @param where names the function whose options these are, for the message
 * @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION for an unknown option or a value that its rule refuses
 */
export function resolveOptions<T extends object>(
  where: string,
  shape: OptionShape<T>,
  given: Partial<T> | undefined,
): T {
  if (given !== undefined && (typeof given !== 'object' || given === null || Array.isArray(given))) {
    throw new AiokvTypeError('ERR_AIOKV_INVALID_OPTION', `${where}: options must be an object`);
  }
  const names = Object.keys(shape) as (keyof T & string)[];
  for (const name of Object.keys(given ?? {})) {
    if (!Object.hasOwn(shape, name)) {
      throw new AiokvTypeError(
        'ERR_AIOKV_INVALID_OPTION',
        `${where}: there is no option '${name}'; the options are ${names.join(', ')}`,
      );
    }
  }
  const resolved: Partial<T> = {};
  for (const name of names) {
    const rule = shape[name];
    const value = given?.[name];
    if (value !== undefined && !rule.accepts(value)) {
      throw new AiokvTypeError(
        'ERR_AIOKV_INVALID_OPTION',
        `${where}: option '${name}' must be ${rule.expected}, not ${describe(value)}`,
      );
    }
    resolved[name] = value === undefined ? rule.fallback : value;
  }
  return resolved as T;
}

function describe(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`;
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return String(value);
  return typeof value;
}
