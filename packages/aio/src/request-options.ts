/**
 * The options of requests, with units and defaults, and the check of their names. They come with every request, so the
 * check allocates nothing when all is well.
 */
import { AiokvTypeError, refuseUnknown } from '@aiokv/core';
import type { EarlyEnd } from './abort.ts';
import { RequestFlag } from './engine.ts';

export interface RequestOptions extends EarlyEnd {
  /** Complete with EAGAIN instead of blocking the submitting call; default false. */
  readonly nowait?: boolean;
  /** The result of `ioPriority`; default: that of the process. */
  readonly priority?: number;
  /** A write that is durable when it completes; default false. Writes only. */
  readonly dsync?: boolean;
}

export interface TransferOptions extends RequestOptions {
  /** Offset in the file, in bytes; a multiple of the file's offset alignment. */
  readonly offset: number;
  /** Bytes to transfer; default: to the end of the buffer. A multiple of the file's offset alignment. */
  readonly length?: number;
  /** Where in the buffer; default 0. A multiple of the file's memory alignment. */
  readonly bufferOffset?: number;
  /**
   * `'report'`: a short result is returned as it is; the default. `'continue'`: the transfer goes on until all is done, or
   * the file ends.
   */
  readonly onShort?: 'report' | 'continue';
}

export interface VectorOptions extends RequestOptions {
  /** Offset in the file, in bytes; a multiple of the file's offset alignment. */
  readonly offset: number;
}

export interface PollOptions extends EarlyEnd {
  /** Events to wait for, as in `poll(2)`; default POLLIN, 1. */
  readonly events?: number;
}

export interface GetEventsOptions {
  /** Completions to wait for; default 1. With 0 it does not wait. */
  readonly min?: number;
  /** Most completions to hand out; default: the depth. */
  readonly max?: number;
  /** How long to wait, in milliseconds; default: no limit. */
  readonly timeoutMs?: number;
}

/** The names of the options. */
const EARLY_END = { signal: 0, deadlineMs: 0 };
const VECTOR = { offset: 0, nowait: 0, priority: 0, dsync: 0, ...EARLY_END };
const TRANSFER = { length: 0, bufferOffset: 0, onShort: 0, ...VECTOR };
const POLL = { events: 0, ...EARLY_END };
const GET_EVENTS = { min: 0, max: 0, timeoutMs: 0 };

/** @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION, as all of these */
export function checkTransferOptions(where: string, options: TransferOptions): void {
  checkGiven(where, TRANSFER, options);
  const { onShort } = options;
  if (onShort === undefined || onShort === 'report' || onShort === 'continue') return;
  throw new AiokvTypeError(
    'ERR_AIOKV_INVALID_OPTION',
    `${where}: option 'onShort' must be one of 'report', 'continue', not ${String(onShort)}`,
  );
}

export function checkVectorOptions(where: string, options: VectorOptions): void {
  checkGiven(where, VECTOR, options);
}

export function checkFlushOptions(where: string, options: EarlyEnd): void {
  refuseUnknown(where, EARLY_END, options);
}

export function checkPollOptions(options: PollOptions): void {
  refuseUnknown('poll', POLL, options);
}

export function checkGetEventsOptions(options: GetEventsOptions): void {
  refuseUnknown('getEvents', GET_EVENTS, options);
}

function checkGiven(where: string, shape: object, options: object | undefined): void {
  refuseUnknown(where, shape, options);
  if (options === undefined) {
    throw new AiokvTypeError('ERR_AIOKV_INVALID_OPTION', `${where}: the option 'offset' must be given`);
  }
}

export function flagsOf({ nowait, dsync }: RequestOptions): number {
  return (nowait === true ? RequestFlag.nowait : 0) | (dsync === true ? RequestFlag.dsync : 0);
}
