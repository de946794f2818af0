/**
 * Watches the I/Os of a simulated disk, to say without a clock that nothing will happen any more: when
 * all that is in flight has been struck by `never-completes`, and turn after turn of the event loop has
 * brought no I/O, what has not settled never will.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { SimulatedDisk } from '@aiokv/aio';

/** What happens without I/O (a file is opened, a list is read, a slice of an index is merged) takes fewer turns. */
const QUIET_TURNS = 64;

export type DiskRequest = Parameters<NonNullable<SimulatedDisk['onOperation']>>[2];

/** Told when a request was submitted, and whether the fault has struck it. */
export type OnSubmitted = (request: DiskRequest, isStruck: boolean) => void;

export class Watch {
  readonly #disk: SimulatedDisk;
  #events = 0;
  #inFlight = 0;
  #struck: number;

  constructor(disk: SimulatedDisk, onSubmitted: OnSubmitted) {
    this.#disk = disk;
    this.#struck = disk.faultsStruck;
    disk.onOperation = (_, phase, request) => {
      this.#events++;
      this.#inFlight += phase === 'submitted' ? 1 : -1;
      if (phase !== 'submitted') return;
      const isStruck = disk.faultsStruck > this.#struck;
      this.#struck = disk.faultsStruck;
      onSubmitted(request, isStruck);
    };
  }

  /** Requests that the disk has. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /**
   * Waits for `work`; false if it will never settle.
   *
   * @param stuck how many requests never complete
   */
  async settles(work: Promise<void>, stuck: () => number): Promise<boolean> {
    let isSettled = false;
    const marked = work.finally(() => {
      isSettled = true;
    });
    // Its failure is met below, if it settles.
    marked.catch(() => undefined);
    for (let quiet = 0, seen = this.#events; !isSettled;) {
      await nextTurn();
      const isQuiet = this.#events === seen && this.#inFlight === stuck();
      quiet = isQuiet ? quiet + 1 : 0;
      seen = this.#events;
      if (quiet > QUIET_TURNS) return false;
    }
    await marked;
    return true;
  }

  end(): void {
    delete this.#disk.onOperation;
  }
}
