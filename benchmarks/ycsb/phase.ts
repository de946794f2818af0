/**
 * Runs one phase, load or run, on a database: makes the clients, lets them work side by side on the event
 * loop, stops them in time, and says what was measured.
 *
 * ```
 *   init ─► [ clients … ─► cleanup ] ─► results         [ ] counts as run time
 * ```
 *
 * Closing counts, because only then buffered writes are safe; opening does not.
 */
import { randomInt } from 'node:crypto';
import { Random } from '@aiokv/core';
import { Alarm } from './alarm.ts';
import { Breather } from './breather.ts';
import { Client } from './client.ts';
import { CoreWorkload } from './core-workload.ts';
import type { Phase } from './databases.ts';
import type { Db } from './db.ts';
import { MeasuredDb } from './measured-db.ts';
import { Measurements } from './measurements/measurements.ts';
import { integerRow, realRow } from './measurements/result-row.ts';
import type { ResultRow } from './measurements/result-row.ts';
import { recordsToLoad } from './settings.ts';
import type { Settings } from './settings.ts';
import { SetupError } from './setup-error.ts';
import { StatusReporter } from './status-reporter.ts';
import { Troubles } from './troubles.ts';

export interface PhaseRequest {
  readonly phase: Phase;
  readonly settings: Settings;
  readonly db: Db;
  /** Takes lines for people, about what is going on. */
  readonly log: (line: string) => void;
  /** Ends the phase early, with the results so far. */
  readonly interrupt?: AbortSignal;
}

export interface PhaseOutcome {
  readonly rows: readonly ResultRow[];
  readonly operations: number;
  readonly troubles: Troubles;
  readonly measurements: Measurements;
}

/** A tick of less than this is no reason to spread the clients' first operations. */
const SPREAD_FROM_TICK_MS = 1;

export async function runPhase(request: PhaseRequest): Promise<PhaseOutcome> {
  const { phase, settings, db, log } = request;
  const operationCount = operationsOf(phase, settings);
  const seed = settings.seed ?? randomInt(2 ** 31);
  const random = new Random(seed);
  const measurements = new Measurements(settings);
  const troubles = new Troubles(log);
  const workload = new CoreWorkload(settings, random, measurements, troubles);
  if (phase === 'run') workload.prepareTransactions();

  const stop = new AbortController();
  const alarm = new Alarm();
  const halt = (): void => {
    stop.abort();
    alarm.close();
  };
  const clients = makeClients({
    settings,
    operationCount,
    random,
    log,
    makeDb: () => new MeasuredDb(db, measurements, troubles),
    operation: phase === 'load' ? (own) => workload.insert(own) : (own) => workload.transaction(own).then(() => true),
    alarm,
    stop: stop.signal,
  });
  log(`${phase}: ${operationCount} operations, ${clients.length} clients, seed=${seed}`);

  await db.init();
  request.interrupt?.addEventListener('abort', halt);
  if (request.interrupt?.aborted === true) halt();
  const terminator = settings.maxexecutiontime > 0 ? setTimeout(halt, settings.maxexecutiontime * 1000) : undefined;
  const startMs = performance.now();
  const { label, 'status.interval': intervalSeconds } = settings;
  const status = settings.status ? new StatusReporter({ clients, measurements, label, intervalSeconds, log }) : null;
  try {
    await Promise.all(clients.map((client) => client.run()));
  } finally {
    halt();
    clearTimeout(terminator);
    request.interrupt?.removeEventListener('abort', halt);
    await cleanUp(db, measurements, troubles);
    status?.end();
  }
  const runtimeMs = Math.max(1, Math.round(performance.now() - startMs));
  const operations = clients.reduce((sum, client) => sum + client.operationsDone, 0);
  const overall = [
    integerRow('OVERALL', 'RunTime(ms)', runtimeMs),
    realRow('OVERALL', 'Throughput(ops/sec)', (1000 * operations) / runtimeMs),
  ];
  return { rows: [...overall, ...measurements.rows()], operations, troubles, measurements };
}

/** How many operations a phase has; Infinity for as many as there is time for. */
function operationsOf(phase: Phase, settings: Settings): number {
  const { count } = recordsToLoad(settings);
  if (phase === 'load') {
    if (settings.recordcount === 0 && settings.insertcount === null) {
      throw new SetupError('there is nothing to load: give recordcount, for example -p recordcount=1000');
    }
    return count;
  }
  if (settings.operationcount > 0) return settings.operationcount;
  if (settings.maxexecutiontime > 0) return Infinity;
  throw new SetupError('the run would never end: give operationcount or maxexecutiontime');
}

interface ClientsRequest {
  readonly settings: Settings;
  readonly operationCount: number;
  readonly random: Random;
  readonly log: (line: string) => void;
  readonly makeDb: () => MeasuredDb;
  readonly operation: (db: MeasuredDb) => Promise<boolean>;
  readonly alarm: Alarm;
  readonly stop: AbortSignal;
}

function makeClients(request: ClientsRequest): Client[] {
  const { settings, operationCount, random, makeDb, operation, alarm, stop } = request;
  const count = Math.min(settings.threadcount, Math.max(1, operationCount));
  if (count < settings.threadcount) {
    request.log(`${settings.threadcount} clients are more than operations: there will be ${count}`);
  }
  const tickMs = settings.target > 0 ? (1000 * count) / settings.target : 0;
  const breather = new Breather();
  return Array.from({ length: count }, (_, i) => {
    const share = operationCount === Infinity ? Infinity : Math.floor(operationCount / count);
    return new Client({
      db: makeDb(),
      operation,
      operationCount: share + (i < operationCount % count ? 1 : 0),
      tickMs,
      firstDelayMs: tickMs >= SPREAD_FROM_TICK_MS ? random.float() * tickMs : 0,
      alarm,
      breather,
      stop,
    });
  });
}

async function cleanUp(db: Db, measurements: Measurements, troubles: Troubles): Promise<void> {
  const startMs = performance.now();
  try {
    await db.cleanup();
  } catch (error) {
    troubles.failure('CLEANUP', error);
  }
  const endMs = performance.now();
  measurements.measure('CLEANUP', startMs, startMs, endMs);
}
