/**
 * What a queue publishes through `node:diagnostics_channel`. Without subscribers no message is built; the cost is one
 * look at a flag.
 */
import { channel } from 'node:diagnostics_channel';
import type { EngineName } from './engine.ts';

/** A queue was opened or closed; `queue` is the same number in all messages of one queue. */
export interface QueueMessage {
  readonly queue: number;
  readonly engine: EngineName;
  readonly reason: string;
  readonly depth: number;
}

/** A batch was submitted; `result` is how many requests were accepted, or a negative error number. */
export interface SubmitMessage {
  readonly queue: number;
  readonly count: number;
  readonly result: number;
  /** How long the call took, and so blocked the event loop, in milliseconds. */
  readonly durationMs: number;
}

/** Callers were told of completions. */
export interface CompleteMessage {
  readonly queue: number;
  readonly count: number;
}

/** A thread carries a request out, because it would have blocked or the file system cannot tell. */
export interface FallbackMessage {
  readonly queue: number;
  readonly path: string;
  /** What the kernel answered, a negative error number; 0 where it was not asked. */
  readonly result: number;
}

export const channels = {
  open: channel('aiokv:queue:open'),
  close: channel('aiokv:queue:close'),
  submit: channel('aiokv:queue:submit'),
  complete: channel('aiokv:queue:complete'),
  fallback: channel('aiokv:queue:fallback'),
} as const;

const warned = new Set<string>();

/** Warns the user, once for each code, that a guarantee does not hold. */
export function warnOnce(code: string, message: string): void {
  if (warned.has(code)) return;
  warned.add(code);
  process.emitWarning(message, { type: 'AiokvWarning', code });
}
