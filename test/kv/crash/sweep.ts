/**
 * Lets every I/O of short random histories meet every fault, once and from then on, and judges what the
 * store says meanwhile (life.ts) and what is found afterwards on the healed disk.
 *
 * A case is a history, the index of an I/O, a kind of fault, and once or sticky. Afterwards the store is
 * opened again: where the process ended, on the same machine; always, on what a power cut at the end
 * leaves. What must be found depends on what the device did:
 *
 * | the device                          | opening and reading  | groups that must be there, at least                        |
 * |-------------------------------------|----------------------|------------------------------------------------------------|
 * | told the truth: EIO, ENOSPC, short, | succeed              | those acknowledged as flushed; on the same machine those    |
 * | flush-failure, never-completes      |                      | acknowledged as written, too, unless a flush failed         |
 * | lied to readers: bit-flip,          | succeed              | as above: what is stored is right                           |
 * | stale-read                          |                      |                                                             |
 * | lost a write, and the store was     | fail with a code, or | all that were called: the superblock knows the end          |
 * | closed after that                   | succeed              |                                                             |
 * | lost a write, no close              | the same             | those flushed before, and those whose flush is told by a    |
 * |                                     |                      | later frame that is there and can be found                  |
 * | lost all writes from some moment on | the same             | those flushed before                                        |
 * | misdirected a write, then a close   | the same             | all that were called                                        |
 * | misdirected anything else           | the same             | none: it may have destroyed what proves the flushes         |
 *
 * In every case what is found is a prefix; a key that can be read has the value of that prefix.
 *
 * Why a loss may be allowed at all: the last flush before a crash may have been confirmed without anything
 * on the disk that says so (docs/durability.md). A device that loses just these writes, or loses all from
 * some moment on, leaves the same bytes as a power cut before them.
 *
 * A device that keeps on answering with older sectors shows the disk as it was at an earlier moment. A
 * store that is opened on that may be any prefix; it is read and not written, and the truth must be
 * untouched afterwards.
 */
import { Random } from '@aiokv/core';
import { SimulatedDisk } from '@aiokv/aio';
import type { Planted } from '../../../packages/kv/src/failure/planted.ts';
import { SEGMENT_HEADER_BYTES, SegmentKind, readSegmentHeader } from '../../../packages/kv/src/format/segment.ts';
import { GEOMETRY, HistoryMaker, Ledger, ALL_KEYS, call, contentsOf, describeStep, readAll } from './history.ts';
import type { Group, Step } from './history.ts';
import { Life, Violation, codeOf, openStill, requirePrefix } from './life.ts';
import type { Admissible, Ending } from './life.ts';
import { shrink } from './shrink.ts';
import { Watch } from './watch.ts';
import type { DiskRequest } from './watch.ts';

const FAULT_KINDS = [
  'EIO',
  'ENOSPC',
  'short',
  'bit-flip',
  'lost-write',
  'misdirected-write',
  'stale-read',
  'flush-failure',
  'never-completes',
] as const;
type FaultKind = (typeof FAULT_KINDS)[number];

export interface SweepFault {
  readonly at: number;
  readonly kind: FaultKind;
  readonly sticky: boolean;
}

/** Which faults a request can meet; the simulated disk passes over the others. */
const VICTIMS: Readonly<Record<FaultKind, readonly string[]>> = {
  EIO: ['read', 'write', 'durable write', 'fsync', 'fdatasync', 'preallocate', 'truncate'],
  ENOSPC: ['write', 'durable write', 'preallocate'],
  short: ['read', 'write', 'durable write'],
  'bit-flip': ['read'],
  'lost-write': ['write', 'durable write'],
  'misdirected-write': ['write', 'durable write'],
  'stale-read': ['read'],
  'flush-failure': ['fsync', 'fdatasync', 'durable write'],
  'never-completes': ['read', 'write', 'durable write', 'fsync', 'fdatasync', 'preallocate', 'truncate'],
};

