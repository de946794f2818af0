/**
 * Curves over time as one HTML document with SVG in it: no script, nothing from elsewhere. Pure.
 *
 * ```
 *              column        column          a column is a run: its time goes from left to right, with marks
 *            ┌───────────┐ ┌───────────┐
 *   panel    │ ╱╲╱╲ ┄┄┄┄ │ │ ───── ┄┄┄ │     a panel is a quantity; the same one has the same scale in all columns
 *            ├───────────┤ ├───────────┤     ┄┄┄ what is wanted
 *   panel    │           │ │           │
 *            └───────────┘ └───────────┘
 * ```
 */

interface Curve {
  readonly name: string;
  /** One for each of the times of the column; null where there is none. */
  readonly values: readonly (number | null)[];
}

export interface Panel {
  readonly title: string;
  readonly isLogarithmic?: boolean;
  readonly limit?: number;
  readonly curves: readonly Curve[];
}

export interface Column {
  readonly title: string;
  /** Below the panels, in a typewriter's letters. */
  readonly text: string;
  /** In seconds, ascending. */
  readonly times: readonly number[];
  readonly marks: readonly { readonly atSeconds: number; readonly label: string }[];
  /** As many, of the same quantities, in all columns. */
  readonly panels: readonly Panel[];
}

interface Scale {
  readonly ticks: readonly number[];
  /** From 0 at the bottom to 1 at the top. */
  part(value: number): number;
}

const WIDTH = 560;
const HEIGHT = 170;
const LEFT = 64;
const RIGHT = 12;
const TOP = 34;
const BOTTOM = 22;
/** Width of a letter, about. */
const LETTER = 6;
const COLOURS = ['#1f6fb2', '#d9822b', '#3a9a5b', '#8a4fae', '#00838f', '#6d4c41', '#ad1457', '#607d8b'];
const LIMIT_COLOUR = '#c62828';
const STYLE = `
  body { font: 14px system-ui, sans-serif; margin: 24px; color: #222; background: #fff }
  .columns { display: flex; flex-wrap: wrap; gap: 24px } h2 { font-size: 16px } svg { display: block; margin: 0 0 10px }
  text { font-size: 11px; fill: #444 } .title { font-size: 12px; fill: #111; font-weight: 600 }
  pre { font-size: 12px; line-height: 1.45 }`;

export function drawHtml(title: string, columns: readonly Column[]): string {
  const rows = columns[0]?.panels.length ?? 0;
  const scales = Array.from({ length: rows }, (_, row) => scaleOf(columns.map(({ panels }) => panels[row] as Panel)));
  const drawn = columns.map(
    (column) =>
      `<div><h2>${escaped(column.title)}</h2>\n` +
      column.panels.map((panel, row) => drawPanel(column, panel, scales[row] as Scale)).join('\n') +
      `\n<pre>${escaped(column.text)}</pre></div>`,
  );
  return (
    `<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>${escaped(title)}</title>` +
    `<style>${STYLE}</style></head>\n<body><h1>${escaped(title)}</h1>\n` +
    `<div class="columns">\n${drawn.join('\n')}\n</div></body></html>\n`
  );
}

function drawPanel(column: Column, panel: Panel, scale: Scale): string {
  const endSeconds = column.times.at(-1) ?? 1;
  const x = (seconds: number): number => LEFT + (seconds / endSeconds) * (WIDTH - LEFT - RIGHT);
  const y = (value: number): number => TOP + (1 - scale.part(value)) * (HEIGHT - TOP - BOTTOM);
  const parts = [label(LEFT, 12, panel.title, 'class="title"')];
  for (const tick of scale.ticks) {
    parts.push(line(LEFT, y(tick), WIDTH - RIGHT, y(tick), '#e4e4e4'));
    parts.push(label(LEFT - 6, y(tick) + 4, figure(tick), 'text-anchor="end"'));
  }
  let free = LEFT;
  for (const { atSeconds, label: text } of column.marks) {
    parts.push(line(x(atSeconds), TOP, x(atSeconds), HEIGHT - BOTTOM, '#b5b5b5'));
    const at = Math.max(free, x(atSeconds) + 3);
    parts.push(label(at, HEIGHT - 8, text));
    free = at + LETTER * (text.length + 1);
  }
  parts.push(label(WIDTH - RIGHT, 12, `${endSeconds.toFixed(0)} s`, 'text-anchor="end"'));
  if (panel.limit !== undefined) {
    parts.push(line(LEFT, y(panel.limit), WIDTH - RIGHT, y(panel.limit), LIMIT_COLOUR, 'stroke-dasharray="5 4"'));
  }
  panel.curves.forEach((curve, i) => {
    const colour = COLOURS[i % COLOURS.length] as string;
    parts.push(`<path d="${pathOf(curve, column.times, x, y)}" fill="none" stroke="${colour}" stroke-width="1.5"/>`);
  });
  parts.push(legend(panel));
  return `<svg width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}">${parts.join('')}</svg>`;
}

