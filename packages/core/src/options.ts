/**
 * Validation of options, once, where they come in. A shape says what each option may be and what it is when left out.
 * An option that is not in the shape is refused by name, with the nearest name that exists: a misspelt option is an
 * error and not a silent default.
 */
import { AiokvTypeError } from './errors.ts';
import { isPowerOfTwo } from './units.ts';

/** One option: its default, the check of a value, and what the message says is expected. */
export interface OptionRule<T> {
  readonly fallback: T;
  readonly expected: string;
  accepts(value: unknown): boolean;
}

export type OptionShape<T> = { readonly [K in keyof T]: OptionRule<T[K]> };

/** `NoInfer<T>`, which compilers before 5.4 do not have: T is inferred from the other parameters. */
type Given<T> = [T][T extends unknown ? 0 : never];

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

export function oneOf<const T extends string>(choices: readonly T[], fallback: Given<T>): OptionRule<T> {
  return {
    fallback,
    expected: `one of ${choices.map((choice) => `'${choice}'`).join(', ')}`,
    accepts: (value) => (choices as readonly unknown[]).includes(value),
  };
}

/** An option that holds an object or a function of the caller, such as a clock. */
export function instance<T>(expected: string, fallback: T, accepts: (value: unknown) => boolean): OptionRule<T> {
  return { fallback, expected, accepts };
}

/** An option that ends what it is given to; null: nothing does. */
export function abortSignal(): OptionRule<AbortSignal | null> {
  return instance<AbortSignal | null>('an AbortSignal', null, (value) => value === null || isSignal(value));
}

/** By what it can do: the signal of another realm is no instance of this realm's class. */
function isSignal(value: unknown): boolean {
  const { aborted, addEventListener } = (value ?? {}) as Partial<AbortSignal>;
  return typeof aborted === 'boolean' && typeof addEventListener === 'function';
}

/**
 * The first property of `given` that `shape` does not have, or undefined. Only the object's own properties count.
 * Allocates nothing: the options of hot calls are checked with it.
 */
export function unknownNameIn(shape: object, given: object): string | undefined {
  for (const name in given) {
    if (!Object.hasOwn(shape, name) && Object.hasOwn(given, name)) return name;
  }
  return undefined;
}

/**
 * Refuses options that are not an object, or that have a property which `shape` does not have. It looks at no value,
 * and it allocates nothing when all is well.
 *
 * @param where names the function whose options these are, for the message
 * @param shape an object with a property for each name that is known
 * @param noun what the message calls a property
 * @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION
 */
export function refuseUnknown(where: string, shape: object, given: unknown, noun = 'option'): void {
  if (given === undefined) return;
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    const what = noun === 'option' ? 'the options' : 'this';
    throw new AiokvTypeError(
      'ERR_AIOKV_INVALID_OPTION',
      `${where}: ${what} must be an object, not ${Array.isArray(given) ? 'an array' : describe(given)}`,
    );
  }
  const unknown = unknownNameIn(shape, given);
  if (unknown === undefined) return;
  const names = Object.keys(shape);
  const nearest = nearestName(unknown, names);
  const hint = nearest === undefined ? '' : ` (did you mean '${nearest}'?)`;
  throw new AiokvTypeError(
    'ERR_AIOKV_INVALID_OPTION',
    `${where}: there is no ${noun} '${unknown}'${hint}; ${listOf(noun, names)}`,
  );
}

function listOf(noun: string, names: readonly string[]): string {
  if (names.length === 0) return 'there are none here';
  if (names.length === 1) return `the only ${noun} is ${names[0]}`;
  return `the ${noun === 'option' ? 'options' : 'names'} are ${names.join(', ')}`;
}

/**
 * The name that was most likely meant, or undefined when none is near. Case, hyphens and underscores do not count;
 * a name that begins or ends with what was given is near, and so is one that a few letters tell apart.
 */
export function nearestName(given: string, names: readonly string[]): string | undefined {
  const wanted = plain(given);
  let nearest: string | undefined;
  let least = Infinity;
  for (const name of names) {
    const candidate = plain(name);
    const longest = Math.max(wanted.length, candidate.length);
    let distance = editDistance(wanted, candidate);
    if (distance > Math.max(1, Math.floor(longest / 3))) {
      const [short, long] = wanted.length < candidate.length ? [wanted, candidate] : [candidate, wanted];
      if (short.length < SHORTEST_PART || !(long.startsWith(short) || long.endsWith(short))) continue;
      // Names that differ by a few letters come first.
      distance = longest;
    }
    if (distance < least) {
      least = distance;
      nearest = name;
    }
  }
  return nearest;
}

/** A shorter part of a name makes it near to no other. */
const SHORTEST_PART = 3;
/** Only so many characters of a name are compared. */
const LONGEST_COMPARED = 64;

function plain(name: string): string {
  return name.slice(0, LONGEST_COMPARED).replaceAll(/[-_]/gu, '').toLowerCase();
}

/** How many insertions, deletions, replacements and swaps of neighbours turn one into the other. */
function editDistance(from: string, to: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, i) => i);
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const isSame = from[i - 1] === to[j - 1];
      let least = Math.min(
        (last[j] as number) + 1,
        (row[j - 1] as number) + 1,
        (last[j - 1] as number) + (isSame ? 0 : 1),
      );
      if (i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]) {
        least = Math.min(least, (beforeLast[j - 2] as number) + 1);
      }
      row.push(least);
    }
    beforeLast = last;
    last = row;
  }
  return last[to.length] as number;
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
  refuseUnknown(where, shape, given);
  const names = Object.keys(shape) as (keyof T & string)[];
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
