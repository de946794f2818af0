/**
 * The faults that a test plants in a simulated disk, and which of them strikes a request. simulated-device.ts has what
 * each fault does.
 */

/** What a request to the simulated device does. `fsync` is also what `DirectFile.sync` does. */
export type RequestKind = 'read' | 'write' | 'fsync' | 'fdatasync' | 'preallocate' | 'truncate';

/** A request as hooks and predicates see it. */
export interface SimulatedRequest {
  /** Place in the order of submissions to this disk, from 0. */
  readonly index: number;
  readonly kind: RequestKind;
  readonly path: string;
  readonly offset: number;
  readonly lengthBytes: number;
  /** It asked to fail where it would have to wait. */
  readonly isNowait: boolean;
  /** A write with RWF_DSYNC. */
  readonly isDurable: boolean;
}

/**
 * - `EIO`: fails. Any sectors of a failed write may have been written; a failed flush is a `flush-failure`.
 * - `ENOSPC`: fails, nothing is written.
 * - `short`: transfers fewer whole sectors than asked for, and says so.
 * - `bit-flip`: a read returns one wrong bit; what is stored stays right.
 * - `lost-write`: a write reports success and does nothing.
 * - `misdirected-write`: a write reports success and lands on another place of the file.
 * - `stale-read`: a read returns what was there before the file's latest write.
 * - `flush-failure`: a flush, or a write with RWF_DSYNC, fails with EIO; what it was to cover is in an undefined state from then on.
 * - `would-block`: a transfer that asked for it fails with EAGAIN; nothing is transferred.
 * - `never-completes`: no completion, ever. A write may or may not be there after a power cut.
 */
export type FaultKind =
  | 'EIO'
  | 'ENOSPC'
  | 'short'
  | 'bit-flip'
  | 'lost-write'
  | 'misdirected-write'
  | 'stale-read'
  | 'flush-failure'
  | 'would-block'
  | 'never-completes';

export interface Fault {
  /** The index of a request, or a question to be asked of each request. */
  readonly at: number | ((request: SimulatedRequest) => boolean);
  /** A request of a kind that cannot have this fault is passed over. */
  readonly kind: FaultKind;
  /** Strikes every match from then on (an index: that request and all later ones); default false. */
  readonly sticky?: boolean;
}

const victims: Readonly<Record<FaultKind, readonly RequestKind[]>> = {
  EIO: ['read', 'write', 'fsync', 'fdatasync', 'preallocate', 'truncate'],
  ENOSPC: ['write', 'preallocate'],
  short: ['read', 'write'],
  'bit-flip': ['read'],
  'lost-write': ['write'],
  'misdirected-write': ['write'],
  'stale-read': ['read'],
  'flush-failure': ['fsync', 'fdatasync', 'write'],
  'would-block': ['read', 'write'],
  'never-completes': ['read', 'write', 'fsync', 'fdatasync', 'preallocate', 'truncate'],
};

export class Faults {
  readonly #planted: Fault[] = [];
  #struck = 0;

  /** How many requests were struck. */
  get struck(): number {
    return this.#struck;
  }

  /** Plants a fault; the function that is returned takes it out again. */
  plant(fault: Fault): () => void {
    this.#planted.push(fault);
    return () => this.#remove(fault);
  }

  /** The fault that strikes this request, or null. The earliest planted wins. */
  strike(request: SimulatedRequest): FaultKind | null {
    for (const fault of this.#planted) {
      if (!victims[fault.kind].includes(request.kind) || !matches(fault, request)) continue;
      if (fault.kind === 'would-block' && !request.isNowait) continue;
      if (fault.kind === 'flush-failure' && request.kind === 'write' && !request.isDurable) continue;
      if (fault.sticky !== true) this.#remove(fault);
      this.#struck++;
      return fault.kind;
    }
    return null;
  }

  #remove(fault: Fault): void {
    const at = this.#planted.indexOf(fault);
    if (at >= 0) this.#planted.splice(at, 1);
  }
}

function matches(fault: Fault, request: SimulatedRequest): boolean {
  if (typeof fault.at === 'function') return fault.at(request);
  return fault.sticky === true ? request.index >= fault.at : request.index === fault.at;
}
