/**
 * Drives an engine the way a queue does, with nothing in between, and keeps watch over ENGINE-1: a completion
 * for a slot that is not in flight is an error here, wherever it turns up.
 */
import { allocateAligned, Completions, Opcode } from '@aiokv/aio';
import type { AlignedBuffer, DirectFile, Engine, EngineOptions, Platform } from '@aiokv/aio';

/** A test that waits longer than this for a completion has failed. */
const PATIENCE_MS = 20_000;

export interface Transfer {
  readonly offset: number;
  readonly lengthBytes?: number;
  readonly bufferOffset?: number;
}

export class EngineDriver {
  readonly engine: Engine;
  /** Results in the order in which they were reported. */
  readonly reported: { readonly slot: number; readonly result: number }[] = [];
  readonly #completions: Completions;
  readonly #inFlight = new Set<number>();
  /** Held until reported, as a queue holds them. */
  readonly #buffers = new Map<number, AlignedBuffer>();
  #isInEngine = false;
  #onReported: (() => void) | null = null;
  /** Calls of `onCompletion` so far. */
  wakeups = 0;

  constructor(platform: Platform, options: EngineOptions, reapCapacity = options.slots) {
    this.#completions = new Completions(reapCapacity);
    this.engine = platform.createEngine(options);
    this.engine.onCompletion = () => {
      this.wakeups++;
      if (this.#isInEngine) throw new Error('onCompletion was called from inside another engine method');
      while (this.reap() === reapCapacity);
    };
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }

  read(slot: number, file: DirectFile, buffer: AlignedBuffer, transfer: Transfer): this {
    return this.#prepare(slot, Opcode.read, file.handle, buffer, transfer);
  }

  write(slot: number, file: DirectFile, buffer: AlignedBuffer, transfer: Transfer): this {
    return this.#prepare(slot, Opcode.write, file.handle, buffer, transfer);
  }

  flush(slot: number, file: DirectFile, opcode: Opcode = Opcode.fdatasync): this {
    return this.#prepare(slot, opcode, file.handle, null, { offset: 0, lengthBytes: 0 });
  }

  /** A read of a file that nobody has opened. */
  badHandle(slot: number, buffer: AlignedBuffer): this {
    return this.#prepare(slot, Opcode.read, -1, buffer, { offset: 0 });
  }

  /** Returns what the engine returned. */
  submit(...slots: number[]): number {
    const padded = Uint32Array.of(4_000_000, ...slots);
    const accepted = this.#inside(() => this.engine.submit(padded, 1, slots.length));
    if (accepted > slots.length) throw new Error(`${slots.length} were submitted and ${accepted} accepted`);
    for (const slot of slots.slice(0, Math.max(0, accepted))) this.#inFlight.add(slot);
    return accepted;
  }

  /** Reaps once. */
  reap(): number {
    const completions = this.#completions;
    const count = this.#inside(() => this.engine.reap(completions));
    if (count !== completions.count) throw new Error(`reap returned ${count} and counted ${completions.count}`);
    for (let i = 0; i < count; i++) {
      const slot = completions.slots[i] as number;
      const result = completions.results[i] as number;
      if (!this.#inFlight.delete(slot)) throw new Error(`slot ${slot} was reported, and is not in flight`);
      this.#buffers.delete(slot);
      this.reported.push({ slot, result });
    }
    if (count > 0) this.#onReported?.();
    return count;
  }

  wait(timeoutMs: number): void {
    this.#inside(() => this.engine.wait(timeoutMs));
  }

  /** Waits on the event loop until nothing is in flight. */
  async settle(): Promise<void> {
    await this.settleSome(this.#inFlight.size);
  }

  /** Waits on the event loop until `count` more requests were reported. */
  async settleSome(count: number): Promise<void> {
    const until = this.reported.length + count;
    if (count === 0) return;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`${this.#inFlight.size} requests have not completed within ${PATIENCE_MS} ms`));
      }, PATIENCE_MS);
      this.#onReported = () => {
        if (this.reported.length < until) return;
        clearTimeout(timer);
        resolve();
      };
      this.#inside(() => this.engine.setActive(true));
    });
    this.#onReported = null;
    if (this.#inFlight.size === 0) this.engine.setActive(false);
  }

  /** Submits all, whatever it takes, waits for them, and returns their results in the order of `slots`. */
  async run(...slots: number[]): Promise<number[]> {
    const from = this.reported.length;
    for (let sent = 0; sent < slots.length;) {
      const accepted = this.submit(...slots.slice(sent));
      if (accepted > 0) sent += accepted;
      else if (this.inFlight > 0) await this.settleSome(1);
      else throw new Error(`slot ${slots[sent]} was refused with ${accepted}`);
    }
    await this.settle();
    const results = new Map(this.reported.slice(from).map(({ slot, result }) => [slot, result]));
    return slots.map((slot) => results.get(slot) as number);
  }

  #prepare(slot: number, opcode: Opcode, handle: number, buffer: AlignedBuffer | null, transfer: Transfer): this {
    const { offset, bufferOffset = 0 } = transfer;
    const lengthBytes = transfer.lengthBytes ?? (buffer?.byteLength ?? 0) - bufferOffset;
    if (buffer !== null) this.#buffers.set(slot, buffer);
    this.#inside(() => this.engine.prepare(slot, opcode, handle, buffer, bufferOffset, lengthBytes, offset));
    return this;
  }

  #inside<T>(call: () => T): T {
    this.#isInEngine = true;
    try {
      return call();
    } finally {
      this.#isInEngine = false;
    }
  }
}

/** An aligned buffer full of one byte. */
export function filled(lengthBytes: number, byte: number): AlignedBuffer {
  const buffer = allocateAligned(lengthBytes);
  buffer.bytes.fill(byte);
  return buffer;
}

/** Whether all bytes are this one. */
export function isFilled(bytes: Uint8Array, byte: number): boolean {
  return bytes.every((other) => other === byte);
}
