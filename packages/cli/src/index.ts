export { run } from './run.ts';
export { CliError, EXIT, Interrupted } from './errors.ts';
export type { CliErrorCode, ExitCode } from './errors.ts';
export type { Environment, Sink, Source } from './io/environment.ts';
