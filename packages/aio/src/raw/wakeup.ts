/**
 * An eventfd in Node's own event loop, so that a completion wakes the loop and nothing has to spin.
 *
 * Node's sockets take pipes but refuse an eventfd. So a pipe is made, its read end is given to a
 * `net.Socket`, and then the eventfd is put in its place with `dup3`, under the same descriptor:
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
import type { Libc } from './libc.ts';
import { requireSuccess } from './libc.ts';

const O_NONBLOCK = 0x800;
const O_CLOEXEC = 0x80000;

export class Wakeup {
  /** What a request names in `setEventfd`. */
  readonly eventfd: number;
  readonly #socket: Socket;

  /** @throws SystemCallError when the process has no descriptors left */
  constructor(libc: Libc, onWake: () => void) {
    const ends = new Int32Array(2);
    requireSuccess(libc, 'pipe2', libc.pipe2(libc.ffi.addressOf(ends.buffer), O_CLOEXEC | O_NONBLOCK));
    const [readEnd, writeEnd] = ends as unknown as [number, number];
    const eventfd = requireSuccess(libc, 'eventfd', libc.eventfd(0, O_CLOEXEC | O_NONBLOCK));
    const onread = {
      buffer: Buffer.alloc(8),
      callback: () => {
        onWake();
        return true;
      },
    };
    // `onread` is documented for `new net.Socket`, too, but its types know it for `connect` only.
    this.#socket = new Socket({ fd: readEnd, readable: true, writable: false, onread } as SocketConstructorOpts);
    requireSuccess(libc, 'dup3', libc.dup3(eventfd, readEnd, O_CLOEXEC));
    libc.close(eventfd);
    libc.close(writeEnd);
    this.eventfd = readEnd;
    this.#socket.unref();
  }

  /** Whether the process stays alive to be woken. */
  setActive(active: boolean): void {
    if (active) this.#socket.ref();
    else this.#socket.unref();
  }

  /** Closes the eventfd. No request that names it may be in flight. */
  close(): void {
    this.#socket.destroy();
  }
}
