/**
 * The process of one turn: one store in one class, in a fresh directory, through its phases. The task comes as JSON in its
 * argument; each phase is a line of JSON on stdout when it has ended, everything else goes to stderr. The driver is
 * YCSB's, with every value that is read checked.
 *
 * ```
 *   load    open ─► │ insert … │ flush ─► close          cold   files leave the page cache ─► open ─► │ each record once │
 *   others  open once ─► warm up ─► │ operations │ ─► warm up ─► │ … │                            │ … │ is what is timed
 * ```
 *
 * TURN-1. All stores of a round have the same seeds, so the same operations as far as they get.
 */
import { createCodec } from '@aiokv/core';
import { LoopMeter } from '../meters/loop-meter.ts';
import { forgetHighestRss, highestRssBytes, readBytes, spaceBytesOf, writtenBytes } from '../meters/footprint.ts';
import { evict } from '../meters/page-cache.ts';
import { openStore } from '../stores/catalog.ts';
import type { BenchStore } from '../stores/store.ts';
import { BasicDb } from '../ycsb/basic-db.ts';
import type { Db, Fields } from '../ycsb/db.ts';
import { runPhase } from '../ycsb/phase.ts';
import type { PhaseOutcome } from '../ycsb/phase.ts';
import { RecordDb } from '../ycsb/record-db.ts';
import { readSettings } from '../ycsb/settings.ts';
import type { Settings } from '../ycsb/settings.ts';
import type { Troubles } from '../ycsb/troubles.ts';
import { latenciesOf } from './latencies.ts';
import type { PhaseKind, PlannedTurn, Scale } from './plan.ts';
import type { PhaseResult, Sample } from './result.ts';
import { spoiling } from './spoiling.ts';

export interface Task {
  /** Null: the driver alone. */
  readonly turn: PlannedTurn | null;
  readonly scale: Scale;
  readonly directory: string;
  readonly seed: number;
  /** Whether one value comes back wrong, to show that it is found. */
  readonly isSpoiled: boolean;
}

/** Properties of YCSB by phase, beside those that all have. */
const PROPERTIES: Readonly<Record<PhaseKind, Readonly<Record<string, string>>>> = {
  load: {},
  cold: { readproportion: '1', updateproportion: '0', requestdistribution: 'sequential' },
  A: { readproportion: '0.5', updateproportion: '0.5', requestdistribution: 'zipfian' },
  B: { readproportion: '0.95', updateproportion: '0.05', requestdistribution: 'zipfian' },
  C: { readproportion: '1', updateproportion: '0', requestdistribution: 'zipfian' },
  D: { readproportion: '0.95', updateproportion: '0', insertproportion: '0.05', requestdistribution: 'latest' },
  E: {
    readproportion: '0',
    updateproportion: '0',
    scanproportion: '0.95',
    insertproportion: '0.05',
    requestdistribution: 'zipfian',
    maxscanlength: '100',
  },
  F: {
    readproportion: '0.5',
    updateproportion: '0',
    readmodifywriteproportion: '0.5',
    requestdistribution: 'zipfian',
  },
  curve: { readproportion: '1', updateproportion: '0', requestdistribution: 'zipfian' },
  commits: { readproportion: '0', updateproportion: '0', insertproportion: '1' },
  churn: { readproportion: '0', updateproportion: '1', writeallfields: 'true', requestdistribution: 'uniform' },
  driver: { readproportion: '1', updateproportion: '0', requestdistribution: 'zipfian', dataintegrity: 'false' },
};

const SAMPLE_MS = 250;
const NOTHING_WRONG = { failures: 0, mismatches: 0 };

interface Request {
  readonly kind: PhaseKind;
  readonly cache: string;
  readonly clients: number;
  /** Infinity: as many as there is time for. */
  readonly operations?: number;
  readonly seconds?: number;
  readonly target?: number;
  readonly isSampled?: boolean;
  /** Counts in the time: making durable what was not. */
  readonly end?: () => Promise<unknown>;
}

