/**
 * Checks each record that was read from the device before its value is returned. docs/format.md describes the fields.
 *
 * WHOLE-1. A record is accepted only if it is whole, has the expected key, and is what its place should hold: a put, or
 *     the fragment that a table names.
 */
import { fragmentFault } from '../format/extent.ts';
import type { Fragment } from '../format/extent.ts';
import { RecordKind, keyEquals, kindOf, recordFault } from '../format/record.ts';
import type { Block } from '../format/words.ts';

/** What a read expects. */
export interface WantedRecord {
  readonly lengthBytes: number;
  /** The key is `keyBytes` bytes from `keyAt` on. */
  readonly key: Uint8Array;
  readonly keyAt: number;
  readonly keyBytes: number;
  /** The table entry of the expected fragment, or null: a put is expected. */
  readonly fragment: Fragment | null;
  /** Expected sequence of a fragment. */
  readonly sequence: number;
}

/** WHOLE-1. What is wrong with the record at `at`, as words to follow its name; null if nothing is. */
export function wrongRecord(block: Block, at: number, wanted: WantedRecord): string | null {
  const fault = recordFault(block, at, wanted.lengthBytes);
  if (fault !== null) return `is damaged (${fault})`;
  if (!keyEquals(block, at, wanted.key, wanted.keyBytes, wanted.keyAt)) return 'is of another key';
  if (wanted.fragment === null) {
    return kindOf(block.view, at) === RecordKind.put ? null : 'is not a put';
  }
  const fragmentIs = fragmentFault(block, at, wanted.fragment, wanted.sequence);
  return fragmentIs === null ? null : `is not the expected fragment of its value (${fragmentIs})`;
}
