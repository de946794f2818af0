export { Cursor } from './cursor.ts';
export type { SeekMode } from './cursor.ts';
export { Entry } from './entry.ts';
export * as node from './node.ts';
export { NodeMemory } from './nodes.ts';
export type { TreeSnapshot } from './snapshot.ts';
export { Tree } from './tree.ts';
