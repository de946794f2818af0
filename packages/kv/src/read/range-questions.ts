/**
 * The questions about a range that a store and a snapshot are both asked: the same calls, as of another moment. Checks them, and
 * leaves the answers to range-lookups.ts.
 */
import type { IndexSnapshot } from '../index/index-snapshot.ts';
import type { Bytes } from '../format/keys.ts';
import { encodeCount, encodeFrom, encodeTo, encodeWithin } from './range.ts';
import type { CountOptions, KeyRange, LowerBound, UpperBound } from './range.ts';
import type { RangeLookups } from './range-lookups.ts';

/** Who answers, and as of which moment; the moment is retained. */
export interface Asked {
  readonly lookups: RangeLookups;
  readonly moment: IndexSnapshot;
}

/** Each call is as of its moment, throws as `Store.iterator` for a bad range, and as `Store.get`. */
export abstract class RangeQuestions {
  /** @internal Throws if nothing may be asked any more. */
  protected abstract ask(): Asked;

  /** The first entry of a range, as `[key, value]`, or undefined: one lookup, and one read of a record. */
  async first(range?: Partial<KeyRange>): Promise<[key: Buffer, value: Buffer] | undefined> {
    const bounds = encodeWithin('first', range);
    const { lookups, moment } = this.ask();
    return lookups.nearest(moment, bounds, false);
  }

  /** The last entry of a range. Otherwise as `first`. */
  async last(range?: Partial<KeyRange>): Promise<[key: Buffer, value: Buffer] | undefined> {
    const bounds = encodeWithin('last', range);
    const { lookups, moment } = this.ask();
    return lookups.nearest(moment, bounds, true);
  }

  /** The entry of this key, else that of the key before it; none that is below the bound. Otherwise as `first`. */
  async floor(key: Bytes, bound?: Partial<LowerBound>): Promise<[key: Buffer, value: Buffer] | undefined> {
    const bounds = encodeTo('floor', key, bound);
    const { lookups, moment } = this.ask();
    return lookups.nearest(moment, bounds, true);
  }

  /** The entry of this key, else that of the key behind it; none that is above the bound. Otherwise as `first`. */
  async ceiling(key: Bytes, bound?: Partial<UpperBound>): Promise<[key: Buffer, value: Buffer] | undefined> {
    const bounds = encodeFrom('ceiling', key, bound);
    const { lookups, moment } = this.ask();
    return lookups.nearest(moment, bounds, false);
  }

  /**
   * How many keys there are in a range, exactly. Reads the leaves of the index, and no value.
   *
   * @throws AiokvError ERR_AIOKV_ABORTED too
   */
  async count(options?: Partial<CountOptions>): Promise<number> {
    const { bounds, signal } = encodeCount(options);
    const { lookups, moment } = this.ask();
    return lookups.count(moment, bounds, signal);
  }

  /**
   * Bytes that the records of a range take in the file, about: key, value and 24 more; of a value of up to 24 bytes, which is in the
   * index, key and value. A range of up to 32 leaves of the index, some 3,000 keys, is told exactly; of a longer one 32 leaves are looked
   * at, which stand for the rest: within some percent where records are alike, and by what a thirtieth of the range holds where they are not.
   */
  async approximateSize(range?: Partial<KeyRange>): Promise<number> {
    const bounds = encodeWithin('approximateSize', range);
    const { lookups, moment } = this.ask();
    return lookups.size(moment, bounds);
  }
}
