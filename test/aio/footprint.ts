/** What this process holds of the system, as the system itself counts it. */
import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Footprint {
  /** Contexts of Linux AIO: each is a mapping of that name. */
  readonly contexts: number;
  readonly descriptors: number;
}

export function footprint(): Footprint {
  const contexts = readFileSync('/proc/self/maps', 'utf8').match(/\/\[aio\]/g)?.length ?? 0;
  return { contexts, descriptors: readdirSync('/proc/self/fd').length };
}

/** The footprint when it has come down to this one, or what it is after five seconds: contexts are given back late. */
export async function settledFootprint(goal: Footprint): Promise<Footprint> {
  for (let attempt = 0; ; attempt++) {
    const now = footprint();
    if (attempt === 100 || (now.contexts <= goal.contexts && now.descriptors <= goal.descriptors)) return now;
    await sleep(50);
  }
}

/** Requests for which contexts of all processes were made. */
export function systemwideAioNr(): number {
  return Number(readFileSync('/proc/sys/fs/aio-nr', 'utf8'));
}
