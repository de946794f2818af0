/**
 * The checks that stand between the device and the caller of a read. docs/format.md says what each field is for.
 *
 * WHOLE-1. A record is taken only if it is whole, of the key that was asked for, and what was expected at its place:
 *     the put of a value, or the fragment that a table means.
 */
import type { Fragment } from '../format/extent.ts';
import { RecordKind, keyEquals, kindOf, recordFault } from '../format/record.ts';
import type { Block } from '../format/words.ts';
import { fragmentFault } from './value-assembly.ts';

/** What a read of a record expects. */
export interface WantedRecord {
  readonly lengthBytes: number;
  readonly key: Uint8Array;
  readonly keyBytes: number;
  /** What the record is to be a fragment of a value for, or null; and the sequence that it must have then. */
  readonly fragment: Fragment | null;
  readonly sequence: number;
}

/** What the record at `at` is instead of what is wanted, in words that follow its name; or null (WHOLE-1). */
export function wrongRecord(block: Block, at: number, wanted: WantedRecord): string | null {
  const fault = recordFault(block, at, wanted.lengthBytes);
  if (fault !== null) return `is damaged (${fault})`;
  if (!keyEquals(block, at, wanted.key, wanted.keyBytes)) return 'is of another key';
  if (wanted.fragment === null) {
    return kindOf(block.view, at) === RecordKind.put ? null : 'is not the write of a value';
  }
  const fragmentIs = fragmentFault(block, at, wanted.fragment, wanted.sequence);
  return fragmentIs === null ? null : `is not the fragment of a value that is meant (${fragmentIs})`;
}
