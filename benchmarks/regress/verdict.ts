/**
 * What is made of the runs of one workload: ratios, the noise of this disk and machine, a verdict. Pure.
 *
 * The runs alternate, and each run of this tree lies between two runs of the base:
 *
 * ```
 *   A₁ B₁ A₂ B₂ A₃ …      change of round i:  ln Bᵢ - (ln Aᵢ + ln Aᵢ₊₁) / 2      a steady drift cancels out
 *                         noise of round i:   ln Aᵢ₊₁ - ln Aᵢ                    A against A
 * ```
 *
 * VERDICT-1. The change of a workload is the median over the rounds, so that a single bad minute does not count.
 * VERDICT-2. The noise is how far that median would be off by chance at 99.5 %: from the spread of A against A and of
 *            the changes around their median.
 * VERDICT-3. A loss counts only beyond both the noise and the tolerance. One beyond the tolerance alone is not proven,
 *            and one below the noise may be hidden: the report says both.
 */

/** What one run measured. */
export interface Figures {
  readonly operations: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
}

/** One figure of a workload, compared. Shares of one: 0.05 is 5 % more. */
interface Comparison {
  readonly base: number;
  readonly candidate: number;
  readonly change: number;
  readonly noise: number;
}

type Verdict = 'ok' | 'gain' | 'LOSS' | 'not proven';

export interface Row {
  readonly workload: string;
  /** Microseconds of CPU for each operation. */
  readonly cpu: Comparison;
  /** Operations in a second. */
  readonly speed: Comparison;
  readonly verdict: Verdict;
}

export interface Tolerances {
  readonly cpuTolerance: number;
  readonly speedTolerance: number;
}

/** Scales the median of absolute deviations to the standard deviation of a normal distribution. */
const DEVIATION_OF_MEDIAN = 1.4826;
/** The standard error of a median beside that of a mean, for the same distribution. */
const ERROR_OF_MEDIAN = 1.2533;
/** Student's t at 99.5 %, one side, by degrees of freedom from 4 on; above, as good as the last. */
const STUDENT_T = [4.6, 4.03, 3.71, 3.5, 3.36, 3.25, 3.17, 3.11, 3.05, 3.01, 2.98, 2.95, 2.92] as const;

/** @param base one more than `candidate`, which has at least five */
export function judge(
  workload: string,
  base: readonly Figures[],
  candidate: readonly Figures[],
  { cpuTolerance, speedTolerance }: Tolerances,
): Row {
  const cpu = compare(base.map(cpuMicrosPerOperation), candidate.map(cpuMicrosPerOperation));
  const speed = compare(base.map(perSecond), candidate.map(perSecond));
  const losses = [
    { loss: cpu.change, noise: cpu.noise, tolerance: cpuTolerance },
    // Half the speed is a loss of one, as twice the CPU is.
    { loss: 1 / (1 + speed.change) - 1, noise: speed.noise, tolerance: speedTolerance },
  ];
  return { workload, cpu, speed, verdict: verdictOf(losses, cpu) };
}

function compare(base: readonly number[], candidate: readonly number[]): Comparison {
  const logs = base.map(Math.log);
  const changes = candidate.map((value, i) => Math.log(value) - (at(logs, i) + at(logs, i + 1)) / 2);
  const change = median(changes);
  // A difference of two runs has a variance of 2, one from the mean of two runs 1.5.
  const deviations = [
    ...candidate.map((_, i) => Math.abs(at(logs, i + 1) - at(logs, i)) / Math.sqrt(2)),
    ...changes.map((each) => Math.abs(each - change) / Math.sqrt(1.5)),
  ];
  const rounds = candidate.length;
  const t = at(STUDENT_T, Math.min(rounds - 5, STUDENT_T.length - 1));
  const error = (ERROR_OF_MEDIAN * Math.sqrt(2) * DEVIATION_OF_MEDIAN * median(deviations)) / Math.sqrt(rounds);
  return {
    base: median(base),
    candidate: median(candidate),
    change: Math.exp(change) - 1,
    noise: Math.exp(t * error) - 1,
  };
}

function verdictOf(
  losses: readonly { readonly loss: number; readonly noise: number; readonly tolerance: number }[],
  cpu: Comparison,
): Verdict {
  const above = losses.filter(({ loss, tolerance }) => loss > tolerance);
  if (above.some(({ loss, noise }) => loss > noise)) return 'LOSS';
  if (above.length > 0) return 'not proven';
  return -cpu.change > cpu.noise ? 'gain' : 'ok';
}

function cpuMicrosPerOperation({ cpuSeconds, operations }: Figures): number {
  return (cpuSeconds * 1e6) / operations;
}

function perSecond({ operations, seconds }: Figures): number {
  return operations / seconds;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? at(sorted, middle) : (at(sorted, middle - 1) + at(sorted, middle)) / 2;
}

function at(values: readonly number[], i: number): number {
  return values[i] as number;
}

const HEADINGS = [
  'workload',
  'CPU us/op, base',
  'this tree',
  'change',
  'noise',
  'op/s, base',
  'this tree',
  'change',
  'noise',
  'verdict',
] as const;

export function formatTable(rows: readonly Row[]): string {
  const lines = [
    [...HEADINGS],
    ...rows.map(({ workload, cpu, speed, verdict }) => [
      workload,
      cpu.base.toFixed(2),
      cpu.candidate.toFixed(2),
      percent(cpu.change),
      `± ${(cpu.noise * 100).toFixed(1)} %`,
      Math.round(speed.base).toLocaleString('en-US'),
      Math.round(speed.candidate).toLocaleString('en-US'),
      percent(speed.change),
      `± ${(speed.noise * 100).toFixed(1)} %`,
      verdict,
    ]),
  ];
  const widths = HEADINGS.map((_, column) =>
    lines.reduce((widest, line) => Math.max(widest, (line[column] as string).length), 0),
  );
  return lines
    .map((line) =>
      line
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number)))
        .join('  '),
    )
    .join('\n');
}

function percent(share: number): string {
  return `${share < 0 ? '-' : '+'}${Math.abs(share * 100).toFixed(1)} %`;
}
