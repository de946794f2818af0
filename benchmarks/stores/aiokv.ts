/** aiokv's own store. */
import { open } from '@aiokv/kv';
import type { Durability, Store } from '@aiokv/kv';
import { ENTRIES_AT_ONCE } from './store.ts';
import type { BenchStore, DurabilityClass, OpenRequest, Put, ScanRange } from './store.ts';

export const DURABILITY: Readonly<Record<DurabilityClass, Durability>> = {
  none: 'buffered',
  written: 'written',
  flushed: 'flushed',
};

export async function openAiokv({ directory, durability, options }: OpenRequest): Promise<BenchStore> {
  return new Aiokv(await open(directory, { durability: DURABILITY[durability], ...options }));
}

export async function openAiokvPuts({ directory, durability, options }: OpenRequest): Promise<BenchStore> {
  return new AiokvPuts(await open(directory, { durability: DURABILITY[durability], ...options }));
}

class Aiokv implements BenchStore {
  protected readonly store: Store;

  constructor(store: Store) {
    this.store = store;
  }

  put(key: Buffer, value: Buffer): Promise<unknown> {
    return this.store.put(key, value);
  }

  write(puts: readonly Put[]): Promise<unknown> {
    return this.store.batch(puts);
  }

  delete(key: Buffer): Promise<unknown> {
    return this.store.del(key);
  }

  get(key: Buffer): Promise<Uint8Array | undefined> {
    return this.store.get(key);
  }

  async scan(range: ScanRange, visit: (key: Uint8Array, value: Uint8Array) => void): Promise<void> {
    const iterator = this.store.iterator(range);
    for (let rows = await iterator.nextMany(ENTRIES_AT_ONCE); rows.length > 0;) {
      for (const [key, value] of rows) visit(key, value);
      rows = await iterator.nextMany(ENTRIES_AT_ONCE);
    }
  }

  flush(): Promise<unknown> {
    return this.store.flush();
  }

  compact(): Promise<unknown> {
    return this.store.compact();
  }

  close(): Promise<unknown> {
    return this.store.close();
  }
}

/** The records of a batch one by one, as many at a time as a server with so many clients would write. */
class AiokvPuts extends Aiokv {
  static readonly WRITERS = 128;

  override async write(puts: readonly Put[]): Promise<unknown> {
    let next = 0;
    const writer = async (): Promise<void> => {
      while (next < puts.length) {
        const { key, value } = puts[next++] as Put;
        await this.store.put(key, value);
      }
    };
    return Promise.all(Array.from({ length: AiokvPuts.WRITERS }, writer));
  }
}
