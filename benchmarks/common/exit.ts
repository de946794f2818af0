/** How a benchmark ends: with an exit code, also when it is interrupted or told nonsense. */
import { UsageError } from './arguments.ts';

/** Aborted by SIGINT and SIGTERM, with a UsageError. Whoever waits for a process that is measured ends it then. */
export const interrupted = new AbortController();

/** Runs a benchmark to its exit code. An interrupt ends what it measures; its directories are removed as ever. */
export async function runToExit(main: (args: readonly string[]) => Promise<number>): Promise<void> {
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.once(signal, () => {
      process.exitCode = code;
      interrupted.abort(new UsageError(`interrupted by ${signal}`));
    });
  }
  try {
    process.exitCode = await main(process.argv.slice(2));
  } catch (error) {
    console.error(error instanceof UsageError ? error.message : ((error as Error).stack ?? String(error)));
    process.exitCode ??= error instanceof UsageError ? 2 : 1;
  }
}
