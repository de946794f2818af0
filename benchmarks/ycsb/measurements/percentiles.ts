/** Percentiles as the results name them: `99thPercentileLatency(us)`, and `99.9PercentileLatency(us)`. */

/** The numbers of a list such as `50,95,99.9`, or undefined when it is none. */
export function percentilesOf(list: string): readonly number[] | undefined {
  const numbers = list.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
  return numbers.every((number) => number >= 0 && number <= 100) ? numbers : undefined;
}

export function percentileName(percentile: number): string {
  return `${ordinal(percentile)}PercentileLatency(us)`;
}

function ordinal(number: number): string {
  if (!Number.isInteger(number)) return String(number);
  if (number >= 11 && number <= 13) return `${number}th`;
  return number + (['th', 'st', 'nd', 'rd'][number % 10] ?? 'th');
}
