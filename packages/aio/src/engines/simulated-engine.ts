/**
 * The engine of the simulated disk: slots on one side, requests to the device on the other. It keeps
 * ENGINE-1 to ENGINE-5 of engine.ts, and asserts what the seam asks of its user, so that a queue which prepares a
 * busy slot or submits a free one is caught.
 *
 * As the kernel does, it refuses a bad handle and a write to a read-only file in the submitting call. Every other failure
 * comes with the completion.
 */
import { assert } from '@aiokv/core';
import type { Random } from '@aiokv/core';
import { constants } from 'node:os';
import { allocateAligned } from '../buffers.ts';
import type { AlignedBuffer } from '../buffers.ts';
import { Opcode, RequestFlag } from '../engine.ts';
import type { Completions, Engine, EngineOptions } from '../engine.ts';
import type { DeviceRequest, Reportable, SimulatedDevice } from './simulated-device.ts';
import type { Medium } from './simulated-medium.ts';

const { EAGAIN, EBADF } = constants.errno;

/** An open file as an engine needs it. */
export interface OpenHandle {
  path: string;
  readonly medium: Medium;
  readonly isReadOnly: boolean;
  /** Requests in flight. */
  inFlight: number;
}

export interface SimulatedEngineHost {
  readonly device: SimulatedDevice;
  readonly random: Random;
  /** Probability that a submit is refused with -EAGAIN although there is room, while something is in flight. */
  readonly refusalChance: number;
  handle(number: number): OpenHandle | undefined;
}

type SlotState = 'free' | 'prepared' | 'in flight' | 'ready';

interface Slot {
  state: SlotState;
  opcode: Opcode;
  handle: number;
  buffer: AlignedBuffer | null;
  bufferOffset: number;
  lengthBytes: number;
  fileOffset: number;
  /** The pieces of a vectored transfer, which the device has as one. */
  pieces: readonly AlignedBuffer[] | null;
  flags: number;
}

interface Ready {
  readonly slot: number;
  readonly result: number;
  readonly report: Reportable;
}

const kinds = { 0: 'read', 1: 'write', 2: 'fsync', 3: 'fdatasync', 7: 'read', 8: 'write' } as const;

export class SimulatedEngine implements Engine {
  readonly name = 'simulated';
  readonly reason = 'the platform is a simulated disk';
  readonly features = { flags: RequestFlag.dsync | RequestFlag.nowait, priority: false, poll: false };
  readonly perform = null;
  onCompletion: (() => void) | null = null;
  readonly #host: SimulatedEngineHost;
  readonly #depth: number;
  readonly #slots: Slot[];
  readonly #ready: Ready[] = [];
  /** Accepted and not reaped. */
  #inFlight = 0;
  #isActive = false;
  #isNotifying = false;
  #closing: Promise<void> | null = null;
  #onQuiet: (() => void) | null = null;

