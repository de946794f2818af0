export { Cursor } from './cursor.ts';
export type { SeekMode } from './cursor.ts';
export { Entry } from './entry.ts';
export { NodeMemory } from './nodes.ts';
export type { NodeMemoryOptions } from './nodes.ts';
export { KEY_BYTES_MAX } from './probe.ts';
export type { TreeSnapshot } from './snapshot.ts';
export { Tree } from './tree.ts';