class TurnRunner {
  readonly #task: Task;
  readonly #turn: PlannedTurn;
  readonly #recordBytes: number;
  #records: number;
  #phases = 0;
  #capacity = 0;
  /** What went wrong while warming up counts with the phase after it: nothing is passed over because it was not timed. */
  #unmeasured: Pick<Troubles, 'failures' | 'mismatches'> = NOTHING_WRONG;

  constructor(task: Task, turn: PlannedTurn) {
    this.#task = task;
    this.#turn = turn;
    this.#records = turn.records;
    this.#recordBytes = encodedBytes(turn);
  }

  async run(): Promise<void> {
    const { phases } = this.#turn;
    if (phases.includes('load')) await this.#load();
    if (phases.includes('cold')) await this.#cold();
    const rest = phases.filter((kind) => kind !== 'load' && kind !== 'cold');
    const store = await this.#open();
    const db = new RecordDb(async () => store);
    await db.init();
    for (const kind of rest) {
      if (kind === 'curve') await this.#curve(db);
      else if (kind === 'commits') await this.#commits(db);
      else if (kind === 'churn') await this.#churn(db, store);
      else await this.#workload(db, kind);
    }
    await db.cleanup();
  }

  async #open(): Promise<BenchStore> {
    const { directory, isSpoiled } = this.#task;
    const { store: name, durability } = this.#turn;
    const store = await openStore(name, { directory, durability, valueBytes: this.#recordBytes });
    return isSpoiled ? spoiling(store) : store;
  }

  async #load(): Promise<void> {
    const store = await this.#open();
    const db = new RecordDb(async () => store);
    await db.init();
    const { clients } = this.#task.scale;
    const request: Request = { kind: 'load', cache: 'an empty store', clients, operations: this.#turn.records };
    await this.#measure(db, { ...request, end: () => store.flush() });
    await db.cleanup();
  }

  async #cold(): Promise<void> {
    for (const clients of this.#task.scale.depths) {
      evict(this.#task.directory);
      const store = await this.#open();
      const db = new RecordDb(async () => store);
      await db.init();
      await this.#measure(db, { kind: 'cold', cache: 'nothing', clients, operations: this.#turn.records });
      await db.cleanup();
    }
  }

  async #workload(db: Db, kind: PhaseKind): Promise<void> {
    const { scale } = this.#task;
    await this.#warmUp(db, kind);
    const result = await this.#measure(db, { kind, cache: 'what was used before', clients: scale.clients });
    if (kind === 'C') this.#capacity = result.operationsPerSecond;
  }

  /** At parts of what C reached: the latency counts from when an operation was meant to start. */
  async #curve(db: Db): Promise<void> {
    const { clients, loadParts } = this.#task.scale;
    for (const part of loadParts) {
      const target = Math.max(1, Math.round(part * this.#capacity));
      await this.#measure(db, { kind: 'curve', cache: 'what was used before', clients, target });
    }
  }

  async #commits(db: Db): Promise<void> {
    await this.#warmUp(db, 'commits');
    for (const clients of [1, this.#task.scale.clients]) {
      await this.#measure(db, { kind: 'commits', cache: 'what was used before', clients });
    }
  }

  async #churn(db: Db, store: BenchStore): Promise<void> {
    const { clients, secondsOfChurn: seconds } = this.#task.scale;
    const request: Request = { kind: 'churn', cache: 'what was used before', clients, seconds, isSampled: true };
    await this.#measure(db, { ...request, end: () => store.flush() });
  }

