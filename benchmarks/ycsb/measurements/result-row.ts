/**
 * One line of the results, and the formats that results can have. A format is a function from rows to text;
 * nothing here knows what was measured.
 */
export interface ResultRow {
  /** What was measured: an operation, or OVERALL. */
  readonly metric: string;
  readonly measurement: string;
  readonly value: number;
  /** Whether the value is a real number even where it is whole: text then shows it as 5.0. */
  readonly real: boolean;
}

export function integerRow(metric: string, measurement: string, value: number): ResultRow {
  return { metric, measurement, value, real: false };
}

export function realRow(metric: string, measurement: string, value: number): ResultRow {
  return { metric, measurement, value, real: true };
}

export const FORMATS: Readonly<Record<'text' | 'json' | 'jsonarray', (rows: readonly ResultRow[]) => string>> = {
  text: (rows) => rows.map(textOf).join(''),
  /** Objects one after the other, one a line, without anything between. */
  json: (rows) => rows.map((row) => `${jsonOf(row)}\n`).join(''),
  jsonarray: (rows) => `[\n${rows.map((row) => `  ${jsonOf(row)}`).join(',\n')}\n]\n`,
};

function textOf({ metric, measurement, value, real }: ResultRow): string {
  const shown = real && Number.isInteger(value) ? value.toFixed(1) : String(value);
  return `[${metric}], ${measurement}, ${shown}\n`;
}

function jsonOf({ metric, measurement, value }: ResultRow): string {
  return JSON.stringify({ metric, measurement, value });
}