const HEADER_BYTES = 256 * 1024;
const DATA_FILE = '/store/data.aiokv';
const CUTS = ['none', 'all', 'subset', 'torn'] as const;

/** What a history begins with. */
interface Start {
  readonly name: string;
  /** A disk that nobody uses, or null for none at all. */
  readonly disk: SimulatedDisk | null;
  readonly ledger: Ledger;
}

export interface SweepHistory {
  readonly seed: number;
  readonly start: Start;
  readonly steps: readonly Step[];
  readonly closes: boolean;
  readonly planted: Planted;
}

const STARTS = 12;
/** Further starts, of stores with segments that can be cleaned. One in so many histories has one of them. */
const GARBAGE_STARTS = 6;
const GARBAGE_EVERY = 5;
const starts = new Map<number, Promise<Start>>();

/** Stores that were closed, or left by a crash, with and without a checkpoint. */
function startOf(number: number): Promise<Start> {
  let start = starts.get(number);
  if (start === undefined) {
    start = makeStart(number);
    starts.set(number, start);
  }
  return start;
}

async function makeStart(number: number): Promise<Start> {
  const ledger = new Ledger();
  if (number < 0) return { name: 'no store', disk: null, ledger };
  const random = new Random(7000 + number);
  const disk = new SimulatedDisk({ seed: number });
  const maker = new HistoryMaker(random);
  const store = await openStill(disk);
  const isLeft = number % 2 === 1;
  const groups = number < 2 ? 0 : 2 + random.below(4);
  const checkpointAt = number % 3 !== 1 ? random.below(groups) : -1;
  const isFull = number >= STARTS / 2;
  const hasGarbage = number >= STARTS;
  if (hasGarbage) {
    const prelude = maker.prelude();
    if (prelude.type === 'prelude') for (const group of prelude.groups) await call(store, ledger, group);
    await store.checkpoint();
    ledger.acknowledge(ledger.called);
  }
  if (isFull) await call(store, ledger, { ...maker.allKeys(), durability: 'flushed' });
  for (let i = 0; i < groups; i++) {
    const group: Group = { ...maker.group(9000), durability: 'flushed' };
    await call(store, ledger, group);
    if (i === checkpointAt) await store.checkpoint();
  }
  if (!isLeft) await store.close();
  const image = disk.powerCut('none', random);
  disk.stop();
  const others = `${isFull ? ', with all keys' : ''}${hasGarbage ? ', with garbage' : ''}`;
  const checkpoint = `${checkpointAt >= 0 ? ', with a checkpoint' : ''}${others}`;
  return { name: `a store ${isLeft ? 'left' : 'closed'} after ${groups} groups${checkpoint}`, disk: image, ledger };
}

export async function historyOf(seed: number, planted: Planted = {}): Promise<SweepHistory> {
  const random = new Random(seed);
  const usual = random.below(STARTS);
  const hasGarbage = seed % GARBAGE_EVERY === 1;
  const number = hasGarbage ? STARTS + (usual % GARBAGE_STARTS) : usual;
  const start = await startOf(seed % 50 === 0 ? -1 : number);
  const steps = new HistoryMaker(random, 1000).short();
  if (hasGarbage)
    steps.splice(random.below(steps.length + 1), 0, { type: 'checkpoint', isCompaction: seed % 4 === 1, writes: [] });
  return { seed, start, steps, closes: random.chance(0.75), planted };
}

export function describeHistory({ start, steps, closes }: SweepHistory): string {
  const lines = [start.name, ...steps.map(describeStep), closes ? 'settle, close' : 'settle, the machine stops'];
  return lines.map((line) => `    ${line}`).join('\n');
}

export interface Run {
  /** What is wrong, or null. */
  readonly violation: string | null;
  /** The kind of each request, in their order. */
  readonly requests: readonly string[];
}

