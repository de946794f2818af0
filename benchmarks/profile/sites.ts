/**
 * Reads the profiles that V8 writes, and sums them up by function: what each took by itself, and with all that it called.
 *
 * ```
 *   CPU          nodes with their children's ids │ samples: ids of nodes │ microseconds before each sample
 *   allocation   a tree of nodes, each with the bytes that were allocated there
 * ```
 */
import { readFileSync } from 'node:fs';

interface Site {
  readonly name: string;
  /** Microseconds, or bytes. */
  readonly own: number;
  readonly withCalled: number;
}

export interface Sites {
  readonly total: number;
  /** Those with the most of their own first. */
  readonly sites: readonly Site[];
}

interface CallFrame {
  readonly functionName: string;
  readonly url: string;
  readonly lineNumber: number;
}

interface CpuProfile {
  readonly nodes: readonly { readonly id: number; readonly callFrame: CallFrame; readonly children?: number[] }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

interface HeapNode {
  readonly callFrame: CallFrame;
  readonly selfSize: number;
  readonly children: readonly HeapNode[];
}

class Sums {
  total = 0;
  readonly #own = new Map<string, number>();
  readonly #withCalled = new Map<string, number>();

  /** @param stack names, the innermost first; a function that calls itself is there more than once */
  add(stack: readonly string[], amount: number): void {
    this.total += amount;
    const [innermost] = stack;
    if (innermost !== undefined) this.#own.set(innermost, (this.#own.get(innermost) ?? 0) + amount);
    for (const name of new Set(stack)) this.#withCalled.set(name, (this.#withCalled.get(name) ?? 0) + amount);
  }

  sites(): Site[] {
    return [...this.#withCalled]
      .map(([name, withCalled]) => ({ name, own: this.#own.get(name) ?? 0, withCalled }))
      .toSorted((a, b) => b.own - a.own);
  }
}

function nameOf({ functionName, url, lineNumber }: CallFrame): string {
  const file = url.split('/').at(-1) ?? '';
  return `${functionName === '' ? '(anonymous)' : functionName}${file === '' ? '' : ` ${file}:${lineNumber + 1}`}`;
}

export function processorSites(path: string): Sites {
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(path, 'utf8')) as CpuProfile;
  const parents = new Map<number, number>();
  const names = new Map<number, string>();
  for (const { id, callFrame, children = [] } of nodes) {
    names.set(id, nameOf(callFrame));
    for (const child of children) parents.set(child, id);
  }
  const sums = new Sums();
  for (const [i, sample] of samples.entries()) {
    const stack: string[] = [];
    for (let id: number | undefined = sample; id !== undefined; id = parents.get(id))
      stack.push(names.get(id) as string);
    sums.add(stack, timeDeltas[i] as number);
  }
  return { total: sums.total, sites: sums.sites() };
}

export function allocationSites(path: string): Sites {
  const { head } = JSON.parse(readFileSync(path, 'utf8')) as { head: HeapNode };
  const sums = new Sums();
  const visit = (node: HeapNode, outer: readonly string[]): void => {
    const stack = [nameOf(node.callFrame), ...outer];
    if (node.selfSize > 0) sums.add(stack, node.selfSize);
    for (const child of node.children) visit(child, stack);
  };
  visit(head, []);
  return { total: sums.total, sites: sums.sites() };
}

export function formatSites({ total, sites }: Sites, top: number): string {
  const percent = (amount: number): string => `${((100 * amount) / Math.max(1, total)).toFixed(1)} %`.padStart(9);
  const lines = sites
    .slice(0, top)
    .map(({ name, own, withCalled }) => `${percent(own)}${percent(withCalled)}  ${name}`);
  return ['      own   called', ...lines].join('\n');
}
