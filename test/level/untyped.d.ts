/** Packages that the tests of Level run, and that have no types. */
declare module 'abstract-level/test/index.js' {
  import type { AbstractLevel } from 'abstract-level';
  export default function suite(common: { test: unknown; factory(options?: object): AbstractLevel<Buffer> }): void;
}

declare module 'tape' {
  const tape: unknown;
  export default tape;
}

declare module 'y-leveldb' {
  import type { Doc } from 'yjs';

  export class LeveldbPersistence {
    constructor(location: string, options?: { Level?: unknown; levelOptions?: object });
    getYDoc(name: string): Promise<Doc>;
    storeUpdate(name: string, update: Uint8Array): Promise<number>;
    getStateVector(name: string): Promise<Uint8Array>;
    getDiff(name: string, stateVector: Uint8Array): Promise<Uint8Array>;
    clearDocument(name: string): Promise<void>;
    setMeta(name: string, key: string, value: unknown): Promise<void>;
    getMeta(name: string, key: string): Promise<unknown>;
    getAllDocNames(): Promise<string[]>;
    destroy(): Promise<void>;
  }
}
