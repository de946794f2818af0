import type { Version } from '@aiokv/kv';

/** Users may not make versions; tests know that they are sequence numbers. */
export function version(sequence: number): Version {
  return sequence as unknown as Version;
}
