/** Bars as a static SVG in `currentColor`, which is light on dark and dark on light by itself. Pure. */
import type { BarPlot } from './sections.ts';
import { escaped, figure } from './text.ts';

const WIDTH = 340;
const ROW = 22;
const TOP = 24;
const LABEL = 112;
const VALUE = 70;

export function drawBars({ title, unit, bars }: BarPlot): string {
  const most = bars.reduce((high, { value }) => Math.max(high, value), 0);
  const height = TOP + ROW * bars.length + 4;
  const rows = bars.map(({ label, value }, i) => {
    const y = TOP + ROW * i;
    const width = most === 0 ? 0 : ((WIDTH - LABEL - VALUE) * value) / most;
    const isOurs = /(?:^| )aiokv$/.test(label);
    return (
      `<text x="${LABEL - 6}" y="${y + 15}" text-anchor="end"${isOurs ? ' font-weight="700"' : ''}>${escaped(label)}</text>` +
      `<rect x="${LABEL}" y="${y + 3}" width="${width.toFixed(1)}" height="${ROW - 6}" fill-opacity="${isOurs ? 0.85 : 0.4}"/>` +
      `<text x="${(LABEL + width + 5).toFixed(1)}" y="${y + 15}">${figure(value)}</text>`
    );
  });
  const said = bars.map(({ label, value }) => `${label} ${figure(value)}`).join(', ');
  return (
    `<svg class="bars" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" role="img" ` +
    `aria-label="${escaped(`${title}, ${unit}: ${said}`)}" xmlns="http://www.w3.org/2000/svg" ` +
    `fill="currentColor" font-family="system-ui, sans-serif" font-size="12">` +
    `<text x="0" y="14" font-weight="600">${escaped(title)}</text>` +
    `<text x="${WIDTH}" y="14" text-anchor="end" fill-opacity="0.7">${escaped(unit)}</text>${rows.join('')}</svg>`
  );
}
