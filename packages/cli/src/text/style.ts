/** Colours, where somebody looks. `NO_COLOR` turns them off, `FORCE_COLOR` on, as elsewhere. */
import { styleText } from 'node:util';

type Format = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

export type Style = (format: Format, text: string) => string;

export function styleFor(isTerminal: boolean, variables: Readonly<Record<string, string | undefined>>): Style {
  const { NO_COLOR: none = '', FORCE_COLOR: forced = '', TERM: terminal } = variables;
  const isOn = none === '' && ((isTerminal && terminal !== 'dumb') || (forced !== '' && forced !== '0'));
  // Whether it fits was decided here; left to itself, styleText would look at the stream of the process.
  return isOn ? (format, text) => styleText(format, text, { validateStream: false }) : (_, text) => text;
}