  async #warmUp(db: Db, kind: PhaseKind): Promise<void> {
    const { clients, secondsOfWarmUp: seconds } = this.#task.scale;
    const { troubles } = await this.#run(db, { kind, cache: '', clients, seconds });
    this.#unmeasured = troubles;
  }

  async #measure(db: Db, request: Request): Promise<PhaseResult> {
    const { directory } = this.#task;
    const isOnDisk = this.#turn.store !== 'memory';
    forgetHighestRss();
    const sampler = request.isSampled === true ? new Sampler(this.#liveBytes(), isOnDisk ? directory : null) : null;
    const meter = new Meter();
    const outcome = await this.#run(db, request, sampler);
    await request.end?.();
    const measured = meter.stop(outcome.operations);
    const samples = sampler?.end();
    const result: PhaseResult = {
      kind: request.kind,
      clients: request.clients,
      target: request.target ?? null,
      cache: request.cache,
      seed: outcome.seed,
      ...measured,
      spaceAmplification: isOnDisk ? spaceBytesOf(directory) / this.#liveBytes() : null,
      failures: outcome.troubles.failures + this.#unmeasured.failures,
      mismatches: outcome.troubles.mismatches + this.#unmeasured.mismatches,
      verified: outcome.measurements.countOf('VERIFY', 'OK'),
      latencies: latenciesOf(outcome.measurements),
      ...(samples === undefined ? {} : { samples }),
    };
    this.#unmeasured = NOTHING_WRONG;
    console.log(JSON.stringify(result));
    return result;
  }

  async #run(db: Db, request: Request, sampler: Sampler | null = null): Promise<PhaseOutcome & { seed: number }> {
    const seed = this.#task.seed + this.#phases++;
    const { fields, fieldBytes } = this.#turn;
    const settings = settingsOf(request, this.#task.scale, { seed, fields, fieldBytes, records: this.#records });
    const counted = sampler === null ? kept(db) : sampler.counting(kept(db));
    const phase = request.kind === 'load' ? 'load' : 'run';
    const outcome = await runPhase({ phase, settings, db: counted, log: tell });
    if (phase === 'run') this.#records += outcome.measurements.countOf('INSERT', 'OK');
    return { ...outcome, seed };
  }

  #liveBytes(): number {
    return this.#records * this.#recordBytes;
  }
}

interface Shape {
  readonly seed: number;
  readonly fields: number;
  readonly fieldBytes: number;
  readonly records: number;
}

function settingsOf(request: Request, scale: Scale, { seed, fields, fieldBytes, records }: Shape): Settings {
  const { kind, clients, operations, target, seconds } = request;
  const properties = {
    fieldcount: String(fields),
    fieldlength: String(fieldBytes),
    recordcount: String(records),
    threadcount: String(clients),
    dataintegrity: 'true',
    target: String(target ?? 0),
    'measurement.interval': target === undefined ? 'op' : 'both',
    operationcount: String(operations ?? 0),
    seed: String(seed),
    ...PROPERTIES[kind],
  };
  // A load is done when all is loaded; the property has whole seconds only.
  const maxexecutiontime = kind === 'load' ? 0 : (seconds ?? scale.secondsOfPhase);
  return { ...readSettings(new Map(Object.entries(properties))), maxexecutiontime };
}

/** Between phases it stays open. */
function kept(db: Db): Db {
  return {
    init: async () => undefined,
    read: (table, key, fields) => db.read(table, key, fields),
    scan: (table, startKey, count, fields) => db.scan(table, startKey, count, fields),
    update: (table, key, values) => db.update(table, key, values),
    insert: (table, key, values) => db.insert(table, key, values),
    delete: (table, key) => db.delete(table, key),
    cleanup: async () => undefined,
  };
}

class Meter {
  readonly #loop = new LoopMeter();
  readonly #written = writtenBytes();
  readonly #read = readBytes();
  readonly #cpu = process.cpuUsage();
  readonly #startMs = performance.now();

