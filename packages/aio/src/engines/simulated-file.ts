/**
 * An open file of the simulated disk. Sizes, growth and syncs take turns of the device like any other request; faults can
 * strike growth and syncs. The lock belongs to the open handle, so a second handle is refused in the same process, too.
 */
import { SystemCallError, assert } from '@aiokv/core';
import { constants } from 'node:os';
import { allocateAligned } from '../buffers.ts';
import type { AlignedBuffer } from '../buffers.ts';
import { Opcode } from '../engine.ts';
import type { Alignment, DirectFile } from '../platform.ts';
import { fileClosed } from '../request-error.ts';
import type { Reportable, SimulatedDevice } from './simulated-device.ts';
import type { OpenHandle } from './simulated-engine.ts';
import type { RequestKind } from './simulated-faults.ts';

const { EBADF } = constants.errno;

/** What the disk does for its open files. */
export interface SimulatedFileHost {
  readonly device: SimulatedDevice;
  /** Runs `work` in a later turn; never settles when the machine stops before. */
  later<T>(work: () => T): Promise<T>;
  /** Takes the lock for a handle; says who holds it if that is another. */
  lock(handle: number): string | undefined;
  /** Gives the file of a handle another name. */
  link(handle: number, path: string): void;
  forget(handle: number): void;
}

export class SimulatedFile implements DirectFile {
  /** -1 once closed. */
  handle: number;
  readonly isDirect = true;
  readonly alignment: Alignment;
  readonly #host: SimulatedFileHost;
  readonly #open: OpenHandle;

  constructor(host: SimulatedFileHost, handle: number, open: OpenHandle) {
    this.#host = host;
    this.#open = open;
    this.handle = handle;
    this.alignment = host.device.alignment;
  }

  get path(): string {
    return this.#open.path;
  }

  async sizeBytes(): Promise<number> {
    this.#requireOpen();
    return this.#host.later(() => this.#open.medium.sizeBytes);
  }

  async preallocate(offset: number, lengthBytes: number): Promise<void> {
    this.#requireOpen();
    if (this.#open.isReadOnly) throw new SystemCallError('fallocate', EBADF, this.path);
    await this.#request('preallocate', 'fallocate', offset, lengthBytes);
  }

  async punchHole(offset: number, lengthBytes: number): Promise<void> {
    this.#requireOpen();
    if (this.#open.isReadOnly) throw new SystemCallError('fallocate', EBADF, this.path);
    const zeros = allocateAligned(lengthBytes, this.alignment.memory);
    const result = await this.#submit('write', zeros, 0, lengthBytes, offset);
    if (result < 0) throw new SystemCallError('fallocate', result, this.path);
  }

  async truncate(sizeBytes: number): Promise<void> {
    this.#requireOpen();
    if (this.#open.isReadOnly) throw new SystemCallError('ftruncate', EBADF, this.path);
    await this.#request('truncate', 'ftruncate', sizeBytes, 0);
  }

  async transferOnThread(
    opcode: Opcode,
    buffer: AlignedBuffer,
    bufferOffset: number,
    lengthBytes: number,
    fileOffset: number,
  ): Promise<number> {
    if (this.handle < 0) return -EBADF;
    const kind = opcode === Opcode.read ? 'read' : 'write';
    return this.#submit(kind, buffer, bufferOffset, lengthBytes, fileOffset);
  }

  async sync(): Promise<void> {
    this.#requireOpen();
    await this.#request('fsync', 'fsync', 0, 0);
  }

  async lock(): Promise<string | undefined> {
    this.#requireOpen();
    return this.#host.later(() => this.#host.lock(this.handle));
  }

  async linkTo(path: string): Promise<void> {
    this.#requireOpen();
    await this.#host.later(() => this.#host.link(this.handle, path));
  }

  async close(): Promise<void> {
    const { handle } = this;
    if (handle < 0) return;
    assert(this.#open.inFlight === 0, 'a file is closed when nothing is in flight on it');
    this.handle = -1;
    await this.#host.later(() => this.#host.forget(handle));
  }

  async #request(kind: RequestKind, syscall: string, offset: number, lengthBytes: number): Promise<void> {
    const result = await this.#submit(kind, null, 0, lengthBytes, offset);
    if (result < 0) throw new SystemCallError(syscall, result, this.path);
  }

  /** Settles with what the device says. */
  #submit(
    kind: RequestKind,
    buffer: AlignedBuffer | null,
    bufferOffset: number,
    lengthBytes: number,
    offset: number,
  ): Promise<number> {
    const { device } = this.#host;
    const { path, medium } = this.#open;
    device.hold();
    this.#open.inFlight++;
    return new Promise((resolve) => {
      const finish = (result: number, report: Reportable): void => {
        report.noteReported();
        device.release();
        this.#open.inFlight--;
        resolve(result);
      };
      const flags = { isNowait: false, isDurable: false };
      device.submit({ kind, path, medium, buffer, bufferOffset, lengthBytes, offset, ...flags, finish });
    });
  }

  #requireOpen(): void {
    if (this.handle < 0) throw fileClosed(this.path);
  }
}