/** Keeps account of what a fault did to one run. */
class Account {
  readonly fault: SweepFault | null;
  readonly ledger: Ledger;
  readonly requests: string[] = [];
  struck = 0;
  hasFlushFailed = false;
  #acknowledgedBefore = 0;
  #struckBeforeOpening = 0;
  readonly #lostSegments = new Set<number>();
  /** Frames that are there and say what had been flushed. */
  readonly #proofs: { segment: number; flushed: number; called: number }[] = [];

  constructor(fault: SweepFault | null, ledger: Ledger) {
    this.fault = fault;
    this.ledger = ledger;
  }

  get isWriteLie(): boolean {
    return this.struck > 0 && (this.fault?.kind === 'lost-write' || this.fault?.kind === 'misdirected-write');
  }

  submitted({ kind, offset, isDurable }: DiskRequest, isStruck: boolean): void {
    this.requests.push(isDurable ? 'durable write' : kind);
    if (isStruck) {
      if (this.struck++ === 0) this.#acknowledgedBefore = this.ledger.flushedThrough;
      if (kind === 'fdatasync' || kind === 'fsync' || isDurable) this.hasFlushFailed = true;
      if (kind === 'write') this.#lostSegments.add(offset);
    } else if (kind === 'write' && offset >= HEADER_BYTES && !this.#lostSegments.has(segmentAt(offset))) {
      const { flushedThrough: flushed, called } = this.ledger;
      this.#proofs.push({ segment: segmentAt(offset), flushed, called });
    }
  }

  /** What is found may be a loss, or an error that tells of one. */
  get mayReport(): boolean {
    return this.isWriteLie;
  }

  opening(): void {
    this.#struckBeforeOpening = this.struck;
  }

  admissible(isClosed: boolean, disk: SimulatedDisk): Admissible {
    const isForged = this.fault?.kind === 'stale-read' && this.fault.sticky && this.struck > this.#struckBeforeOpening;
    return { from: this.fewest(isClosed, true, disk), isForged, isSafe: !this.isWriteLie };
  }

