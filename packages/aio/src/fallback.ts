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
import type { AlignedBuffer } from './buffers.ts';
import { Opcode } from './engine.ts';
import type { DirectFile } from './platform.ts';

const { EAGAIN, EOPNOTSUPP } = constants.errno;

interface Transfer {
  file: DirectFile;
  opcode: Opcode;
  buffers: AlignedBuffer | readonly AlignedBuffer[];
  bufferOffset: number;
  lengthBytes: number;
  fileOffset: number;
}

export class ThreadFallback {
  /** What was asked for, by slot; null where the request is not one of ours. */
  readonly #transfers: (Transfer | null)[];
  /** Files whose file system does not know NOWAIT. */
  readonly #without = new WeakSet<DirectFile>();

  constructor(slots: number) {
    this.#transfers = new Array<Transfer | null>(slots).fill(null);
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
    this.#transfers[slot] = { file, opcode, buffers, bufferOffset, lengthBytes, fileOffset };
  }

  /** Whether the kernel need not be asked. */
  isKnownToBlock(file: DirectFile): boolean {
    return this.#without.has(file);
  }

  /** The request of the slot was withdrawn. */
  forget(slot: number): void {
    this.#transfers[slot] = null;
  }

  pathOf(slot: number): string {
    return this.#transfers[slot]?.file.path ?? '';
  }

  /** Whether a thread has to go on after this result; if not, the slot is forgotten. */
  mustGoOn(slot: number, result: number): boolean {
    const transfer = this.#transfers[slot];
    if (transfer === null || transfer === undefined) return false;
    if (result === -EOPNOTSUPP) this.#without.add(transfer.file);
    else if (result !== -EAGAIN && (result <= 0 || result >= transfer.lengthBytes)) {
      this.#transfers[slot] = null;
      return false;
    }
    return true;
  }

  /** Carries out what is left of a transfer; returns the result of the whole. */
  async goOn(slot: number, result: number): Promise<number> {
    const transfer = this.#transfers[slot] as Transfer;
    this.#transfers[slot] = null;
    let done = Math.max(0, result);
    // What is left may begin inside a block, where the file wants whole ones.
    done -= done % transfer.file.alignment.offset;
    for (const piece of piecesOf(transfer, done)) {
      const count = await transfer.file.transferOnThread(
        isRead(transfer.opcode) ? Opcode.read : Opcode.write,
        piece.buffer,
        piece.bufferOffset,
        piece.lengthBytes,
        transfer.fileOffset + done,
      );
      // What went before a failure was transferred.
      if (count < 0) return done > 0 ? done : count;
      done += count;
      if (count < piece.lengthBytes) break;
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
