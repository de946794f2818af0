/** The arguments, as the reference's script and client take them, and the text of --help. */
import { describeDatabases } from './databases.ts';
import type { Phase } from './databases.ts';
import { readPropertiesFile } from './properties-file.ts';
import { describeProperties } from './settings.ts';
import { SetupError } from './setup-error.ts';

export interface Command {
  readonly phase: Phase;
  readonly database: string;
  readonly properties: ReadonlyMap<string, string>;
}

/** Options that set one property to the argument after them. */
const VALUE_OPTIONS: Readonly<Record<string, string>> = {
  '-threads': 'threadcount',
  '-target': 'target',
  '-l': 'label',
};

/** Files are read in their order; whatever the command line sets itself beats them all. */
export function parseCommandLine(args: readonly string[]): Command {
  const [phase, database, ...options] = args;
  if (phase !== 'load' && phase !== 'run') {
    throw new SetupError(`the first argument must be load or run, not '${phase ?? ''}': see --help`);
  }
  if (database === undefined || database.startsWith('-')) {
    throw new SetupError(`${phase} needs the name of a database, for example '${phase} kv': see --help`);
  }
  const ofFiles = new Map<string, string>();
  const ofOptions = new Map<string, string>();
  for (let i = 0; i < options.length; i++) {
    const option = options[i] as string;
    const takeValue = (): string => {
      const value = options[++i];
      if (value === undefined) throw new SetupError(`${option} needs a value after it: see --help`);
      return value;
    };
    const named = Object.hasOwn(VALUE_OPTIONS, option) ? VALUE_OPTIONS[option] : undefined;
    if (option === '-s') ofOptions.set('status', 'true');
    else if (option === '-P') for (const [name, value] of readPropertiesFile(takeValue())) ofFiles.set(name, value);
    else if (option === '-p') ofOptions.set(...splitProperty(takeValue()));
    else if (named !== undefined) ofOptions.set(named, takeValue());
    else throw new SetupError(`there is no option ${option}: see --help`);
  }
  return { phase, database, properties: new Map([...ofFiles, ...ofOptions]) };
}

export function usage(): string {
  return [
    'usage: npm run -s ycsb -- load|run <database> [options]',
    '',
    'load inserts the records of a workload, run does its operations on them.',
    '',
    'databases:',
    ...describeDatabases(),
    '',
    'options:',
    '  -P <file>        properties from a file, such as benchmarks/workloads/workloada; of several, later ones win',
    '  -p <name=value>  one property; beats those of files',
    '  -threads <n>     concurrent clients, as -p threadcount=n',
    '  -target <n>      operations a second to attempt, as -p target=n',
    '  -s               lines about the progress on stderr',
    '  -l <label>       text before each of those lines',
    '  --help           this text',
    '',
    'properties, with their defaults:',
    ...describeProperties(),
    '',
    'Exit code: 0 all went well; 1 operations failed or values were not as expected; 2 the arguments are wrong',
    'or the database cannot be opened.',
    '',
  ].join('\n');
}

function splitProperty(text: string): [string, string] {
  const at = text.indexOf('=');
  if (at <= 0) throw new SetupError(`-p ${text}: expected name=value, for example -p operationcount=99999`);
  return [text.slice(0, at), text.slice(at + 1)];
}
