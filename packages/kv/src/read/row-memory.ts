/** Where a window has its keys and values: memory of its own (slabs.ts), or memory that the nodes lend it (lent-memory.ts). */

export interface RowMemory {
  /** Takes memory for so many bytes. Returns its place. */
  take(bytes: number): number;
  /** Writes to what was taken. */
  write(place: number, bytes: number, from: Uint8Array, fromAt: number): void;
  /** Where what was taken can be read: `bytesOf` from `offsetOf` on. Valid until the next call. */
  bytesOf(place: number, bytes: number): Uint8Array;
  offsetOf(place: number, bytes: number): number;
  /** What was taken, to be handed out. @param isShared it may share memory with its neighbours (SLABS-1); else it has memory of its own */
  at(place: number, bytes: number, isShared: boolean): Buffer;
  /** What was taken before this place is not needed any more. */
  freeBefore(place: number): void;
  /** Nothing of it is needed any more. */
  free(): void;
}
