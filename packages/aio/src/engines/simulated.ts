/**
 * A disk in memory that does what a real one may do to a store. Requests complete late and in any order. Writes stay in a
 * volatile cache until they are flushed. Power fails, sectors tear, bits rot, requests fail. All of it follows from a
 * seed.
 *
 * ```
 *   SimulatedDisk ── names ──► Medium ◄── changes ── SimulatedDevice ◄── requests ── SimulatedEngine
 *    (Platform)                  │                     turns, faults                    (Engine)
 *                                └─ powerCut() ─► another SimulatedDisk: what the next boot finds
 * ```
 *
 * Where it is easier than a real disk: making, renaming and removing files and directories is durable
 * at once; only the contents and the size of a file wait for a flush. A flush covers one file.
 * Where it is harder: nothing that was not flushed is certain to survive.
 *
 * Runs with the same seed are the same, as long as the code that uses the disk depends on neither time nor chance.
 */
import { Random, SystemCallError, instance, integer, isPowerOfTwo, refuseUnknown, resolveOptions } from '@aiokv/core';
import { constants } from 'node:os';
import { posix } from 'node:path';
import type { Engine, EngineOptions } from '../engine.ts';
import { resolveOpenOptions } from '../open-options.ts';
import type { Alignment, DirectFile, OpenFileOptions, Platform } from '../platform.ts';
import { SimulatedDevice } from './simulated-device.ts';
import type { OperationHook } from './simulated-device.ts';
import { SimulatedEngine } from './simulated-engine.ts';
import type { OpenHandle } from './simulated-engine.ts';
import type { Fault } from './simulated-faults.ts';
import { SimulatedFile } from './simulated-file.ts';
import { Medium, SECTOR_BYTES } from './simulated-medium.ts';
import type { PowerCutMode } from './simulated-medium.ts';

export interface SimulatedDiskOptions {
  /** Everything random follows from it; default 1. */
  seed: number;
  /** What requests must be aligned to, in bytes; default memory 512, offset 512, write 4096. */
  alignment: Alignment;
  /** A request takes 1 to so many turns of the event loop; default 4. */
  latencyTurns: number;
  /** All files together may be so large; default no limit. */
  capacityBytes: number;
  /** Probability that `submit` refuses with -EAGAIN although there is room; default 0. */
  refusalChance: number;
}

const { EBADF, EEXIST, ENOENT, ENOTDIR } = constants.errno;

