/**
 * An eventfd in Node's event loop, so that a completion wakes the loop.
 *
 * Node's sockets accept pipes but refuse an eventfd. So a `net.Socket` gets the read end of a pipe, and then `dup3` puts
 * the eventfd in its place, under the same descriptor:
 *
 * ```
 *   pipe ─► descriptor ─► net.Socket          eventfd ──dup3──► the same descriptor
 *   kernel: completion ─► eventfd ─► epoll of libuv ─► read of 8 bytes ─► onWake
 * ```
 *
 * A wake-up takes 3 to 4 us, works in workers (each has its own loop), and an exception in `onWake` is an
 * uncaught exception like any other.
 */
import { Socket } from 'node:net';
import type { SocketConstructorOpts } from 'node:net';
import { SystemCallError } from '@aiokv/core';
import type { Libc } from './libc.ts';
import { requireSuccess, toInt } from './libc.ts';

const O_NONBLOCK = 0x800;
const O_CLOEXEC = 0x80000;
/**
 * An eventfd gives 8 bytes. Since they do not fill the buffer, libuv knows that there is no more, and does not read a
 * second time.
 */
const READ_BYTES = 64;

export class Wakeup {
  /** The descriptor for `setEventfd`. */
  readonly eventfd: number;
  readonly #socket: Socket;

  /** @throws SystemCallError when the process has no descriptors left; none is lost then */
  constructor(libc: Libc, onWake: () => void) {
    const eventfd = requireSuccess(libc, 'eventfd', libc.eventfd(0, O_CLOEXEC | O_NONBLOCK));
    try {
      const ends = new Int32Array(2);
      requireSuccess(libc, 'pipe2', libc.pipe2(libc.ffi.addressOf(ends.buffer), O_CLOEXEC | O_NONBLOCK));
      const [readEnd, writeEnd] = ends as unknown as [number, number];
      this.#socket = readingSocket(readEnd, onWake);
      libc.close(writeEnd);
      const result = libc.dup3(eventfd, readEnd, O_CLOEXEC);
      if (toInt(result) < 0) {
        const errno = libc.errno();
        this.#socket.destroy();
        throw new SystemCallError('dup3', errno);
      }
      this.eventfd = readEnd;
      this.#socket.unref();
    } finally {
      libc.close(eventfd);
    }
  }

  /** Sets whether the process stays alive to be woken. */
  setActive(active: boolean): void {
    if (active) this.#socket.ref();
    else this.#socket.unref();
  }

  /** Closes the eventfd. No request that names it may be in flight. */
  close(): void {
    this.#socket.destroy();
  }
}

function readingSocket(fd: number, onWake: () => void): Socket {
  const onread = {
    buffer: Buffer.alloc(READ_BYTES),
    callback: () => {
      onWake();
      return true;
    },
  };
  // `onread` is documented for `new net.Socket`, too, but its types know it for `connect` only.
  return new Socket({ fd, readable: true, writable: false, onread } as SocketConstructorOpts);
}
