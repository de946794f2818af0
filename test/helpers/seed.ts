/**
 * Where random tests begin. A run is the same every time, so that a failure is a change's own; AIOKV_RANDOM=1 takes
 * other numbers, and the variable of a test takes the one that a failure printed.
 */
export function seedOf(variable: string, usual = 1): number {
  const given = process.env[variable];
  if (given !== undefined) return Number(given);
  return process.env['AIOKV_RANDOM'] === '1' ? Math.floor(Math.random() * 2 ** 31) : usual;
}
