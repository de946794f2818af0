/** A line of the `repl` as words, as a shell makes them: blanks divide, quotes and backslashes keep together. */
import { usageError } from '../errors.ts';

export function wordsOf(line: string): string[] {
  const words: string[] = [];
  let word: string | null = null;
  let quote: string | null = null;
  for (let i = 0; i < line.length; i++) {
    const mark = line[i] as string;
    if (quote === null && /\s/.test(mark)) {
      if (word !== null) words.push(word);
      word = null;
    } else if (quote === null && (mark === '"' || mark === "'")) {
      quote = mark;
      word ??= '';
    } else if (mark === quote) quote = null;
    else {
      // In single quotes a backslash is one.
      const isEscape = mark === '\\' && quote !== "'" && i + 1 < line.length;
      if (isEscape) i++;
      word = (word ?? '') + (line[i] as string);
    }
  }
  if (quote !== null) throw usageError(`a ${quote} is not closed`, 'close it, or put a backslash in front of it');
  if (word !== null) words.push(word);
  return words;
}
