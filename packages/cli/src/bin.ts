#!/usr/bin/env node
/**
 * `aiokv`: gives the process to one run. A first signal asks the run to end, which closes its store; a second one does not
 * wait.
 */
import process from 'node:process';
import { EXIT, Interrupted } from './errors.ts';
import { run } from './run.ts';

const ending = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.on(name, () => {
    if (ending.signal.aborted) process.exit(name === 'SIGINT' ? EXIT.interrupted : EXIT.terminated);
    ending.abort(new Interrupted(name));
  });
}
process.exitCode = await run(process.argv.slice(2), { signal: ending.signal });
// What nobody reads any more must not keep the process alive.
process.stdin.destroy();
