/**
 * A store in memory with all that a `KeyValueStore` may have: what an adapter does with a store that is not the class of
 * @aiokv/kv, and with the calls that not every store has. Slow: a walk copies everything. `calls` counts.
 */
import type {
  KeyValueBytes,
  KeyValueIterator,
  KeyValueIteratorOptions,
  KeyValueOperation,
  KeyValueRange,
  KeyValueSnapshot,
  KeyValueStore,
} from '@aiokv/core';

type Row = readonly [Buffer, Buffer];

function bytesOf(value: KeyValueBytes): Buffer {
  if (typeof value === 'string') return Buffer.from(value);
  return ArrayBuffer.isView(value)
    ? Buffer.from(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))
    : Buffer.from(new Uint8Array(value));
}

/** Text in which the order of characters is that of the bytes. */
function nameOf(key: KeyValueBytes): string {
  return bytesOf(key).toString('latin1');
}

function isIn(key: Buffer, { gt, gte, lt, lte }: KeyValueRange): boolean {
  const order = (bound: KeyValueBytes): number => key.compare(bytesOf(bound));
  return (
    (gt === undefined || order(gt) > 0) &&
    (gte === undefined || order(gte) >= 0) &&
    (lt === undefined || order(lt) < 0) &&
    (lte === undefined || order(lte) <= 0)
  );
}

class MemoryWalk<T> implements KeyValueIterator<T> {
  readonly #rows: readonly Row[];
  readonly #pick: (row: Row) => T;
  readonly #isReverse: boolean;
  #left: number;
  #at = 0;

  constructor(rows: readonly Row[], options: KeyValueIteratorOptions, pick: (row: Row) => T) {
    this.#isReverse = options.reverse === true;
    const inRange = rows.filter(([key]) => isIn(key, options));
    this.#rows = this.#isReverse ? inRange.reverse() : inRange;
    this.#left = options.limit ?? Infinity;
    this.#pick = pick;
  }

  async next(): Promise<IteratorResult<T>> {
    const row = this.#left > 0 ? this.#rows[this.#at] : undefined;
    if (row === undefined) return { done: true, value: undefined };
    this.#at++;
    this.#left--;
    return { done: false, value: this.#pick(row) };
  }

  async return(): Promise<void> {
    this.#left = 0;
  }

  seek(target: KeyValueBytes): void {
    const bytes = bytesOf(target);
    const found = this.#rows.findIndex(([key]) =>
      this.#isReverse ? key.compare(bytes) <= 0 : key.compare(bytes) >= 0,
    );
    this.#at = found === -1 ? this.#rows.length : found;
  }
}

export class MemoryStore implements KeyValueStore<number> {
  readonly calls = new Map<string, number>();
  readonly #records: Map<string, Row>;

  /** @param records shared by the openings of a store */
  constructor(records = new Map<string, Row>()) {
    this.#records = records;
  }

  async get(key: KeyValueBytes): Promise<Buffer | undefined> {
    this.#count('get');
    return this.#value(key);
  }

  getSync(key: KeyValueBytes): Buffer | undefined {
    this.#count('getSync');
    return this.#value(key);
  }

  async getMany(keys: readonly KeyValueBytes[]): Promise<(Buffer | undefined)[]> {
    this.#count('getMany');
    return keys.map((key) => this.#value(key));
  }

  async getVersioned(): Promise<never> {
    throw new Error('not for these tests');
  }

  async has(key: KeyValueBytes): Promise<boolean> {
    this.#count('has');
    return this.#records.has(nameOf(key));
  }

  async put(key: KeyValueBytes, value: KeyValueBytes): Promise<void> {
    this.#count('put');
    this.#put(key, value);
  }

  async del(key: KeyValueBytes): Promise<void> {
    this.#count('del');
    this.#records.delete(nameOf(key));
  }

  async batch(operations: readonly KeyValueOperation<number>[]): Promise<void> {
    this.#count('batch');
    for (const operation of operations) {
      if (operation.type === 'put') this.#put(operation.key, operation.value);
      else this.#records.delete(nameOf(operation.key));
    }
  }

  async deleteRange(range: KeyValueRange): Promise<void> {
    this.#count('deleteRange');
    for (const [key] of this.#sorted()) if (isIn(key, range)) this.#records.delete(nameOf(key));
  }

  iterator(options: KeyValueIteratorOptions = {}): KeyValueIterator<[Buffer, Buffer]> {
    this.#count('iterator');
    return new MemoryWalk(this.#sorted(), options, ([key, value]) => [Buffer.from(key), Buffer.from(value)]);
  }

  keys(options: KeyValueIteratorOptions = {}): KeyValueIterator<Buffer> {
    this.#count('keys');
    return new MemoryWalk(this.#sorted(), options, ([key]) => Buffer.from(key));
  }

  snapshot(): KeyValueSnapshot<number> {
    this.#count('snapshot');
    return Object.assign(new MemoryStore(new Map(this.#records)), { release: () => this.#count('release') });
  }

  async approximateSize(range: KeyValueRange): Promise<number> {
    this.#count('approximateSize');
    return this.#sorted().filter(([key]) => isIn(key, range)).length * 100;
  }

  async flush(): Promise<void> {
    this.#count('flush');
  }

  async checkpoint(): Promise<void> {
    this.#count('checkpoint');
  }

  async compact(): Promise<void> {
    this.#count('compact');
  }

  async close(): Promise<void> {
    this.#count('close');
  }

  #count(call: string): void {
    this.calls.set(call, (this.calls.get(call) ?? 0) + 1);
  }

  #value(key: KeyValueBytes): Buffer | undefined {
    const row = this.#records.get(nameOf(key));
    return row === undefined ? undefined : Buffer.from(row[1]);
  }

  #put(key: KeyValueBytes, value: KeyValueBytes): void {
    this.#records.set(nameOf(key), [bytesOf(key), bytesOf(value)]);
  }

  #sorted(): Row[] {
    return [...this.#records.values()].sort(([a], [b]) => a.compare(b));
  }
}