  stop(operations: number): Pick<PhaseResult, Measured> {
    const seconds = (performance.now() - this.#startMs) / 1000;
    const { user, system } = process.cpuUsage(this.#cpu);
    const { driftP99Ms, driftMaxMs } = this.#loop.stop();
    const each = Math.max(1, operations);
    return {
      seconds,
      operations,
      operationsPerSecond: operations / seconds,
      cpuUsPerOperation: (user + system) / each,
      readBytesPerOperation: (readBytes() - this.#read) / each,
      writtenBytesPerOperation: (writtenBytes() - this.#written) / each,
      peakRssBytes: highestRssBytes(),
      loopP99Ms: driftP99Ms,
      loopMaxMs: driftMaxMs,
    };
  }
}

type Measured =
  | 'seconds'
  | 'operations'
  | 'operationsPerSecond'
  | 'cpuUsPerOperation'
  | 'readBytesPerOperation'
  | 'writtenBytesPerOperation'
  | 'peakRssBytes'
  | 'loopP99Ms'
  | 'loopMaxMs';

/** Looks at a phase now and then while it goes on. */
class Sampler {
  readonly #liveBytes: number;
  readonly #directory: string | null;
  readonly #samples: Sample[] = [];
  readonly #startMs = performance.now();
  readonly #writtenBefore = writtenBytes();
  readonly #timer = setInterval(() => this.#sample(), SAMPLE_MS);
  #putBytes = 0;
  #operations = 0;
  #lastMs = this.#startMs;
  #lastOperations = 0;

  constructor(liveBytes: number, directory: string | null) {
    this.#liveBytes = liveBytes;
    this.#directory = directory;
  }

  counting(db: Db): Db {
    return {
      ...db,
      update: async (table, key, values) => {
        const bytes = bytesOf(values);
        const found = await db.update(table, key, values);
        this.#operations++;
        this.#putBytes += bytes;
        return found;
      },
    };
  }

  end(): Sample[] {
    clearInterval(this.#timer);
    this.#sample();
    return this.#samples;
  }

  #sample(): void {
    const nowMs = performance.now();
    this.#samples.push({
      seconds: (nowMs - this.#startMs) / 1000,
      operationsPerSecond: (1000 * (this.#operations - this.#lastOperations)) / Math.max(1, nowMs - this.#lastMs),
      spaceAmplification: this.#directory === null ? null : spaceBytesOf(this.#directory) / this.#liveBytes,
      writeAmplification: this.#putBytes === 0 ? null : (writtenBytes() - this.#writtenBefore) / this.#putBytes,
      rssBytes: process.memoryUsage.rss(),
    });
    this.#lastMs = nowMs;
    this.#lastOperations = this.#operations;
  }
}

function bytesOf(values: Fields): number {
  return Object.values(values).reduce((sum, value) => sum + value.length, 0);
}

/** Of a record, as it is stored: its fields with their names, and its key. */
function encodedBytes({ fields, fieldBytes }: PlannedTurn): number {
  const record = Object.fromEntries(
    Array.from({ length: fields }, (_, i) => [`field${i}`, new Uint8Array(fieldBytes)]),
  );
  const KEY_BYTES = 23;
  return createCodec<Fields>().encode(record).length + KEY_BYTES;
}

function tell(line: string): void {
  // What a phase is about stands in its result; what went wrong does not.
  if (line.includes('failed')) console.error(line);
}

async function runDriver({ scale, seed }: Task): Promise<void> {
  const request: Request = { kind: 'driver', cache: 'no store', clients: scale.clients, seconds: 1 };
  const shape: Shape = { seed, fields: 10, fieldBytes: 100, records: scale.records };
  const settings = settingsOf(request, scale, shape);
  await runPhase({ phase: 'run', settings, db: new BasicDb(), log: tell });
  forgetHighestRss();
  const meter = new Meter();
  const { operations, measurements, troubles } = await runPhase({
    phase: 'run',
    settings,
    db: new BasicDb(),
    log: tell,
  });
  const result: PhaseResult = {
    kind: 'driver',
    clients: scale.clients,
    target: null,
    cache: request.cache,
    seed,
    ...meter.stop(operations),
    spaceAmplification: null,
    failures: troubles.failures,
    mismatches: troubles.mismatches,
    verified: 0,
    latencies: latenciesOf(measurements),
  };
  console.log(JSON.stringify(result));
}

const task = JSON.parse(process.argv[2] as string) as Task;
await (task.turn === null ? runDriver(task) : new TurnRunner(task, task.turn).run());
