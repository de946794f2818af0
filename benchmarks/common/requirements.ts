/** What a benchmark measured beside what is wanted of it, a line each. Pure. */

export interface Requirement {
  readonly name: string;
  /** Null where the run did not show it. */
  readonly measured: number | null;
  readonly wanted: { readonly atMost: number } | { readonly atLeast: number };
  /** Such as `MiB`; `x` for a ratio. */
  readonly unit: string;
  /** What qualifies the figure. */
  readonly note?: string;
}

type Verdict = 'met' | 'MISSED' | 'not measured';

export function verdictOf({ measured, wanted }: Requirement): Verdict {
  if (measured === null) return 'not measured';
  return ('atMost' in wanted ? measured <= wanted.atMost : measured >= wanted.atLeast) ? 'met' : 'MISSED';
}

export function formatRequirements(requirements: readonly Requirement[]): string {
  const lines = requirements.map((requirement) => {
    const { name, measured, wanted, unit } = requirement;
    const [sign, limit] = 'atMost' in wanted ? ['<=', wanted.atMost] : ['>=', wanted.atLeast];
    return [
      verdictOf(requirement),
      name,
      measured === null ? '-' : `${figure(measured)} ${unit}`,
      `wanted ${sign} ${figure(limit)} ${unit}`,
      requirement.note ?? '',
    ];
  });
  const widths = [0, 1, 2, 3].map((column) =>
    lines.reduce((widest, line) => Math.max(widest, (line[column] as string).length), 0),
  );
  return lines
    .map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function figure(value: number): string {
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en-US');
  return String(Number(value.toFixed(Math.abs(value) >= 100 ? 0 : 2)));
}
