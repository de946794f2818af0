/** The tree of commands, for commander. It knows names and flags; what a command does is in `commands/`. */
import { Command } from 'commander';
import { addCompletion } from './commands/completion.ts';
import { addDumpCommands } from './commands/dump.ts';
import { addMaintenanceCommands } from './commands/maintain.ts';
import { addMeasureCommands } from './commands/measure.ts';
import { addReadCommands } from './commands/read.ts';
import { addStat } from './commands/stat.ts';
import { addTransferCommands } from './commands/transfer.ts';
import { addWriteCommands } from './commands/write.ts';
import { addRepl } from './repl.ts';
import type { RunLine } from './repl.ts';
import type { Session } from './session.ts';
import { VERSION } from './version.ts';

const CLOSING = `
A directory is that of a store. One process has a store open at a time.
Keys and values are text; --hex takes and gives bytes. Output is for people on a terminal, and raw in a pipe.

Exit codes: 0 done, 1 a key is not there, 2 called wrongly, 3 the store cannot be opened, 4 something is
damaged, 5 failed otherwise, 130 and 143 ended by a signal.

  $ aiokv COMMAND --help   flags and examples of a command`;

/** @param runLine runs a line of the `repl` */
export function programFor(session: Session, runLine: RunLine): Command {
  const program = new Command('aiokv')
    .description('Looks into stores of @aiokv/kv, and changes them.')
    .usage('COMMAND DIRECTORY [ARGUMENTS] [FLAGS]')
    .version(VERSION, '-V, --version', 'print the version')
    .option('--verbose', 'tell where an error comes from')
    .addHelpText('after', CLOSING)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void session.output.write(text),
      writeErr: (text) => session.messages.writeNow(text),
      // What is wrong is told once, by whoever runs it.
      outputError: () => undefined,
      getOutHelpWidth: () => session.output.columns,
    });
  addStat(program, session);
  addReadCommands(program, session);
  addWriteCommands(program, session);
  addDumpCommands(program, session);
  addTransferCommands(program, session);
  addMaintenanceCommands(program, session);
  addMeasureCommands(program, session);
  addRepl(program, session, { runLine, names: () => program.commands.map((command) => command.name()) });
  addCompletion(program, session);
  return program;
}
