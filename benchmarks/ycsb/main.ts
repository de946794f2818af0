/**
 * `npm run -s ycsb -- load|run <database> …`: the Yahoo! Cloud Serving Benchmark against aiokv's store
 * and others. One
 * interrupt ends a phase early with the results so far; another one, later, ends the process.
 */
import { cli } from './cli.ts';

const interrupt = new AbortController();
let interruptedMs = Infinity;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    // A terminal and npm's script both pass the same signal on, one right after the other.
    if (performance.now() - interruptedMs > 1000) process.exit(130);
    interruptedMs = Math.min(interruptedMs, performance.now());
    interrupt.abort();
  });
}

process.exitCode = await cli(
  process.argv.slice(2),
  { out: (text) => process.stdout.write(text), err: (text) => process.stderr.write(text) },
  interrupt.signal,
);
