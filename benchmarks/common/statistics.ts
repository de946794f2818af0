/** The figures of a store's `statistics()` as one flat object of numbers, whatever they are in this version. */

/** Counters of its queue have objects of their own, and are left out. */
const LEFT_OUT = 'queue';

/** Nested ones under names with dots, such as `memory.leaves`. */
export function flatNumbers(statistics: object, prefix = ''): Record<string, number> {
  const flat: Record<string, number> = {};
  for (const [name, value] of Object.entries(statistics) as [string, unknown][]) {
    if (typeof value === 'number') flat[prefix + name] = value;
    else if (typeof value === 'object' && value !== null && name !== LEFT_OUT) {
      Object.assign(flat, flatNumbers(value, `${prefix}${name}.`));
    }
  }
  return flat;
}
