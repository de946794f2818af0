/**
 * A process on a simulated machine, which can be killed while the machine runs on.
 *
 * After `kill` nothing that the process asks for reaches the disk, and nothing settles for it. What is in
 * flight completes, as the kernel sees to at the exit of a process; its locks are gone; what was written
 * and not flushed is still there for the next process, and not on the medium. A power cut after that is
 * what recoveries fear most.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Completions } from '@aiokv/aio';
import type { DirectFile, Engine, EngineOptions, OpenFileOptions, Platform, SimulatedDisk } from '@aiokv/aio';

const NEVER = new Promise<never>(() => undefined);

export class MortalProcess implements Platform {
  readonly name = 'simulated';
  readonly #disk: SimulatedDisk;
  readonly #files = new Set<DirectFile>();
  readonly #engines: Engine[] = [];
  #isDead = false;
  /** Requests of its engines, and calls of other kinds, that the machine has begun. */
  #inFlight = 0;
  #calls = 0;

  constructor(disk: SimulatedDisk) {
    this.#disk = disk;
  }

  /** Settles when nothing of it is left. */
  async kill(): Promise<void> {
    this.#isDead = true;
    while (this.#inFlight > 0 || this.#calls > 0) await nextTurn();
    for (const engine of this.#engines) await engine.close();
    for (const file of this.#files) await file.close();
  }

  async open(path: string, options?: OpenFileOptions): Promise<DirectFile> {
    const file = await this.#alive(() => this.#disk.open(path, options));
    this.#files.add(file);
    const { handle } = file;
    return new Proxy(file, {
      get: (target, name) => {
        // The dead are not told that their files were closed.
        if (name === 'handle' && this.#isDead) return handle;
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        return (...given: unknown[]) => {
          if (name === 'close') this.#files.delete(file);
          return this.#alive(() => Reflect.apply(value, target, given) as Promise<unknown>);
        };
      },
    });
  }

  list(directory: string): Promise<string[] | undefined> {
    return this.#alive(() => this.#disk.list(directory));
  }

  makeDirectory(directory: string): Promise<void> {
    return this.#alive(() => this.#disk.makeDirectory(directory));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#alive(() => this.#disk.rename(from, to));
  }

  remove(path: string): Promise<void> {
    return this.#alive(() => this.#disk.remove(path));
  }

  syncDirectory(directory: string): Promise<void> {
    return this.#alive(() => this.#disk.syncDirectory(directory));
  }

  createEngine(options: EngineOptions): Engine {
    const engine = this.#disk.createEngine(options);
    this.#engines.push(engine);
    const reaped = new Completions(options.depth);
    let inFlight = 0;
    /** Takes completions that nobody is there for. */
    const bury = (): void => {
      for (let count = engine.reap(reaped); count > 0; count = engine.reap(reaped)) {
        inFlight -= count;
        this.#inFlight -= count;
      }
    };
    return new Proxy(engine, {
      get: (target, name) => {
        if (name === 'submit') {
          return (slots: Uint32Array, start: number, count: number): number => {
            if (this.#isDead) return count;
            const accepted = target.submit(slots, start, count);
            if (accepted > 0) {
              inFlight += accepted;
              this.#inFlight += accepted;
            }
            return accepted;
          };
        }
        if (name === 'reap') {
          return (completions: Completions): number => {
            if (this.#isDead) return 0;
            const count = target.reap(completions);
            inFlight -= count;
            this.#inFlight -= count;
            return count;
          };
        }
        if (name === 'close') {
          return async (): Promise<void> => {
            await this.#alive(() => target.close());
            this.#engines.splice(this.#engines.indexOf(engine), 1);
            this.#inFlight -= inFlight;
            inFlight = 0;
          };
        }
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
      set: (target, name, value) => {
        if (name !== 'onCompletion') return Reflect.set(target, name, value, target);
        const tell = value as (() => void) | null;
        target.onCompletion = tell === null ? null : () => (this.#isDead ? bury() : tell());
        return true;
      },
    });
  }

  /** Nothing is done for the dead, and nobody hears of it. */
  async #alive<T>(work: () => Promise<T>): Promise<T> {
    if (this.#isDead) return NEVER;
    this.#calls++;
    try {
      const result = await work();
      if (!this.#isDead) return result;
    } catch (error) {
      if (!this.#isDead) throw error;
    } finally {
      this.#calls--;
    }
    return NEVER;
  }
}