  constructor(host: SimulatedEngineHost, { slots, depth }: EngineOptions) {
    assert(depth > 0 && depth <= slots, 'an engine has at least one slot for each request in flight');
    this.#host = host;
    this.#depth = depth;
    this.#slots = Array.from({ length: slots }, () => ({
      state: 'free',
      opcode: Opcode.read,
      handle: -1,
      buffer: null,
      bufferOffset: 0,
      lengthBytes: 0,
      fileOffset: 0,
      pieces: null,
      flags: 0,
    }));
  }

  prepare(
    slot: number,
    opcode: Opcode,
    handle: number,
    buffer: AlignedBuffer | null,
    bufferOffset: number,
    lengthBytes: number,
    fileOffset: number,
  ): void {
    const entry = this.#slot(slot);
    assert(entry.state === 'free' || entry.state === 'prepared', 'only a free slot is prepared');
    assert(bufferOffset + lengthBytes <= (buffer?.byteLength ?? 0), 'a request lies inside its buffer');
    Object.assign(entry, { state: 'prepared', opcode, handle, buffer, bufferOffset, lengthBytes, fileOffset });
    Object.assign(entry, { pieces: null, flags: 0 });
  }

  prepareVector(
    slot: number,
    opcode: Opcode,
    handle: number,
    buffers: readonly AlignedBuffer[],
    fileOffset: number,
  ): void {
    const lengthBytes = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0);
    const whole = allocateAligned(lengthBytes);
    this.prepare(slot, opcode, handle, whole, 0, lengthBytes, fileOffset);
    this.#slot(slot).pieces = buffers;
  }

  preparePoll(): void {
    assert(false, 'a simulated disk has no descriptors to poll');
  }

  setHints(slot: number, flags: number): void {
    assert((flags & ~this.features.flags) === 0, 'only flags that the engine has are set');
    this.#slot(slot).flags = flags;
  }

  cancel(): void {
    // Polls alone can be cancelled, and there are none.
  }

  submit(slots: Uint32Array, start: number, count: number): number {
    assert(this.#closing === null, 'nothing is submitted to a closed engine');
    for (let accepted = 0; accepted < count; accepted++) {
      const refusal = this.#refusal(slots[start + accepted] as number);
      // The refused request stays prepared until it stands first, and so do those behind it (ENGINE-3).
      if (refusal !== 0 && accepted > 0) return accepted;
      if (refusal !== 0) {
        if (refusal !== EAGAIN) this.#slot(slots[start] as number).state = 'free';
        return -refusal;
      }
      this.#send(slots[start + accepted] as number);
    }
    return count;
  }

  reap(completions: Completions): number {
    const count = Math.min(this.#ready.length, completions.capacity);
    completions.count = count;
    for (const [i, { slot, result, report }] of this.#ready.splice(0, count).entries()) {
      completions.slots[i] = slot;
      completions.results[i] = result;
      report.noteReported();
      this.#slot(slot).state = 'free';
      this.#inFlight--;
    }
    if (this.#inFlight === 0) this.#onQuiet?.();
    return count;
  }

  /**
   * Lets the device take turns until something is ready. Time does not pass meanwhile, so it returns at
   * once when the only requests in flight are ones that never complete.
   */
  wait(_timeoutMs: number, min = 1): void {
    assert(this.#inFlight > 0, 'someone waits only while something is in flight');
    const { device } = this.#host;
    if (device.isStopped) throw new Error('the simulated machine was stopped: nothing will ever complete');
    while (this.#ready.length < min && device.isBusy) device.step();
  }

  setActive(active: boolean): void {
    if (active === this.#isActive) return;
    this.#isActive = active;
    if (!active) this.#host.device.release();
    else {
      this.#host.device.hold();
      if (this.#ready.length > 0) this.#notify();
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { device } = this.#host;
    device.hold();
    // Ready completions that nobody will reap do not count.
    if (this.#inFlight > this.#ready.length) {
      await new Promise<void>((resolve) => {
        this.#onQuiet = resolve;
      });
    }
    this.onCompletion = null;
    this.setActive(false);
    device.release();
  }

  #slot(slot: number): Slot {
    const entry = this.#slots[slot];
    assert(entry !== undefined, 'a slot number is below the number of slots');
    return entry;
  }

  /** The error number with which the slot is refused, or 0. */
  #refusal(slot: number): number {
    const { opcode, handle, state } = this.#slot(slot);
    assert(state === 'prepared', 'only a prepared slot is submitted');
    if (this.#inFlight >= this.#depth) return EAGAIN;
    const { random, refusalChance } = this.#host;
    if (refusalChance > 0 && this.#inFlight > 0 && random.chance(refusalChance)) return EAGAIN;
    const open = this.#host.handle(handle);
    return open === undefined || (open.isReadOnly && kinds[opcode as keyof typeof kinds] === 'write') ? EBADF : 0;
  }

  #send(slot: number): void {
    const entry = this.#slot(slot);
    const open = this.#host.handle(entry.handle);
    assert(open !== undefined, 'a handle that was not refused is open');
    entry.state = 'in flight';
    this.#inFlight++;
    open.inFlight++;
    if (entry.opcode === Opcode.writev) gather(entry);
    const request: DeviceRequest = {
      kind: kinds[entry.opcode as keyof typeof kinds],
      path: open.path,
      medium: open.medium,
      buffer: entry.buffer,
      bufferOffset: entry.bufferOffset,
      lengthBytes: entry.lengthBytes,
      offset: entry.fileOffset,
      isNowait: (entry.flags & RequestFlag.nowait) !== 0,
      isDurable: (entry.flags & RequestFlag.dsync) !== 0,
      finish: (result, report) => {
        open.inFlight--;
        if (entry.opcode === Opcode.readv) scatter(entry, result);
        this.#finish(slot, result, report);
      },
    };
    this.#host.device.submit(request);
  }

  #finish(slot: number, result: number, report: Reportable): void {
    const entry = this.#slot(slot);
    assert(entry.state === 'in flight', 'a completion belongs to a slot in flight');
    entry.state = 'ready';
    entry.buffer = null;
    entry.pieces = null;
    this.#ready.push({ slot, result, report });
    if (this.#closing !== null && this.#ready.length === this.#inFlight) this.#onQuiet?.();
    this.#notify();
  }

  #notify(): void {
    if (this.#isNotifying || !this.#isActive) return;
    this.#isNotifying = true;
    this.#host.device.nextTurn(() => {
      this.#isNotifying = false;
      if (this.#isActive && this.#ready.length > 0) this.onCompletion?.();
    });
  }
}

/** The pieces of a vectored write, as the device has them. */
function gather({ buffer, pieces }: Slot): void {
  let at = 0;
  for (const { bytes } of pieces ?? []) {
    buffer?.bytes.set(bytes, at);
    at += bytes.length;
  }
}

/** What a vectored read has brought, into its pieces. */
function scatter({ buffer, pieces }: Slot, result: number): void {
  let at = 0;
  for (const { bytes } of pieces ?? []) {
    if (buffer !== null && at < result) bytes.set(buffer.bytes.subarray(at, Math.min(result, at + bytes.length)));
    at += bytes.length;
  }
}