  /** The table above. */
  fewest(isClosed: boolean, isSameMachine: boolean, disk: SimulatedDisk): number {
    const { fault, ledger } = this;
    if (fault === null || !this.isWriteLie) {
      return isSameMachine && !this.hasFlushFailed
        ? Math.max(ledger.writtenThrough, ledger.flushedThrough)
        : ledger.flushedThrough;
    }
    if (!fault.sticky && isClosed) return ledger.called;
    if (fault.kind === 'misdirected-write') return 0;
    if (fault.sticky) return this.#acknowledgedBefore;
    // Pages of the index prove nothing.
    const proven = this.#proofs
      .filter(({ segment, called }) => called <= ledger.flushedThrough && isLogAt(disk, segment))
      .map(({ flushed }) => flushed);
    return Math.max(this.#acknowledgedBefore, ...proven);
  }
}

/** Whether a segment of the log is there. */
function isLogAt(disk: SimulatedDisk, segment: number): boolean {
  const bytes = disk.bytesOf(DATA_FILE).slice(segment, segment + SEGMENT_HEADER_BYTES);
  if (bytes.length < SEGMENT_HEADER_BYTES) return false;
  return readSegmentHeader({ bytes, view: new DataView(bytes.buffer) })?.kind === SegmentKind.log;
}

function segmentAt(offset: number): number {
  return offset - ((offset - HEADER_BYTES) % GEOMETRY.segmentBytes);
}

/** Runs a history with a fault, or without one. */
export async function runCase(history: SweepHistory, fault: SweepFault | null): Promise<Run> {
  const { seed, start } = history;
  const random = new Random(seed ^ 0x5eed ^ ((fault?.at ?? 0) << 8));
  const disk = start.disk?.powerCut('all', new Random(seed), { seed }) ?? new SimulatedDisk({ seed });
  const account = new Account(fault, start.ledger.clone());
  let violation: string | null = null;
  try {
    await live(history, disk, account, random);
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    violation = error.message;
  }
  delete disk.onOperation;
  disk.stop();
  return { violation, requests: account.requests };
}

async function live(history: SweepHistory, disk: SimulatedDisk, account: Account, random: Random): Promise<void> {
  const { fault, ledger } = account;
  const heal = fault === null ? null : disk.inject(fault);
  const neverCompletes = fault?.kind === 'never-completes';
  const watch: Watch = new Watch(disk, (request, isStruck) => {
    account.submitted(request, isStruck);
    if (!isStruck || !neverCompletes || !life.isInSync) return;
    life.isBlocked = true;
    disk.stop();
  });
  const life: Life = new Life({
    disk,
    ledger,
    watch,
    planted: history.planted,
    opening: () => account.opening(),
    admissible: (isClosed) => account.admissible(isClosed, disk),
  });
  let ending: Ending = 'stopped';
  const living = life.run(history.steps, history.closes).then((how) => {
    ending = how;
  });
  const stuck = (): number => (life.isBlocked ? watch.inFlight : neverCompletes ? account.struck : 0);
  const hasSettled = await watch.settles(living, stuck);
  if (!hasSettled && account.struck === 0) throw new Violation('a promise never settles, without any fault');
  if (!hasSettled && !neverCompletes) throw new Violation('a promise never settles');
  watch.end();
  heal?.();
  const { isClosed } = life;
  const isSame = hasSettled && ending !== 'stopped';
  // After a close with good flushes there is nothing that a power cut could take away.
  if (!isSame || !isClosed || account.hasFlushFailed) {
    const mode = CUTS[random.below(CUTS.length)] as (typeof CUTS)[number];
    const image = disk.powerCut(mode, random);
    if (!isSame) disk.stop();
    await verify(image, account, isClosed, false, `after a power cut (${mode}) the disk`);
  }
  if (isSame) await verify(disk, account, isClosed, true, 'opened again, the store');
}

/** Opens the store of a healed disk, and compares. */
async function verify(
  disk: SimulatedDisk,
  account: Account,
  isClosed: boolean,
  isSameMachine: boolean,
  what: string,
): Promise<void> {
  const { ledger } = account;
  const from = account.fewest(isClosed, isSameMachine, disk);
  const { mayReport } = account;
  const watch = new Watch(disk, () => undefined);
  const check = async (): Promise<void> => {
    let reading = 'opening';
    try {
      const store = await openStill(disk);
      reading = 'reading';
      const contents = await readAll(store).catch((error: unknown) => {
        if (!mayReport) throw error;
        codeOf(error, what);
        return null;
      });
      if (contents === null) await requireReadable(store, ledger, from, what);
      else requirePrefix(ledger, contentsOf(contents), from, what);
    } catch (error) {
      codeOf(error, what);
      if (!mayReport) throw new Violation(`${what}: ${reading} failed: ${String(error)}`);
    }
  };
  if (!(await watch.settles(check(), () => 0))) throw new Violation(`${what}: opening or reading never ends`);
  disk.stop();
}

/** Keys that cannot be read say so; all others are of one prefix. */
async function requireReadable(
  store: Awaited<ReturnType<typeof openStill>>,
  ledger: Ledger,
  from: number,
  what: string,
): Promise<void> {
  const found = new Map<string, string | undefined>();
  for (const key of ALL_KEYS) {
    try {
      found.set(key, (await store.get(key))?.toString());
    } catch (error) {
      codeOf(error, what);
    }
  }
  for (let groups = from; groups <= ledger.called; groups++) {
    const map = ledger.mapAfter(groups);
    if ([...found].every(([key, value]) => map.get(key) === value)) return;
  }
  throw new Violation(`${what} has keys that can be read, and that no prefix from ${from} on leaves behind`);
}

/** Every case of a history that is not the same as another; `requests` are those of its run without a fault. */
function casesOf(requests: readonly string[]): SweepFault[] {
  return requests.flatMap((request, at) =>
    FAULT_KINDS.filter((kind) => VICTIMS[kind].includes(request)).flatMap((kind) => [
      { at, kind, sticky: false },
      { at, kind, sticky: true },
    ]),
  );
}

export interface SweepResult {
  histories: number;
  requests: number;
  /** Cases that were run, and those there are. */
  cases: number;
  casesInAll: number;
  /** The first violations, shrunk. */
  violations: string[];
}

export interface SweepPlan {
  readonly seed: number;
  readonly histories: number;
  /** Cases that are taken of each history, drawn from its seed; Infinity takes all. */
  readonly casesPerHistory: number;
  /** Ends after so many violations. */
  readonly mostViolations: number;
  readonly planted?: Planted;
}

export async function sweep({
  seed,
  histories,
  casesPerHistory,
  mostViolations,
  planted = {},
}: SweepPlan): Promise<SweepResult> {
  const result: SweepResult = { histories: 0, requests: 0, cases: 0, casesInAll: 0, violations: [] };
  for (let next = seed; next < seed + histories && result.violations.length < mostViolations; next++) {
    const history = await historyOf(next, planted);
    const { violation, requests } = await runCase(history, null);
    result.histories++;
    result.requests += requests.length;
    if (violation !== null) {
      result.violations.push(await report(history, null, violation));
      continue;
    }
    const all = casesOf(requests);
    result.casesInAll += all.length;
    const chosen = casesPerHistory < all.length ? new Random(~next).shuffle(all).slice(0, casesPerHistory) : all;
    for (const fault of chosen) {
      result.cases++;
      const run = await runCase(history, fault);
      if (run.violation === null) continue;
      result.violations.push(await report(history, fault, run.violation));
      if (result.violations.length === mostViolations) break;
    }
  }
  return result;
}

export function withSteps(history: SweepHistory, kept: readonly number[]): SweepHistory {
  return { ...history, steps: kept.map((at) => history.steps[at] as Step) };
}

/** Leaves out steps, and lets the fault strike where it still does harm. */
async function report(history: SweepHistory, fault: SweepFault | null, violation: string): Promise<string> {
  const attempt = async (kept: readonly number[]): Promise<{ fault: SweepFault | null; violation: string } | null> => {
    const fewer = withSteps(history, kept);
    const clean = await runCase(fewer, null);
    if (clean.violation !== null) return { fault: null, violation: clean.violation };
    if (fault === null) return null;
    const same = casesOf(clean.requests).filter(({ kind, sticky }) => kind === fault.kind && sticky === fault.sticky);
    for (const other of same) {
      const run = await runCase(fewer, other);
      if (run.violation !== null) return { fault: other, violation: run.violation };
    }
    return null;
  };
  const { kept, found } = await shrink(history.steps.length, { fault, violation }, attempt);
  const name = found.fault === null ? 'none' : nameOf(found.fault);
  const command = `AIOKV_SWEEP_SEED=${history.seed} AIOKV_SWEEP_FAULT=${name} AIOKV_SWEEP_STEPS=${kept.join(',')}`;
  return [
    `seed ${history.seed}, fault ${name}: ${found.violation}`,
    describeHistory(withSteps(history, kept)),
    `  again: ${command} npm test -- test/kv/sweep.test.ts`,
  ].join('\n');
}

/** As `parseFault` reads it. */
function nameOf({ at, kind, sticky }: SweepFault): string {
  return `${at}:${kind}:${sticky ? 'sticky' : 'once'}`;
}

/** @param name for example `17:lost-write:sticky`, or `none` */
export function parseFault(name: string): SweepFault | null {
  if (name === 'none') return null;
  const [at, kind, how] = name.split(':');
  return { at: Number(at), kind: kind as FaultKind, sticky: how === 'sticky' };
}
