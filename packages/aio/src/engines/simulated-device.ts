/**
 * The time, the order and the faults of requests between submission and completion. Time passes in turns: one
 * `setImmediate`, or one step of a caller that waits in `Engine.wait`. No clock is read and no timer is set, so a run
 * depends only on the seed and on its user.
 *
 * ```
 *                    submit()           turn of its own, drawn from the seed          turn <= latencyTurns
 *   DeviceRequest ───────────► in flight ──────── (a write's bytes are taken) ────────► done ─► finish(result)
 *                                  └─ never-completes, or the machine stopped: stays
 * ```
 *
 * DEVICE-1. Requests that are due in the same turn complete in random order, whatever their order of submission.
 * DEVICE-2. The bytes of a write are taken once, at a random moment between its submission and its completion.
 * DEVICE-3. The memory of a read is written at its completion, in one go, and never before or after.
 * DEVICE-4. After `stop` nothing completes.
 * DEVICE-5. A write with RWF_DSYNC is durable when it completes, and makes nothing else durable. A power cut before may leave any of
 *     it. One that fails, is short or goes elsewhere is as another write that does.
 */
import { Fifo, assert, clearImmediate, isAligned, setImmediate } from '@aiokv/core';
import type { Random } from '@aiokv/core';
import { constants } from 'node:os';
import type { AlignedBuffer } from '../buffers.ts';
import type { Alignment } from '../platform.ts';
import { Faults } from './simulated-faults.ts';
import type { FaultKind, RequestKind, SimulatedRequest } from './simulated-faults.ts';
import { SECTOR_BYTES, someSectors } from './simulated-medium.ts';
import type { Change, Medium } from './simulated-medium.ts';

const { EAGAIN, EINVAL, EIO, ENOSPC } = constants.errno;

/** A request to the device. */
export interface DeviceRequest {
  readonly kind: RequestKind;
  readonly path: string;
  readonly medium: Medium;
  readonly buffer: AlignedBuffer | null;
  readonly bufferOffset: number;
  readonly lengthBytes: number;
  readonly offset: number;
  readonly isNowait: boolean;
  /** A write with RWF_DSYNC. */
  readonly isDurable: boolean;
  /** Called once, inside a turn, with bytes transferred or a negative error number. */
  finish(result: number, report: Reportable): void;
}

/** To be called when the completion is reported. */
export interface Reportable {
  noteReported(): void;
}

type OperationPhase = 'submitted' | 'completed';
export type OperationHook = (index: number, phase: OperationPhase, request: SimulatedRequest) => void;

export interface DeviceOptions {
  readonly random: Random;
  readonly faultRandom: Random;
  readonly alignment: Alignment;
  /** The most turns that a request takes. */
  readonly latencyTurns: number;
  readonly onOperation: OperationHook;
  /** Says whether a file may grow by so many bytes. */
  readonly hasSpaceFor: (growthBytes: number) => boolean;
}

export class SimulatedDevice {
  readonly faults = new Faults();
  readonly #options: DeviceOptions;
  #inFlight: Flight[] = [];
  #turn = 0;
  #tick = 0;
  #operations = 0;
  #isStopped = false;
  #isInTurn = false;
  #immediate: NodeJS.Immediate | null = null;
  /** How many users keep the process alive until their requests complete. */
  #holders = 0;
  /** Runs at the end of the turn, outside any engine method. */
  #atEndOfTurn = new Fifo<() => void>();

  constructor(options: DeviceOptions) {
    this.#options = options;
  }

