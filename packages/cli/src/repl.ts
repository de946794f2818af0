/**
 * `repl`: commands line by line, over one store that stays open. A terminal gets a prompt, history and completion; from a
 * pipe lines are read as a script, which goes on after a line that failed, and ends with the exit code of the last such line.
 */
import { createInterface } from 'node:readline';
import type { Command } from 'commander';
import { EXIT, usageError } from './errors.ts';
import { addExamples, addStoreFlags, openFlagsOf } from './flags.ts';
import type { StoreFlags } from './flags.ts';
import type { Session } from './session.ts';
import { wordsOf } from './text/words.ts';

/** The words are made within: a line that cannot be read fails like a command. */
export type RunLine = (wordsOfLine: () => readonly string[]) => Promise<void>;

/** They have no store, or one of their own. */
const ELSEWHERE = new Set(['repl', 'bench', 'qualify', 'completion', 'load', 'import']);

/**
 * @param runLine runs one command, as at a shell, and tells of its failure
 * @param names of all commands
 */
export function addRepl(
  program: Command,
  session: Session,
  { runLine, names }: { runLine: RunLine; names: () => readonly string[] },
): void {
  const command = program
    .command('repl <directory>')
    .description('commands line by line, without the directory, over one open store')
    .option('--create', 'make the store if it is not there')
    .action(async (directory: string, flags: StoreFlags & { readonly create?: true }) => {
      const here = names().filter((name) => !ELSEWHERE.has(name));
      await session.keepStore(directory, openFlagsOf(flags, flags.create === true), async () => {
        await readLines(session, { directory, names: here, runLine });
      });
    });
  addStoreFlags(command);
  addExamples(command, [
    ['aiokv repl ./data', 'then: put user:1 Ada, scan --limit 5, help, exit'],
    ['aiokv repl ./data < commands.txt', 'a script: a command in each line, # for a remark'],
  ]);
}

interface Lines {
  readonly directory: string;
  readonly names: readonly string[];
  readonly runLine: RunLine;
}

async function readLines(session: Session, { directory, names, runLine }: Lines): Promise<void> {
  const { stdin, stdout, signal } = session.environment;
  const isTerminal = stdin.isTTY === true && session.output.isTerminal;
  const lines = createInterface({
    input: stdin,
    ...(isTerminal ? { output: stdout, prompt: 'aiokv> ' } : {}),
    terminal: isTerminal,
    completer: (line: string) => [names.filter((name) => name.startsWith(line)).map((name) => `${name} `), line],
  });
  const close = (): void => lines.close();
  // As Ctrl-D; without it readline would end the process by a signal of its own.
  lines.on('SIGINT', close);
  signal.addEventListener('abort', close, { once: true });
  try {
    if (isTerminal) lines.prompt();
    for await (const line of lines) {
      const trimmed = line.trim();
      if (trimmed === 'exit' || trimmed === 'quit') break;
      if (trimmed !== '' && !trimmed.startsWith('#')) await runWords(session, trimmed, { directory, names, runLine });
      session.checkSignal();
      if (isTerminal) lines.prompt();
    }
    session.checkSignal();
    // Whoever types has seen what failed.
    if (isTerminal) session.exitCode = EXIT.done;
  } finally {
    signal.removeEventListener('abort', close);
    lines.close();
  }
}

async function runWords(session: Session, line: string, { directory, names, runLine }: Lines): Promise<void> {
  if (line === 'help') {
    await session.output.write(`${names.join(' ')} exit\n\`COMMAND --help\` has flags; leave the directory out.\n`);
    await session.output.flush();
    return;
  }
  await runLine(() => {
    const [name = '', ...rest] = wordsOf(line);
    // They would be run over the store that is open here.
    if (ELSEWHERE.has(name)) throw usageError(`${name} is no command for a line`, `at a shell: aiokv ${name} --help`);
    return names.includes(name) ? [name, directory, ...rest] : [name];
  });
}
