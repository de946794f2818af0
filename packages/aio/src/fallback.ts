/**
 * The never-blocking guarantee of a queue: each transfer asks the kernel to refuse rather than to block the
 * submitting call (RWF_NOWAIT), and what is refused is carried out by a thread.
 *
 * ```
 *   transfer ─► NOWAIT ─► done
 *                  ├─ EAGAIN, or short ──────► the rest on a thread ─► done
 *                  └─ EOPNOTSUPP ────────────► a thread, and from then on all transfers of this file
 * ```
 *
 * A short NOWAIT transfer is either the end of the file or the place where it would have blocked; the thread
 * finds out. After Seastar's reactor, which retries what NOWAIT refuses in a thread.
 */
import { constants } from 'node:os';
import { assert } from '@aiokv/core';
import type { AlignedBuffer } from './buffers.ts';
import { Opcode } from './engine.ts';
import type { DirectFile } from './platform.ts';

const { EAGAIN, EOPNOTSUPP } = constants.errno;

const NO_BUFFERS: readonly AlignedBuffer[] = [];

/** What a request asked for, from its acceptance on; one object a slot, used again and again. */
class Transfer {
  /** Null while the slot has no transfer of ours. */
  file: DirectFile | null = null;
  opcode: Opcode = Opcode.read;
  buffers: AlignedBuffer | readonly AlignedBuffer[] = NO_BUFFERS;
  bufferOffset = 0;
  lengthBytes = 0;
  fileOffset = 0;

  clear(): void {
    this.file = null;
    this.buffers = NO_BUFFERS;
  }
}

export class ThreadFallback {
  /** Made when first needed, by slot. */
  readonly #transfers: (Transfer | undefined)[];
  /** Files whose file system does not know NOWAIT. */
  readonly #without = new WeakSet<DirectFile>();

  constructor(slots: number) {
    this.#transfers = new Array<Transfer | undefined>(slots).fill(undefined);
  }

  /** Remembers a transfer that goes down with NOWAIT, or not at all; see `isKnownToBlock`. */
  note(
    slot: number,
    opcode: Opcode,
    file: DirectFile,
    buffers: AlignedBuffer | readonly AlignedBuffer[],
    bufferOffset: number,
    lengthBytes: number,
    fileOffset: number,
  ): void {
    const transfer = (this.#transfers[slot] ??= new Transfer());
    transfer.file = file;
    transfer.opcode = opcode;
    transfer.buffers = buffers;
    transfer.bufferOffset = bufferOffset;
    transfer.lengthBytes = lengthBytes;
    transfer.fileOffset = fileOffset;
  }

  /** Whether the kernel need not be asked. */
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

  /** Carries out what is left of a transfer; returns the result of the whole. */
  async goOn(slot: number, result: number): Promise<number> {
    const transfer = this.#transfers[slot] as Transfer;
    const { file, opcode, fileOffset } = transfer;
    assert(file !== null, 'what goes on was noted');
    let done = Math.max(0, result);
    // What is left may begin inside a block, where the file wants whole ones.
    done -= done % file.alignment.offset;
    const pieces = piecesOf(transfer, done);
    transfer.clear();
    for (const { buffer, bufferOffset, lengthBytes } of pieces) {
      const direction = isRead(opcode) ? Opcode.read : Opcode.write;
      const count = await file.transferOnThread(direction, buffer, bufferOffset, lengthBytes, fileOffset + done);
      // What went before a failure was transferred.
      if (count < 0) return done > 0 ? done : count;
      done += count;
      if (count < lengthBytes) break;
    }
    return done;
  }
}

interface Piece {
  readonly buffer: AlignedBuffer;
  readonly bufferOffset: number;
  readonly lengthBytes: number;
}

/** The parts of its buffers behind the first `skipBytes`. */
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