  /** Requests submitted so far; the index of the next one. */
  get operations(): number {
    return this.#operations;
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Whether a turn will complete something. */
  get isBusy(): boolean {
    return !this.#isStopped && this.#inFlight.some((flight) => flight.dueTurn !== Infinity);
  }

  get alignment(): Alignment {
    return this.#options.alignment;
  }

  submit(request: DeviceRequest): void {
    const { random, latencyTurns } = this.#options;
    const { kind, path, offset, lengthBytes, isNowait, isDurable } = request;
    const shown = { index: this.#operations++, kind, path, offset, lengthBytes, isNowait, isDurable };
    const fault = this.faults.strike(shown);
    const turns = 1 + random.below(latencyTurns);
    const takenTurn = this.#turn + random.below(turns + 1);
    const dueTurn = fault === 'never-completes' ? Infinity : this.#turn + turns;
    const flight = new Flight(request, shown, fault, ++this.#tick, takenTurn, dueTurn);
    if (this.#mayReachMedium(flight)) request.medium.begin(flight);
    if (takenTurn === this.#turn) flight.take();
    this.#inFlight.push(flight);
    this.#schedule();
    if (!this.#isStopped) this.#options.onOperation(shown.index, 'submitted', shown);
  }

  /** Keeps the process alive until `release`, as long as something can complete. */
  hold(): void {
    this.#holders++;
    this.#immediate?.ref();
    this.#schedule();
  }

  release(): void {
    this.#holders--;
    if (this.#holders === 0) this.#immediate?.unref();
  }

  /** Runs `task` in the next turn, unless the machine stops before. */
  nextTurn(task: () => void): void {
    if (this.#isStopped) return;
    this.#atEndOfTurn.push(task);
    this.#schedule();
  }

  /** One turn, now, for a caller that blocks its thread. Others are told later, by the event loop. */
  step(): void {
    const held = this.#atEndOfTurn;
    this.#atEndOfTurn = new Fifo();
    this.#completeDue();
    for (const task of this.#atEndOfTurn) held.push(task);
    this.#atEndOfTurn = held;
    this.#schedule();
  }

  /** The machine is dead (DEVICE-4). */
  stop(): void {
    this.#isStopped = true;
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    this.#immediate = null;
    this.#atEndOfTurn = new Fifo();
  }

  #schedule(): void {
    if (this.#immediate !== null || this.#isStopped) return;
    if (this.#atEndOfTurn.length === 0 && !this.isBusy) return;
    this.#immediate = setImmediate(this.#onImmediate);
    if (this.#holders === 0) this.#immediate.unref();
  }

  readonly #onImmediate = (): void => {
    this.#immediate = null;
    const tasks = this.#atEndOfTurn;
    this.#atEndOfTurn = new Fifo();
    this.#completeDue();
    for (const task of this.#atEndOfTurn) tasks.push(task);
    this.#atEndOfTurn = new Fifo();
    this.#schedule();
    try {
      while (!this.#isStopped) {
        const task = tasks.shift();
        if (task === undefined) break;
        task();
      }
    } finally {
      // A task that throws does not keep the others from being run.
      for (const task of tasks.drain()) this.nextTurn(task);
    }
  };

  #completeDue(): void {
    assert(!this.#isInTurn, 'a turn of the simulated device is not entered from inside another');
    this.#isInTurn = true;
    this.#turn++;
    const due: Flight[] = [];
    const rest: Flight[] = [];
    for (const flight of this.#inFlight) {
      if (flight.takenTurn <= this.#turn) flight.take();
      (flight.dueTurn <= this.#turn ? due : rest).push(flight);
    }
    this.#inFlight = rest;
    for (const flight of this.#options.random.shuffle(due)) if (!this.#isStopped) this.#complete(flight);
    this.#isInTurn = false;
  }

  #complete(flight: Flight): void {
    const { request, shown } = flight;
    const result = this.#carryOut(flight);
    this.#options.onOperation(shown.index, 'completed', shown);
    if (this.#isStopped) return;
    request.finish(result, { noteReported: () => request.medium.noteReported(flight, ++this.#tick) });
  }

  #carryOut(flight: Flight): number {
    const { kind } = flight.request;
    if (flight.fault === 'would-block') return -EAGAIN;
    if (kind === 'read') return this.#read(flight);
    if (kind === 'write') return this.#write(flight);
    if (kind === 'preallocate') return this.#preallocate(flight);
    if (kind === 'truncate') return this.#truncate(flight);
    return this.#flush(flight);
  }

  #read({ request, fault }: Flight): number {
    const { medium, buffer, bufferOffset, lengthBytes, offset } = request;
    const { faultRandom } = this.#options;
    if (!this.#isPermitted(request)) return -EINVAL;
    assert(buffer !== null, 'a read has a buffer');
    const target = buffer.bytes.subarray(bufferOffset, bufferOffset + lengthBytes);
    if (fault === 'EIO') {
      faultRandom.fill(target.subarray(0, SECTOR_BYTES));
      return -EIO;
    }
    const wanted = fault === 'short' ? target.subarray(0, this.#shortLength(lengthBytes)) : target;
    const count = fault === 'stale-read' ? medium.readStale(offset, wanted) : medium.read(offset, wanted);
    if (fault === 'bit-flip' && count > 0) {
      const at = faultRandom.below(count);
      target[at] = (target[at] as number) ^ (1 << faultRandom.below(8));
    }
    return count;
  }

  #write(flight: Flight): number {
    const { request, fault } = flight;
    const { medium, lengthBytes, offset } = request;
    const isPermitted = this.#isPermitted(request);
    const growthBytes = offset + lengthBytes - medium.sizeBytes;
    if (!isPermitted || fault === 'ENOSPC' || (growthBytes > 0 && !this.#options.hasSpaceFor(growthBytes))) {
      medium.abandon(flight);
      return isPermitted ? -ENOSPC : -EINVAL;
    }
    if (fault === 'EIO') {
      medium.abandon(flight);
      for (const [at, run] of someSectors(
        flight.bytes(),
        this.#options.faultRandom.float(),
        this.#options.faultRandom,
      )) {
        this.#changeAside(medium, offset + at, run);
      }
      return -EIO;
    }
    if (fault === 'short') {
      medium.abandon(flight);
      const count = this.#shortLength(lengthBytes);
      this.#changeAside(medium, offset, flight.bytes().subarray(0, count), flight);
      return count;
    }
    if (fault === 'misdirected-write') this.#changeAside(medium, this.#elsewhere(request), flight.bytes(), flight);
    else if (fault !== 'lost-write') {
      medium.complete(flight);
      if (fault === 'flush-failure') medium.failSettling(flight, this.#options.faultRandom);
      else if (request.isDurable) medium.settle(flight);
    }
    return fault === 'flush-failure' ? -EIO : lengthBytes;
  }

  #preallocate(flight: Flight): number {
    const { request, fault } = flight;
    const { medium } = request;
    const growthBytes = flight.endBytes - medium.sizeBytes;
    const isRefused = fault === 'ENOSPC' || (growthBytes > 0 && !this.#options.hasSpaceFor(growthBytes));
    if (fault === 'EIO' || isRefused) {
      medium.abandon(flight);
      return fault === 'EIO' ? -EIO : -ENOSPC;
    }
    medium.complete(flight);
    return 0;
  }

  #truncate({ request, fault }: Flight): number {
    if (fault === 'EIO') return -EIO;
    request.medium.truncate(request.offset);
    return 0;
  }

  #flush({ request, fault, covers }: Flight): number {
    if (fault === null) {
      request.medium.flush(covers);
      return 0;
    }
    request.medium.failFlush(covers, this.#options.faultRandom);
    return -EIO;
  }

  /** A change that takes the place of a request's own. `reporter` reports for it. */
  #changeAside(medium: Medium, offset: number, bytes: Uint8Array, reporter?: Flight): void {
    const change: Change = {
      offset,
      bytes: () => bytes,
      endBytes: offset + bytes.length,
      submittedTick: ++this.#tick,
      reportedTick: Infinity,
      completedOrder: Infinity,
    };
    medium.begin(change);
    medium.complete(change);
    if (reporter !== undefined) reporter.completedOrder = change.completedOrder;
  }

  #mayReachMedium({ request, fault }: Flight): boolean {
    if (fault === 'lost-write' || fault === 'misdirected-write' || fault === 'ENOSPC') return false;
    if (fault === 'would-block') return false;
    return request.kind === 'preallocate' || (request.kind === 'write' && this.#isPermitted(request));
  }

  /** Whether O_DIRECT permits the request. */
  #isPermitted({ buffer, bufferOffset, lengthBytes, offset }: DeviceRequest): boolean {
    const { memory, offset: block } = this.#options.alignment;
    return (
      offset >= 0 &&
      isAligned(offset, block) &&
      isAligned(lengthBytes, block) &&
      isAligned((buffer?.address ?? 0) + bufferOffset, memory)
    );
  }

  #shortLength(lengthBytes: number): number {
    return this.#options.faultRandom.below(Math.ceil(lengthBytes / SECTOR_BYTES)) * SECTOR_BYTES;
  }

  /** Another place of the file, as far as it has one. */
  #elsewhere({ medium, offset, lengthBytes }: DeviceRequest): number {
    const { alignment, faultRandom } = this.#options;
    const places = Math.floor((medium.sizeBytes - lengthBytes) / alignment.write) + 1;
    if (places < 2) return offset + lengthBytes;
    const place = faultRandom.below(places) * alignment.write;
    return place === offset ? (place + alignment.write) % (places * alignment.write) : place;
  }
}

/** A request in flight, which is also the change that it makes to its file. */
class Flight implements Change {
  readonly request: DeviceRequest;
  readonly shown: SimulatedRequest;
  readonly fault: FaultKind | null;
  readonly submittedTick: number;
  readonly takenTurn: number;
  readonly dueTurn: number;
  /** What a flush covers; see MEDIUM-1. */
  readonly covers: number;
  reportedTick = Infinity;
  completedOrder = Infinity;
  #taken: Uint8Array | null = null;

  constructor(
    request: DeviceRequest,
    shown: SimulatedRequest,
    fault: FaultKind | null,
    submittedTick: number,
    takenTurn: number,
    dueTurn: number,
  ) {
    this.request = request;
    this.shown = shown;
    this.fault = fault;
    this.submittedTick = submittedTick;
    this.takenTurn = takenTurn;
    this.dueTurn = dueTurn;
    this.covers = request.medium.reportedThrough;
  }

  get offset(): number {
    return this.request.offset;
  }

  get endBytes(): number {
    return this.request.offset + this.request.lengthBytes;
  }

  /** See DEVICE-2. */
  take(): void {
    this.#taken ??= this.bytes();
  }

  bytes(): Uint8Array {
    if (this.#taken !== null) return this.#taken;
    const { kind, buffer, bufferOffset, lengthBytes } = this.request;
    if (kind !== 'write' || buffer === null) return NOTHING;
    return buffer.bytes.slice(bufferOffset, bufferOffset + lengthBytes);
  }
}

const NOTHING = new Uint8Array(0);
