/** The table of the demonstration, in plain text. */
import type { Measured } from './measure.ts';

const HEADINGS = ['in flight', 'reads/s', 'p50 us', 'p99 us', 'x depth 1', 'bare queue', 'of bare'];

export function formatTable(rows: readonly { depth: number; store: Measured; bare: Measured }[]): string {
  const base = rows[0]?.store.readsPerSecond ?? 1;
  const cells = rows.map(({ depth, store, bare }) => [
    String(depth),
    Math.round(store.readsPerSecond).toLocaleString('en'),
    String(store.p50Us),
    String(store.p99Us),
    (store.readsPerSecond / base).toFixed(1),
    Math.round(bare.readsPerSecond).toLocaleString('en'),
    (store.readsPerSecond / bare.readsPerSecond).toFixed(2),
  ]);
  const widths = HEADINGS.map((heading, column) =>
    Math.max(heading.length, ...cells.map((row) => (row[column] as string).length)),
  );
  return [HEADINGS, ...cells]
    .map((row) => row.map((cell, column) => cell.padStart(widths[column] as number)).join('   '))
    .join('\n');
}
