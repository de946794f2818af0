/**
 * Text in the columns of a terminal. A column is what a terminal makes of it: none for a mark that is set upon another
 * letter, two for the wide letters of East Asia and for pictures. Close enough for a table, and without tables of its own.
 */
const SEGMENTS = new Intl.Segmenter();
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Extended_Pictographic}|\p{Regional_Indicator}/u;

function widthOf(text: string): number {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length;
  let width = 0;
  for (const { segment } of SEGMENTS.segment(text)) width += WIDE.test(segment) ? 2 : 1;
  return width;
}

/** As much of a text as fits, with `…` where something is missing. */
export function cutTo(text: string, columns: number): string {
  // Most cells of a long value are never looked at.
  const near = text.length > 4 * columns ? text.slice(0, 4 * columns) : text;
  if (near === text && widthOf(text) <= columns) return text;
  let cut = '';
  let width = 0;
  for (const { segment } of SEGMENTS.segment(near)) {
    width += WIDE.test(segment) ? 2 : 1;
    if (width > columns - 1) break;
    cut += segment;
  }
  return `${cut}…`;
}

export function padTo(text: string, columns: number): string {
  return text + ' '.repeat(Math.max(0, columns - widthOf(text)));
}

/** Lines of a table, its columns as wide as what is in them; those that are named stand to the right. */
export function tableOf(rows: readonly (readonly string[])[], right: readonly number[] = []): string[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, widthOf(cell))));
  return rows.map((row) =>
    row
      .map((cell, i) => {
        const width = widths[i] as number;
        return right.includes(i) ? ' '.repeat(width - widthOf(cell)) + cell : padTo(cell, width);
      })
      .join('  ')
      .trimEnd(),
  );
}
