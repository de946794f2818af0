/** `completion`: what a shell needs to complete commands and flags, made of the tree of commands itself. */
import type { Command } from 'commander';
import { Argument } from 'commander';
import { addExamples } from '../flags.ts';
import type { Session } from '../session.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

export function addCompletion(program: Command, session: Session): void {
  const command = program
    .command('completion')
    .description('print what a shell completes by')
    .addArgument(new Argument('<shell>', 'the shell').choices(SHELLS))
    .action(async (shell: Shell) => {
      await session.output.write(SCRIPTS[shell](commandsOf(program)));
    });
  addExamples(command, [
    ['source <(aiokv completion bash)', 'in ~/.bashrc'],
    ['source <(aiokv completion zsh)', 'in ~/.zshrc, behind compinit'],
    ['aiokv completion fish > ~/.config/fish/completions/aiokv.fish', 'once'],
  ]);
}

interface Flag {
  readonly name: string;
  readonly takesValue: boolean;
  readonly what: string;
}

interface Named {
  readonly name: string;
  readonly what: string;
  readonly flags: readonly Flag[];
  /** Words that the first argument may be. */
  readonly choices: readonly string[];
}

function commandsOf(program: Command): Named[] {
  return program.commands.map((command) => ({
    name: command.name(),
    what: command.description(),
    flags: [
      ...command.options.map((option) => ({
        name: option.long as string,
        takesValue: option.required,
        what: option.description,
      })),
      { name: '--help', takesValue: false, what: 'flags and examples' },
    ],
    choices: command.registeredArguments[0]?.argChoices ?? [],
  }));
}

const SCRIPTS: Readonly<Record<Shell, (commands: readonly Named[]) => string>> = { bash, zsh, fish };

function bash(commands: readonly Named[]): string {
  const words = (names: readonly string[]): string => `COMPREPLY=($(compgen -W '${names.join(' ')}' -- "$current"))`;
  const flags = commands.map(({ name, flags }) => `      ${name}) ${words(flags.map((flag) => flag.name))} ;;`);
  const choices = commands
    .filter((command) => command.choices.length > 0)
    .map(({ name, choices }) => `    ${name}) ${words(choices)} ;;`);
  return `# Completion of aiokv for bash: source <(aiokv completion bash)
_aiokv() {
  local current=\${COMP_WORDS[COMP_CWORD]}
  if [ "$COMP_CWORD" -eq 1 ]; then
    ${words(commands.map(({ name }) => name))}
    return
  fi
  if [[ $current == -* ]]; then
    case \${COMP_WORDS[1]} in
${flags.join('\n')}
    esac
    return
  fi
  case \${COMP_WORDS[1]} in
${choices.join('\n')}
    *) COMPREPLY=($(compgen -f -- "$current")) ;;
  esac
}
complete -o filenames -F _aiokv aiokv
`;
}

/** For single quotes, in which zsh and fish have other escapes. */
function quoted(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll("'", '’').replaceAll(':', '\\:');
}

function zsh(commands: readonly Named[]): string {
  const names = commands.map(({ name, what }) => `    '${name}:${quoted(what)}'`);
  const cases = commands.map(({ name, flags, choices }) => {
    const specs = flags.map((flag) => `'${flag.name}[${bracketed(flag.what)}]${flag.takesValue ? ':value:' : ''}'`);
    const rest = choices.length > 0 ? `'*:word:(${choices.join(' ')})'` : "'*:file:_files'";
    return `    ${name}) _arguments ${[...specs, rest].join(' ')} ;;`;
  });
  return `#compdef aiokv
# Completion of aiokv for zsh: source <(aiokv completion zsh)
_aiokv() {
  local -a commands
  commands=(
${names.join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
${cases.join('\n')}
  esac
}
compdef _aiokv aiokv
`;
}

function bracketed(text: string): string {
  return quoted(text).replaceAll('[', '\\[').replaceAll(']', '\\]');
}

function fish(commands: readonly Named[]): string {
  const plain = (text: string): string => text.replaceAll("'", '’');
  const lines = commands.flatMap(({ name, what, flags, choices }) => [
    `complete -c aiokv -n __fish_use_subcommand -f -a ${name} -d '${plain(what)}'`,
    ...flags.map(
      (flag) =>
        `complete -c aiokv -n '__fish_seen_subcommand_from ${name}' -l ${flag.name.slice(2)}${flag.takesValue ? ' -r' : ''} -d '${plain(flag.what)}'`,
    ),
    ...(choices.length > 0
      ? [`complete -c aiokv -n '__fish_seen_subcommand_from ${name}' -f -a '${choices.join(' ')}'`]
      : []),
  ]);
  return `# Completion of aiokv for fish: aiokv completion fish > ~/.config/fish/completions/aiokv.fish\n${lines.join('\n')}\n`;
}