function legend({ curves, limit }: Panel): string {
  const names: [string, string][] = curves.map(({ name }, i) => [name, COLOURS[i % COLOURS.length] as string]);
  if (limit !== undefined) names.push([`wanted: ${figure(limit)} at most`, LIMIT_COLOUR]);
  let at = LEFT;
  return names
    .map(([name, colour]) => {
      const drawn = line(at, 22, at + 14, 22, colour, 'stroke-width="2"') + label(at + 18, 26, name);
      at += 34 + name.length * LETTER;
      return drawn;
    })
    .join('');
}

/** A gap where a value is missing; a lone value is a point. */
function pathOf(
  { values }: Curve,
  times: readonly number[],
  x: (seconds: number) => number,
  y: (value: number) => number,
): string {
  let isBroken = true;
  let path = '';
  values.forEach((value, i) => {
    if (value === null || !Number.isFinite(value)) {
      isBroken = true;
      return;
    }
    const at = `${x(times[i] as number).toFixed(1)} ${y(value).toFixed(1)}`;
    path += isBroken ? `M${at}h.1` : `L${at}`;
    isBroken = false;
  });
  return path;
}

/** One that all panels of a row fit into. */
function scaleOf(panels: readonly Panel[]): Scale {
  const values = panels.flatMap(({ curves, limit }) => [
    ...curves.flatMap((curve) => curve.values),
    ...(limit === undefined ? [] : [limit]),
  ]);
  const shown = values.filter((value): value is number => value !== null && Number.isFinite(value));
  const most = shown.reduce((high, value) => Math.max(high, value), 0);
  if (panels[0]?.isLogarithmic !== true) return linearScale(most);
  const least = shown.filter((value) => value > 0).reduce((low, value) => Math.min(low, value), most);
  return logarithmicScale(least, most);
}

function linearScale(most: number): Scale {
  const rough = (most === 0 ? 1 : most) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 2.5, 5, 10].find((each) => each * power >= rough) as number) * power;
  const end = step * Math.max(1, Math.ceil(most / step));
  const ticks = Array.from({ length: Math.round(end / step) + 1 }, (_, i) => i * step);
  return { ticks, part: (value) => value / end };
}

function logarithmicScale(least: number, most: number): Scale {
  const from = Math.floor(Math.log10(least > 0 ? least : 1));
  const to = Math.max(from + 1, Math.ceil(Math.log10(most > 0 ? most : 1)));
  const ticks = Array.from({ length: to - from + 1 }, (_, i) => 10 ** (from + i));
  // What is zero lies on the bottom.
  return { ticks, part: (value) => Math.max(0, (Math.log10(Math.max(value, 10 ** from)) - from) / (to - from)) };
}

function line(x1: number, y1: number, x2: number, y2: number, colour: string, more = ''): string {
  const [a, b, c, d] = [x1, y1, x2, y2].map((each) => each.toFixed(1)) as [string, string, string, string];
  return `<line x1="${a}" y1="${b}" x2="${c}" y2="${d}" stroke="${colour}" ${more}/>`;
}

function label(x: number, y: number, text: string, more = ''): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${escaped(text)}</text>`;
}

function figure(value: number): string {
  return Number(value.toPrecision(6)).toLocaleString('en-US', { maximumFractionDigits: 4 });
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
