/**
 * The version of a value in the public interface. Callers can compare it for equality and pass it to `ifVersion`. Only
 * this file knows that it is the sequence number of the write, so other engines behind the same interface can have
 * versions of another kind.
 */
declare const versionBrand: unique symbol;

export interface Version {
  readonly [versionBrand]: true;
}

export function versionOf(sequence: number): Version {
  return sequence as unknown as Version;
}

/** The sequence number of a version; null if the value is not a version. */
export function sequenceOfVersion(version: unknown): number | null {
  return Number.isSafeInteger(version) && (version as number) >= 1 ? (version as number) : null;
}
