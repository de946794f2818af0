/**
 * One run of the command line: arguments in, an exit code out. It never ends the process and never throws for what a command
 * meets; `bin.ts` gives it the process.
 */
import { inspect } from 'node:util';
import { CommanderError } from 'commander';
import type { Command } from 'commander';
import { EXIT, Interrupted, OutputClosed, failureOf, usageError } from './errors.ts';
import type { ExitCode } from './errors.ts';
import { environmentOf } from './io/environment.ts';
import type { Environment } from './io/environment.ts';
import { programFor } from './program.ts';
import { Session } from './session.ts';
import { styleFor } from './text/style.ts';

/**
 * @param args what stands behind `aiokv` at a shell
 * @param given what takes the place of the process's own
 */
export async function run(args: readonly string[], given: Partial<Environment> = {}): Promise<ExitCode> {
  const session = new Session(environmentOf(given));
  try {
    await parse(session, args);
    await session.output.flush();
    return session.exitCode;
  } catch (error) {
    return tell(session, error, args.includes('--verbose'));
  } finally {
    session.release();
  }
}

async function parse(session: Session, args: readonly string[]): Promise<void> {
  const program = programFor(session, (words) => runLine(session, words));
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Help and version that were asked for are printed by now.
    if (error.exitCode === 0) return;
    if (error.code === 'commander.help') session.exitCode = EXIT.usage;
    else throw usageError(error.message.replace(/^error: /, ''), remedyOf(program, args));
  }
}

/** A line of the `repl`: what fails is told, and the next line goes on. */
async function runLine(session: Session, words: () => readonly string[]): Promise<void> {
  try {
    await parse(session, words());
    await session.output.flush();
  } catch (error) {
    if (error instanceof OutputClosed || error instanceof Interrupted) throw error;
    session.exitCode = await tell(session, error, false);
  }
}

function remedyOf(program: Command, args: readonly string[]): string {
  const name = args.find((arg) => program.commands.some((command) => command.name() === arg));
  return name === undefined ? '`aiokv --help` lists the commands' : `\`aiokv ${name} --help\` tells what it takes`;
}

async function tell(session: Session, error: unknown, isVerbose: boolean): Promise<ExitCode> {
  // As `aiokv scan | head` ends: nobody is left to tell.
  if (error instanceof OutputClosed) return EXIT.done;
  // What was printed before belongs in front of the message.
  await session.output.flush().catch(() => undefined);
  if (error instanceof Interrupted) return error.exitCode;
  const { code, message, remedy, exitCode } = failureOf(error);
  const style = styleFor(session.messages.isTerminal, session.environment.variables);
  session.say(`${style('red', 'aiokv:')} ${message} [${code}]`);
  if (remedy !== undefined) session.say(`${style('dim', 'try:')} ${remedy}`);
  if (isVerbose) session.say(inspect(error, { depth: 6 }));
  return exitCode;
}
