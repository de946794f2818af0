/**
 * abstract-level's own suite over `AioLevel`, in a process of its own, which tape ends with the verdict.
 *
 *   suite-child.ts disk DIRECTORY       stores of @aiokv/kv in a directory
 *   suite-child.ts memory               stores in memory, with every call that a store may have
 */
import { join } from 'node:path';
import { AiokvError } from '@aiokv/core';
import { open } from '@aiokv/kv';
import { AioLevel } from '@aiokv/level';
import type { OpenRequest, StoreOpener } from '@aiokv/level';
import suite from 'abstract-level/test/index.js';
import tape from 'tape';
import { MemoryStore } from './memory-store.ts';

const [kind, directory] = process.argv.slice(2) as [string, string];
let count = 0;

function onDisk(): StoreOpener {
  const place = join(directory, `store-${count++}`);
  // Small ones: there are more than a thousand. The suite leaves those of sublevels open, and the system has few contexts.
  return (request) => open(place, { ...request, segmentBytes: 65536, memoryBytes: 16 << 20, queueDepth: 8 });
}

function inMemory(): StoreOpener {
  let records: ConstructorParameters<typeof MemoryStore>[0];
  return ({ createIfMissing, errorIfExists }: OpenRequest) => {
    if (!createIfMissing && records === undefined) throw new AiokvError('ERR_AIOKV_NOT_FOUND', 'nothing is there');
    if (errorIfExists && records !== undefined) throw new AiokvError('ERR_AIOKV_EXISTS', 'something is there');
    records ??= new Map();
    return new MemoryStore(records);
  };
}

suite({
  test: tape,
  factory: (options?: object) => new AioLevel(kind === 'disk' ? onDisk() : inMemory(), options),
});
