/** The options of a soak, all of them numbers. */
import { parseArgs } from 'node:util';

/**
 * @param defaults by the name of the option, with dashes
 * @returns null: help was asked for
 * @throws Error if there is no such option, or one is no number above 0
 */
export function numbersOf<Name extends string>(defaults: Record<Name, number>): Record<Name, number> | null {
  const names = Object.keys(defaults) as Name[];
  const options = Object.fromEntries(
    names.map((name) => [name, { type: 'string' as const, default: String(defaults[name]) }]),
  );
  const parsed = parseArgs({ options: { ...options, help: { type: 'boolean', default: false } } });
  const values: Readonly<Record<string, unknown>> = parsed.values;
  if (values['help'] === true) return null;
  const given = { ...defaults };
  for (const name of names) {
    const value = Number(values[name]);
    if (!(value > 0)) throw new Error(`--${name} is a number above 0, not ${String(values[name])}`);
    given[name] = value;
  }
  return given;
}
