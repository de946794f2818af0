/** Numbers as people write them and read them: sizes, counts, rates, times. */
import { usageError } from '../errors.ts';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;
const FACTORS: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** 1536 is `1.5 KiB`. */
export function sizeOf(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** 1234567 is `1,234,567`. */
export function countOf(value: number): string {
  return Math.round(value).toLocaleString('en');
}

/** 75,000 ms are `1:15`. */
export function timeOf(ms: number): string {
  const seconds = Math.round(ms / 1000);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const shown = parts[0] === 0 ? parts.slice(1) : parts;
  return shown.map((part, i) => (i === 0 ? String(part) : String(part).padStart(2, '0'))).join(':');
}

/** `64M`, `64MB`, `64MiB` and `67108864` are the same. */
export function parseSize(text: string, flag: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text);
  if (match === null)
    throw usageError(`${flag} '${text}' is no size`, `give bytes, or a number with a unit: ${flag} 256M`);
  return Math.round(Number(match[1]) * (FACTORS[(match[2] as string).toLowerCase()] as number));
}

export function parseWhole(text: string, flag: string, least: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < least) {
    throw usageError(
      `${flag} '${text}' is no whole number from ${least}`,
      `give one, such as ${flag} ${Math.max(10, least)}`,
    );
  }
  return value;
}

/** Of seconds, such as 0.5. */
export function parseSeconds(text: string, flag: string): number {
  const value = Number(text);
  if (!/^\d*\.?\d+$/.test(text) || value < 0.05 || value > 3600) {
    throw usageError(`${flag} '${text}' is not from 0.05 to 3600 seconds`, `give seconds, such as ${flag} 2`);
  }
  return value;
}
