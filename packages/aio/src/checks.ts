/**
 * Checks of a request before it gets a slot. The kernel refuses some misaligned requests and accepts others, so all of
 * them are refused here, with the alignment that is needed.
 */
import { AiokvError, AiokvRangeError, AiokvTypeError } from '@aiokv/core';
import type { AlignedBuffer } from './buffers.ts';
import { RequestFlag } from './engine.ts';
import type { Engine } from './engine.ts';
import type { DirectFile } from './platform.ts';
import { fileClosed } from './request-error.ts';
import type { CompletionHandler } from './slots.ts';

/** The most buffers of one `readv` or `writev`: IOV_MAX. */
const MOST_BUFFERS = 1024;

/** @throws AiokvTypeError ERR_AIOKV_INVALID_ARGUMENT; AiokvError ERR_AIOKV_CLOSED */
export function checkFile(file: DirectFile): void {
  if (typeof file?.handle !== 'number' || typeof file.alignment !== 'object') {
    throw new AiokvTypeError(
      'ERR_AIOKV_INVALID_ARGUMENT',
      `a file is what openFile() or the open() of a platform returns, not ${describe(file)}`,
    );
  }
  if (file.handle < 0) throw fileClosed(file.path);
}

/** @throws AiokvTypeError ERR_AIOKV_INVALID_ARGUMENT */
export function checkHandler(handler: CompletionHandler): void {
  if (typeof handler?.complete === 'function') return;
  throw new AiokvTypeError(
    'ERR_AIOKV_INVALID_ARGUMENT',
    `a handler is an object with a method complete(token, result), not ${describe(handler)}`,
  );
}

/**
 * Checks that buffers are ours and still have their memory. The kernel works with addresses, which stay the same when
 * the memory is transferred to someone else.
 *
 * @throws AiokvTypeError ERR_AIOKV_INVALID_ARGUMENT
 */
export function checkMemory(buffers: AlignedBuffer | readonly AlignedBuffer[] | null): void {
  if (buffers === null) return;
  if (!Array.isArray(buffers)) checkBuffer(buffers as AlignedBuffer);
  else for (const buffer of buffers as readonly AlignedBuffer[]) checkBuffer(buffer);
}

/** As `checkMemory`, for one buffer, which there must be. */
export function checkBuffer(buffer: AlignedBuffer): void {
  // Not by `instanceof`: there may be two copies of this package, or two realms.
  if (typeof buffer?.address !== 'number' || typeof buffer.bytes !== 'object') {
    throw new AiokvTypeError(
      'ERR_AIOKV_INVALID_ARGUMENT',
      `a buffer comes from allocateAligned() or a BufferPool, this is ${describe(buffer)}`,
    );
  }
  if (buffer.byteLength === 0) {
    throw new AiokvTypeError(
      'ERR_AIOKV_INVALID_ARGUMENT',
      'the memory of the buffer was transferred and is no longer there: use another buffer, and send a copy instead',
    );
  }
}

