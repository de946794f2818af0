/**
 * What went wrong in a phase: operations that failed and values that were not as expected. All are counted,
 * the first few are told, and any makes the exit code 1.
 */
const MOST_TOLD = 5;

export class Troubles {
  readonly #log: (line: string) => void;
  #failures = 0;
  #mismatches = 0;

  constructor(log: (line: string) => void) {
    this.#log = log;
  }

  get failures(): number {
    return this.#failures;
  }

  get mismatches(): number {
    return this.#mismatches;
  }

  failure(operation: string, error: unknown): void {
    this.#failures++;
    if (this.#failures <= MOST_TOLD) this.#log(`${operation} failed: ${messageOf(error)}`);
  }

  mismatch(description: string): void {
    this.#mismatches++;
    if (this.#mismatches <= MOST_TOLD) this.#log(`VERIFY failed: ${description}`);
  }

  /** One line that sums up, or none. */
  summary(): string {
    const parts = [
      this.#failures === 0 ? '' : `${this.#failures} operations failed`,
      this.#mismatches === 0 ? '' : `${this.#mismatches} records were not as expected`,
    ].filter((part) => part !== '');
    return parts.join(', ');
  }
}

/** What an error says, with its code in front where it has one. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code } = error as NodeJS.ErrnoException;
  return code === undefined || error.message.startsWith(code) ? error.message : `${code}: ${error.message}`;
}
