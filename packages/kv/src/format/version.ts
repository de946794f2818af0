/**
 * The version of a value, as the public interface knows it: it may be compared for equality, and handed back to
 * `ifVersion`. That it is the sequence number of the value's write is known here only, so that other engines behind the
 * same interface can have versions of their own.
 */
declare const versionBrand: unique symbol;

export interface Version {
  readonly [versionBrand]: true;
}

export function versionOf(sequence: number): Version {
  return sequence as unknown as Version;
}

/** The sequence number of a version, or null for what is no version. */
export function sequenceOfVersion(version: unknown): number | null {
  return Number.isSafeInteger(version) && (version as number) >= 1 ? (version as number) : null;
}