/** @throws AiokvRangeError, AiokvTypeError ERR_AIOKV_INVALID_ARGUMENT; AiokvRangeError ERR_AIOKV_ALIGNMENT */
export function checkTransfer(
  file: DirectFile,
  buffer: AlignedBuffer,
  bufferOffset: number,
  lengthBytes: number,
  fileOffset: number,
): void {
  checkFile(file);
  checkBuffer(buffer);
  const { memory, offset } = file.alignment;
  if (!(isCount(bufferOffset) && isCount(lengthBytes - 1) && bufferOffset + lengthBytes <= buffer.byteLength)) {
    throw new AiokvRangeError(
      'ERR_AIOKV_INVALID_ARGUMENT',
      `${lengthBytes} bytes from ${bufferOffset} are not inside a buffer of ${buffer.byteLength}`,
    );
  }
  if (!isCount(fileOffset)) {
    throw new AiokvRangeError(
      'ERR_AIOKV_INVALID_ARGUMENT',
      `a file offset is a whole number from 0, not ${String(fileOffset)}`,
    );
  }
  // Alignments are powers of two below 2^31, so the low 32 bits decide.
  if (((fileOffset >>> 0) | lengthBytes) & (offset - 1)) {
    throw new AiokvRangeError(
      'ERR_AIOKV_ALIGNMENT',
      `offset ${fileOffset} and length ${lengthBytes} must be multiples of ${offset} for direct I/O to ${file.path}`,
    );
  }
  if (((buffer.address + bufferOffset) >>> 0) & (memory - 1)) {
    throw new AiokvRangeError(
      'ERR_AIOKV_ALIGNMENT',
      `the address of the buffer must be a multiple of ${memory} for direct I/O to ${file.path}: use allocateAligned()`,
    );
  }
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

/** What a value is, for a message that says what was expected instead. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value !== 'object') return typeof value;
  const name: unknown = value.constructor?.name;
  return typeof name === 'string' && name !== '' && name !== 'Object'
    ? `${/^[AEIO]/u.test(name) ? 'an' : 'a'} ${name}`
    : 'an object of another kind';
}

/** @throws AiokvRangeError, AiokvTypeError ERR_AIOKV_INVALID_ARGUMENT; AiokvRangeError ERR_AIOKV_ALIGNMENT */
export function checkVector(file: DirectFile, buffers: readonly AlignedBuffer[], fileOffset: number): void {
  if (!Array.isArray(buffers)) {
    throw new AiokvTypeError(
      'ERR_AIOKV_INVALID_ARGUMENT',
      `a vectored transfer has an array of buffers, not ${describe(buffers)}`,
    );
  }
  if (buffers.length < 1 || buffers.length > MOST_BUFFERS) {
    throw new AiokvRangeError(
      'ERR_AIOKV_INVALID_ARGUMENT',
      `a vectored transfer has 1 to ${MOST_BUFFERS} buffers, not ${buffers.length}`,
    );
  }
  for (const buffer of buffers as readonly AlignedBuffer[]) {
    checkBuffer(buffer);
    checkTransfer(file, buffer, 0, buffer.byteLength, fileOffset);
  }
}

/** @throws AiokvError ERR_AIOKV_UNSUPPORTED for a flag or a priority that the engine would ignore */
export function checkHints({ name, features }: Engine, flags: number, priority: number): void {
  const missing = flags & ~features.flags;
  if (missing === 0 && (priority === 0 || features.priority)) return;
  const what = missing & RequestFlag.dsync ? 'dsync' : missing & RequestFlag.nowait ? 'nowait' : 'priority';
  const remedy = what === 'dsync' ? 'call fdatasync() after it' : "leave it out, or use the engine 'libaio'";
  throw new AiokvError('ERR_AIOKV_UNSUPPORTED', `the engine '${name}' does not support ${what}: ${remedy}`);
}

/** @throws AiokvError ERR_AIOKV_UNSUPPORTED */
export function checkPoll({ name, features }: Engine): void {
  if (features.poll) return;
  throw new AiokvError('ERR_AIOKV_UNSUPPORTED', `the engine '${name}' cannot poll: use 'libaio' or 'io_uring'`);
}

/** @throws AiokvError ERR_AIOKV_UNSUPPORTED */
export function checkWaiting({ name, perform }: Engine, min: number): void {
  if (perform === null || min === 0) return;
  throw new AiokvError(
    'ERR_AIOKV_UNSUPPORTED',
    `the engine '${name}' needs the event loop and cannot be waited for: use promises, or the engine 'libaio'`,
  );
}

const CLASSES = { realtime: 1, 'best-effort': 2, idle: 3 } as const;

/**
 * An I/O priority, as requests take it.
 *
 * @param level 0, the highest, to 7
 * @throws AiokvRangeError ERR_AIOKV_INVALID_ARGUMENT
 */
export function ioPriority(priorityClass: keyof typeof CLASSES, level: number): number {
  if (!Object.hasOwn(CLASSES, priorityClass) || !Number.isSafeInteger(level) || level < 0 || level > 7) {
    throw new AiokvRangeError(
      'ERR_AIOKV_INVALID_ARGUMENT',
      `an I/O priority is one of ${Object.keys(CLASSES).join(', ')} with a level from 0 to 7`,
    );
  }
  return (CLASSES[priorityClass] << 13) | level;
}
