/**
 * Arguments of a benchmark, and the text of its --help: a table says what each option takes, what it means and what it
 * is when it is not given. Nothing is opened here.
 */
import { parseArgs } from 'node:util';
import type { Durability } from '@aiokv/kv';
import { parseSize } from '../aio-bench/options.ts';

export const DURABILITIES: readonly Durability[] = ['flushed', 'written', 'buffered'];

export interface Rule {
  /** What a value looks like; undefined for a flag. */
  readonly takes?: string;
  readonly describe: string;
  readonly default?: string;
  /** May be given more than once. */
  readonly isList?: boolean;
}

/** What is wrong before anything was measured: shown as its message, without a stack, with exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export class Arguments<Name extends string> {
  readonly #values: Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>;
  readonly #rules: Readonly<Record<Name, Rule>>;

  /** @throws UsageError */
  constructor(rules: Readonly<Record<Name, Rule>>, args: readonly string[]) {
    const options = Object.entries<Rule>(rules).map(([name, rule]) => {
      const type = rule.takes === undefined ? ('boolean' as const) : ('string' as const);
      return [name, { type, multiple: rule.isList === true }] as const;
    });
    this.#rules = rules;
    try {
      this.#values = parseArgs({ args: [...args], options: Object.fromEntries(options) }).values;
    } catch (error) {
      throw new UsageError(`${(error as Error).message}; --help lists what there is`, { cause: error });
    }
  }

  flag(name: Name): boolean {
    return this.#values[name] === true;
  }

  isGiven(name: Name): boolean {
    return this.#values[name] !== undefined;
  }

  text(name: Name): string {
    return (this.#values[name] ?? this.#rules[name].default ?? '') as string;
  }

  list(name: Name): string[] {
    return (this.#values[name] ?? []) as string[];
  }

  /** A whole number, of which `k` and `M` are powers of 1000. */
  number(name: Name, least: number, most: number): number {
    const text = this.text(name);
    const [, digits, unit = ''] = /^(\d+)([kM]?)$/.exec(text) ?? [];
    const value = Number(digits) * ({ k: 1000, M: 1_000_000 }[unit] ?? 1);
    if (digits === undefined || value < least || value > most) {
      throw new UsageError(`--${name} takes a whole number from ${least} to ${most}, not '${text}'`);
    }
    return value;
  }

  /** Bytes, of which `k`, `M` and `G` are powers of 1024. */
  size(name: Name, leastBytes: number): number {
    const bytes = parseSize(this.text(name));
    if (bytes === undefined || bytes < leastBytes) {
      throw new UsageError(`--${name} takes a size from ${leastBytes} bytes, such as 256M, not '${this.text(name)}'`);
    }
    return bytes;
  }

  oneOf<T extends string>(name: Name, choices: readonly T[]): T {
    return this.#choice(name, choices, this.text(name));
  }

  /** A list with commas; what is named twice counts once. */
  someOf<T extends string>(name: Name, choices: readonly T[]): T[] {
    const items = this.text(name).split(',');
    return [...new Set(items.map((item) => this.#choice(name, choices, item.trim())))];
  }

  /** Options of a store, each as `name=value`; the store itself says which there are and what they may be. */
  storeOptions(name: Name): Record<string, string | number | boolean> {
    const entries = this.list(name).map((text) => {
      const [, key, value] = /^(\w+)=(.+)$/.exec(text) ?? [];
      if (key === undefined || value === undefined) {
        throw new UsageError(`--${name} takes an option of a store, such as queueDepth=64, not '${text}'`);
      }
      if (value === 'true' || value === 'false') return [key, value === 'true'] as const;
      return [key, /^\d+(?:\.\d+)?$/.test(value) ? Number(value) : value] as const;
    });
    return Object.fromEntries(entries);
  }

  #choice<T extends string>(name: Name, choices: readonly T[], text: string): T {
    const found = choices.find((choice) => choice === text);
    if (found === undefined) throw new UsageError(`--${name} takes ${choices.join(', ')}, not '${text}'`);
    return found;
  }
}

/** @param intent what the benchmark is for, and what its exit codes mean */
export function usageOf(script: string, rules: Readonly<Record<string, Rule>>, intent: string): string {
  const lefts = Object.entries(rules).map(
    ([name, { takes }]) => `  --${name}${takes === undefined ? '' : ` ${takes}`}`,
  );
  const width = lefts.reduce((most, left) => Math.max(most, left.length), 0);
  const lines = Object.values(rules).map(
    (rule, i) =>
      `${(lefts[i] as string).padEnd(width)}  ${rule.describe}${rule.default === undefined ? '' : ` (${rule.default})`}`,
  );
  return `usage: npm run -s ${script} -- [options]\n\n${intent}\n\n${lines.join('\n')}\n`;
}
