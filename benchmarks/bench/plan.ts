/**
 * What is measured, in which order. Pure: the same options give the same plan, which is how a run that was interrupted
 * finds what is left to do.
 *
 * ```
 *   round 1   depths │ written: aiokv, level, lmdb, … │ none: aiokv, … │ flushed: aiokv, …
 *   round 2   depths │ written: level, lmdb, …, aiokv │ …      each round begins with another store
 *
 *   turn      load ─ cold at depths ─ hot C A B F D E ─ load curve ─ churn      one process, one fresh directory
 * ```
 */
import { STORE_NAMES, gapOf } from '../stores/catalog.ts';
import type { StoreName } from '../stores/catalog.ts';
import type { DurabilityClass } from '../stores/store.ts';

/** `aiokv-puts` is another way to write to the same store. */
export type BenchStoreName = Exclude<StoreName, 'aiokv-puts'>;
export const BENCH_STORES = STORE_NAMES.filter((name): name is BenchStoreName => name !== 'aiokv-puts');

/** `cold`: each record once, after the page cache was given back; letters: the workloads; `curve`: C at a rate. */
export type PhaseKind = 'load' | 'cold' | 'A' | 'B' | 'C' | 'D' | 'E' | 'F' | 'curve' | 'commits' | 'churn' | 'driver';

/** How large the whole is. */
export interface Scale {
  readonly rounds: number;
  readonly records: number;
  /** Sizes of records: fields times bytes of a field. */
  readonly recordSizes: readonly (readonly [fields: number, bytes: number])[];
  readonly clients: number;
  readonly secondsOfPhase: number;
  readonly secondsOfWarmUp: number;
  readonly secondsOfChurn: number;
  readonly depths: readonly number[];
  /** Of each store's own capacity. */
  readonly loadParts: readonly number[];
  readonly depthFileBytes: number;
  /** Rounds but the first are left out where this would be exceeded; null: never. */
  readonly budgetSeconds: number | null;
}

const COMMON = { clients: 128, depths: [1, 8, 32, 128], loadParts: [0.25, 0.5, 0.75, 0.9] };

export const QUICK: Scale = {
  ...COMMON,
  rounds: 2,
  records: 20_000,
  recordSizes: [[10, 100]],
  secondsOfPhase: 0.6,
  secondsOfWarmUp: 0.2,
  secondsOfChurn: 1.5,
  depthFileBytes: 256 * 2 ** 20,
  budgetSeconds: 330,
};

export const FULL: Scale = {
  ...COMMON,
  rounds: 3,
  records: 200_000,
  recordSizes: [
    [10, 100],
    [1, 100],
  ],
  secondsOfPhase: 5,
  secondsOfWarmUp: 2,
  secondsOfChurn: 30,
  depthFileBytes: 2 ** 30,
  budgetSeconds: null,
};

export interface PlannedTurn {
  readonly id: string;
  readonly store: BenchStoreName;
  readonly durability: DurabilityClass;
  readonly fields: number;
  readonly fieldBytes: number;
  readonly records: number;
  readonly round: number;
  readonly phases: readonly PhaseKind[];
}

export interface Plan {
  readonly scale: Scale;
  readonly stores: readonly BenchStoreName[];
  readonly classes: readonly DurabilityClass[];
  readonly seed: number;
  /** Of a memory cgroup for each turn; null: none. */
  readonly memoryBytes: number | null;
  readonly isQuick: boolean;
}

export type Step =
  { readonly kind: 'depths'; readonly round: number } | { readonly kind: 'turn'; readonly turn: PlannedTurn };

const HOT: readonly PhaseKind[] = ['C', 'A', 'B', 'F', 'D', 'E'];

export function stepsOf(plan: Plan): Step[] {
  const steps: Step[] = [];
  for (let round = 0; round < plan.scale.rounds; round++) {
    steps.push({ kind: 'depths', round });
    for (const durability of plan.classes) {
      for (const size of plan.scale.recordSizes) {
        const phases = phasesOf(plan, durability, round);
        if (phases.length === 0) continue;
        for (const store of rotated(plan.stores, round)) {
          if (gapOf(store, durability) !== null) continue;
          steps.push({ kind: 'turn', turn: turnOf(plan, store, durability, size, round, phases) });
        }
      }
    }
  }
  return steps;
}

/** A quick run has all workloads in one class, and of the others what tells them apart. */
function phasesOf({ isQuick }: Plan, durability: DurabilityClass, round: number): PhaseKind[] {
  const once: PhaseKind[] = round === 0 ? ['curve', 'churn'] : [];
  if (durability === 'written') return ['load', 'cold', ...HOT, ...once];
  if (!isQuick) return ['load', ...HOT, ...(durability === 'flushed' ? (['commits'] as const) : []), ...once];
  if (durability === 'none') return round === 0 ? ['load', 'C', 'A'] : [];
  return ['load', 'commits'];
}

function turnOf(
  { scale, isQuick }: Plan,
  store: BenchStoreName,
  durability: DurabilityClass,
  [fields, fieldBytes]: readonly [number, number],
  round: number,
  phases: readonly PhaseKind[],
): PlannedTurn {
  const records = isQuick && durability === 'flushed' ? Math.ceil(scale.records / 10) : scale.records;
  const id = `${round + 1}/${durability}/${fields * fieldBytes}/${store}`;
  return { id, store, durability, fields, fieldBytes, records, round, phases };
}

function rotated<T>(all: readonly T[], by: number): T[] {
  return all.map((_, i) => all[(i + by) % all.length] as T);
}
