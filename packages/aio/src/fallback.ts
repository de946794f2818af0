/**
 * The never-blocking guarantee of a queue. Each transfer asks the kernel to refuse rather than block the submitting call
 * (RWF_NOWAIT); a thread carries out what is refused.
 *
 * ```
 *   transfer ─► NOWAIT ─► done
 *                  ├─ EAGAIN, or short ──────► the rest on a thread ─► done
 *                  └─ EOPNOTSUPP ────────────► a thread, and from then on all transfers of this file
 * ```
 *
 * A write with RWF_DSYNC is flushed by the thread that carries it out, or its rest: what was written before is covered, too.
 *
 * A short NOWAIT transfer has met the end of the file, or a place where it would have blocked; the thread finds out
 * which. Seastar's reactor does the same.
 */
import { constants } from 'node:os';
import { assert } from '@aiokv/core';
import type { AlignedBuffer } from './buffers.ts';
import { Opcode, RequestFlag } from './engine.ts';
import type { DirectFile } from './platform.ts';

const { EAGAIN, EOPNOTSUPP } = constants.errno;

const NO_BUFFERS: readonly AlignedBuffer[] = [];

/** What a request asked for; one object for each slot, used again and again. */
class Transfer {
  /** Null while the slot has no transfer of ours. */
  file: DirectFile | null = null;
  opcode: Opcode = Opcode.read;
  buffers: AlignedBuffer | readonly AlignedBuffer[] = NO_BUFFERS;
  bufferOffset = 0;
  lengthBytes = 0;
  fileOffset = 0;
  isDurable = false;

  clear(): void {
    this.file = null;
    this.buffers = NO_BUFFERS;
  }
}

export class ThreadFallback {
  /** By slot, each made when first needed. */
  readonly #transfers: (Transfer | undefined)[];
  /** Files whose file system does not support NOWAIT. */
  readonly #without = new WeakSet<DirectFile>();

  constructor(slots: number) {
    this.#transfers = new Array<Transfer | undefined>(slots).fill(undefined);
  }

  /** Remembers a transfer before it is submitted with NOWAIT or handed to a thread; see `isKnownToBlock`. */
  note(
    slot: number,
    opcode: Opcode,
    file: DirectFile,
    buffers: AlignedBuffer | readonly AlignedBuffer[],
    bufferOffset: number,
    lengthBytes: number,
    fileOffset: number,
    flags: number,
  ): void {
    const transfer = (this.#transfers[slot] ??= new Transfer());
    transfer.file = file;
    transfer.opcode = opcode;
    transfer.buffers = buffers;
    transfer.bufferOffset = bufferOffset;
    transfer.lengthBytes = lengthBytes;
    transfer.fileOffset = fileOffset;
    transfer.isDurable = (flags & RequestFlag.dsync) !== 0;
  }

  /** Whether the file is known not to support NOWAIT, so that asking is pointless. */
  isKnownToBlock(file: DirectFile): boolean {
    return this.#without.has(file);
  }

  /** The request of the slot was withdrawn. */
  forget(slot: number): void {
    this.#transfers[slot]?.clear();
  }

  pathOf(slot: number): string {
    return this.#transfers[slot]?.file?.path ?? '';
  }

  /** Whether a thread has to go on after this result; if not, the slot is forgotten. */
  mustGoOn(slot: number, result: number): boolean {
    const transfer = this.#transfers[slot];
    if (transfer === undefined || transfer.file === null) return false;
    if (result === -EOPNOTSUPP) this.#without.add(transfer.file);
    else if (result !== -EAGAIN && (result <= 0 || result >= transfer.lengthBytes)) {
      transfer.clear();
      return false;
    }
    return true;
  }

  /**
   * Carries out what is left of a transfer; returns the result of the whole.
   *
   * @throws SystemCallError when a write that is durable with its completion cannot be flushed
   */
  async goOn(slot: number, result: number): Promise<number> {
    const transfer = this.#transfers[slot] as Transfer;
    const { file, opcode, fileOffset, isDurable } = transfer;
    assert(file !== null, 'a transfer is noted before it goes on');
    let done = Math.max(0, result);
    // The rest may begin inside a block, but the file takes whole blocks only.
    done -= done % file.alignment.offset;
    const pieces = piecesOf(transfer, done);
    transfer.clear();
    for (const { buffer, bufferOffset, lengthBytes } of pieces) {
      const direction = isRead(opcode) ? Opcode.read : Opcode.write;
      const count = await file.transferOnThread(direction, buffer, bufferOffset, lengthBytes, fileOffset + done);
      // The bytes before the failure were transferred.
      if (count < 0) return done > 0 ? done : count;
      done += count;
      if (count < lengthBytes) break;
    }
    if (isDurable) await file.sync();
    return done;
  }
}

interface Piece {
  readonly buffer: AlignedBuffer;
  readonly bufferOffset: number;
  readonly lengthBytes: number;
}

/** The parts of its buffers after the first `skipBytes`. */
function piecesOf({ buffers, bufferOffset, lengthBytes }: Transfer, skipBytes: number): Piece[] {
  if (!Array.isArray(buffers)) {
    const buffer = buffers as AlignedBuffer;
    return [{ buffer, bufferOffset: bufferOffset + skipBytes, lengthBytes: lengthBytes - skipBytes }];
  }
  let skip = skipBytes;
  return (buffers as readonly AlignedBuffer[]).flatMap((buffer) => {
    const from = Math.min(skip, buffer.byteLength);
    skip -= from;
    return from === buffer.byteLength ? [] : [{ buffer, bufferOffset: from, lengthBytes: buffer.byteLength - from }];
  });
}

function isRead(opcode: Opcode): boolean {
  return opcode === Opcode.read || opcode === Opcode.readv;
}
