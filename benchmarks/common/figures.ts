/** Figures as people read them. */
import { MIB } from '@aiokv/core';

export function count(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

export function mebibytes(bytes: number): string {
  return count(bytes / MIB);
}