const shape = {
  seed: integer(0, Number.MAX_SAFE_INTEGER, 1),
  alignment: instance<Alignment>(
    'an object with memory, offset and write, each a power of two',
    { memory: 512, offset: 512, write: 4096 },
    isAlignment,
  ),
  latencyTurns: integer(1, 10_000, 4),
  capacityBytes: integer(0, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
  refusalChance: instance<number>(
    'a number from 0 to 0.9',
    0,
    (value) => typeof value === 'number' && value >= 0 && value <= 0.9,
  ),
};

function isAlignment(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { memory, offset, write, ...others } = value as Alignment;
  return [memory, offset, write].every(isPowerOfTwo) && Object.keys(others).length === 0;
}

interface Handle extends OpenHandle {
  readonly number: number;
}

export class SimulatedDisk implements Platform {
  readonly name = 'simulated';
  /**
   * Called when a request was submitted, and when it has completed but is not reported yet. It may call `powerCut` or
   * `stop`, and must not use the disk otherwise.
   */
  onOperation?: OperationHook | undefined;
  readonly options: Readonly<SimulatedDiskOptions>;
  readonly #device: SimulatedDevice;
  readonly #engineRandom: Random;
  readonly #files = new Map<string, Medium>();
  readonly #directories = new Set(['/', '.']);
  readonly #handles = new Map<number, Handle>();
  readonly #lockHolders = new Map<Medium, number>();
  /** No number is used twice, so a handle is invalid after its file was closed. */
  #nextHandle = 1000;

  /** @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION */
  constructor(options?: Partial<SimulatedDiskOptions>) {
    this.options = resolveOptions<SimulatedDiskOptions>('simulated disk', shape, options);
    const { seed, alignment, latencyTurns, capacityBytes } = this.options;
    const random = new Random(seed);
    this.#engineRandom = new Random(random.uint32());
    this.#device = new SimulatedDevice({
      random,
      faultRandom: new Random(random.uint32()),
      alignment,
      latencyTurns,
      onOperation: (index, phase, request) => this.onOperation?.(index, phase, request),
      hasSpaceFor: (growthBytes) => this.usedBytes + growthBytes <= capacityBytes,
    });
  }

  /** Requests submitted so far: the index of the next one. Reads, writes, flushes, syncs and preallocations count. */
  get operations(): number {
    return this.#device.operations;
  }

  /** Requests that a planted fault has struck. */
  get faultsStruck(): number {
    return this.#device.faults.struck;
  }

  get usedBytes(): number {
    let total = 0;
    for (const medium of this.#media) total += medium.sizeBytes;
    return total;
  }

  /** Each file once, whatever names it has. */
  get #media(): ReadonlySet<Medium> {
    return new Set(this.#files.values());
  }

  /** Plants a fault; the function that is returned takes it out again. */
  inject(fault: Fault): () => void {
    refuseUnknown('inject', { at: 0, kind: 0, sticky: 0 }, fault, 'property');
    return this.#device.faults.plant(fault);
  }

  /** Stops the machine: nothing completes any more, promises stay pending, nothing keeps the process alive. */
  stop(): void {
    this.#device.stop();
  }

  /**
   * The disk that the next boot finds if the power fails now. This one goes on, unless `stop` is called. Pages are shared,
   * so an image costs little more than its unflushed writes.
   *
   * - `none`: only what was flushed; `all`: everything, requests in flight included;
   * - `subset`: each write that was not flushed is there or not; one in flight may be there in parts;
   * - `torn`: as `subset`, and one write is cut off at a sector boundary.
   *
   * @param options of the new disk, where they differ from those of this one
   */
  powerCut(mode: PowerCutMode, random: Random, options?: Partial<SimulatedDiskOptions>): SimulatedDisk {
    const image = new SimulatedDisk({ ...this.options, seed: random.uint32(), ...options });
    for (const directory of this.#directories) image.#directories.add(directory);
    const candidates = mode !== 'torn' ? [] : [...this.#media].flatMap((medium) => medium.unflushed);
    const tearable = candidates.filter((change) => change.bytes().length > SECTOR_BYTES);
    const torn = tearable[random.below(tearable.length)] ?? null;
    const plan = { mode, random, keepChance: random.float(), torn };
    const images = new Map([...this.#media].map((medium) => [medium, medium.image(plan)]));
    for (const [path, medium] of this.#files) image.#files.set(path, images.get(medium) as Medium);
    return image;
  }

  /**
   * Whether another disk, too, has just these files with just these bytes, and all of it is on the medium. What is done
   * with the one tells then of the other. Of images that share their pages it is cheap to ask.
   *
   * @internal
   */
  holdsSame(other: SimulatedDisk): boolean {
    if (this.#files.size !== other.#files.size || this.#directories.size !== other.#directories.size) return false;
    for (const directory of this.#directories) if (!other.#directories.has(directory)) return false;
    for (const [path, medium] of this.#files) if (other.#files.get(path)?.holdsSame(medium) !== true) return false;
    return true;
  }

  /** A copy of what a reader of the file sees now. */
  bytesOf(path: string): Uint8Array {
    const medium = this.#require('read', path);
    const bytes = new Uint8Array(medium.sizeBytes);
    medium.read(0, bytes);
    return bytes;
  }

  /** Changes bytes on the medium and in its cache, at any place: damage. */
  writeRaw(path: string, offset: number, bytes: Uint8Array): void {
    this.#require('write', path).overwrite(offset, bytes.slice());
  }

  /** Puts a file there, in place of another of this name if there is one: whatever a store may find. Its directory is made. */
  placeRaw(path: string, bytes: Uint8Array): void {
    const name = normalize(path);
    for (let parent = posix.dirname(name); !this.#directories.has(parent); parent = posix.dirname(parent)) {
      this.#directories.add(parent);
    }
    const medium = new Medium();
    medium.overwrite(0, bytes.slice());
    this.#files.set(name, medium);
  }

  async open(path: string, given?: OpenFileOptions): Promise<DirectFile> {
    const options = resolveOpenOptions('open', given);
    return this.#later(() => {
      const name = normalize(path);
      let medium = this.#files.get(name);
      if (medium !== undefined && options.create && options.exclusive) {
        throw new SystemCallError('open', EEXIST, path);
      }
      if (medium === undefined) {
        if (!options.create || !this.#directories.has(posix.dirname(name))) {
          throw new SystemCallError('open', ENOENT, path);
        }
        medium = new Medium();
        this.#files.set(name, medium);
      }
      const number = this.#nextHandle++;
      const handle = { number, path, medium, isReadOnly: options.readOnly, inFlight: 0 };
      this.#handles.set(number, handle);
      return new SimulatedFile(this.#fileHost, number, handle);
    });
  }

  list(directory: string): Promise<string[] | undefined> {
    return this.#later(() => {
      const parent = normalize(directory);
      if (!this.#directories.has(parent)) return undefined;
      const names = [...this.#files.keys(), ...this.#directories];
      return names
        .filter((name) => name !== parent && posix.dirname(name) === parent)
        .map((name) => posix.basename(name))
        .sort();
    });
  }

  makeDirectory(directory: string): Promise<void> {
    return this.#later(() => {
      for (let name = normalize(directory); !this.#directories.has(name); name = posix.dirname(name)) {
        if (this.#files.has(name)) throw new SystemCallError('mkdir', EEXIST, directory);
        this.#directories.add(name);
      }
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.#later(() => {
      const medium = this.#require('rename', from);
      const target = normalize(to);
      if (!this.#directories.has(posix.dirname(target))) throw new SystemCallError('rename', ENOENT, to);
      this.#files.delete(normalize(from));
      this.#files.set(target, medium);
    });
  }

  remove(path: string): Promise<void> {
    return this.#later(() => {
      this.#require('unlink', path);
      this.#files.delete(normalize(path));
    });
  }

  /** Nothing to do: names are durable at once. */
  syncDirectory(directory: string): Promise<void> {
    return this.#later(() => {
      if (this.#files.has(normalize(directory))) throw new SystemCallError('open', ENOTDIR, directory);
      if (!this.#directories.has(normalize(directory))) throw new SystemCallError('open', ENOENT, directory);
    });
  }

  createEngine(options: EngineOptions): Engine {
    const host = {
      device: this.#device,
      random: this.#engineRandom,
      refusalChance: this.options.refusalChance,
      handle: (number: number) => this.#handles.get(number),
    };
    return new SimulatedEngine(host, options);
  }

  get #fileHost() {
    return {
      device: this.#device,
      later: <T>(work: () => T) => this.#later(work),
      lock: (number: number) => this.#lock(number),
      link: (number: number, path: string) => this.#link(number, path),
      forget: (number: number) => this.#forget(number),
    };
  }

  #require(syscall: string, path: string): Medium {
    const medium = this.#files.get(normalize(path));
    if (medium === undefined) throw new SystemCallError(syscall, ENOENT, path);
    return medium;
  }

  #lock(number: number): string | undefined {
    const medium = this.#handles.get(number)?.medium;
    if (medium === undefined) throw new SystemCallError('flock', EBADF);
    const holder = this.#lockHolders.get(medium);
    if (holder !== undefined && holder !== number) return `process ${process.pid}`;
    this.#lockHolders.set(medium, number);
    return undefined;
  }

  #link(number: number, path: string): void {
    const handle = this.#handles.get(number);
    if (handle === undefined) throw new SystemCallError('link', EBADF);
    const target = normalize(path);
    if (this.#files.has(target) || this.#directories.has(target)) throw new SystemCallError('link', EEXIST, path);
    const isNamed = this.#files.get(normalize(handle.path)) === handle.medium;
    if (!isNamed || !this.#directories.has(posix.dirname(target))) throw new SystemCallError('link', ENOENT, path);
    this.#files.set(target, handle.medium);
    handle.path = path;
  }

  #forget(number: number): void {
    const medium = this.#handles.get(number)?.medium;
    this.#handles.delete(number);
    if (medium !== undefined && this.#lockHolders.get(medium) === number) this.#lockHolders.delete(medium);
  }

  /** Runs `work` in the next turn of the device; never settles when the machine stops before. */
  #later<T>(work: () => T): Promise<T> {
    this.#device.hold();
    return new Promise((resolve, reject) => {
      this.#device.nextTurn(() => {
        this.#device.release();
        try {
          resolve(work());
        } catch (error) {
          reject(error);
        }
      });
    });
  }
}

/** One spelling for each path. */
function normalize(path: string): string {
  const name = posix.normalize(path);
  return name.length > 1 && name.endsWith('/') ? name.slice(0, -1) : name;
}
