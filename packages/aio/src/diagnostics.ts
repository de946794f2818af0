/**
 * What a queue tells to whoever subscribes, through `node:diagnostics_channel`. Without subscribers a message
 * costs one look at a flag and is not made.
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

/** A batch went down; `result` is how many were accepted, or a negative error number. */
export interface SubmitMessage {
  readonly queue: number;
  readonly count: number;
  readonly result: number;
  /** How long the call took, in milliseconds: what it kept the event loop. */
  readonly durationMs: number;
}

/** Completions were handed to their callers. */
export interface CompleteMessage {
  readonly queue: number;
  readonly count: number;
}

/** A request would have blocked, or the file cannot say so, and a thread carries it out. */
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

/** Tells the user, once for each kind, that a guarantee does not hold. */
export function warnOnce(code: string, message: string): void {
  if (warned.has(code)) return;
  warned.add(code);
  process.emitWarning(message, { type: 'AiokvWarning', code });
}
