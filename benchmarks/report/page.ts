/**
 * Results as one HTML page that needs nothing else: no network, no other file. Bars are static SVG; lines are uPlot's, which is
 * inlined. Each plot has its numbers in a table below it, and a cell keeps the number itself in `data-value`.
 *
 * REPORT-1. All that comes from a result is escaped, also in the data of the script.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { BenchResult } from '../bench/result.ts';
import { drawBars } from './bars.ts';
import { letterOf } from './figures.ts';
import { sectionsOf } from './sections.ts';
import type { LinePlot, Section, Table } from './sections.ts';
import { escaped, figure } from './text.ts';

const uplotFolder = dirname(createRequire(import.meta.url).resolve('uplot'));
const uplot = (name: string): string => readFileSync(join(uplotFolder, name), 'utf8');
const ours = (name: string): string => readFileSync(new URL(name, import.meta.url), 'utf8');

export function drawPage(results: readonly BenchResult[]): string {
  const sections = sectionsOf(results);
  const plots: LinePlot[] = [];
  const body = sections.map((section) => drawSection(section, plots)).join('\n');
  const data = JSON.stringify(plots).replaceAll('<', String.raw`\u003c`);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>aiokv and the field</title>
<style>${uplot('uPlot.min.css')}${ours('page.css')}</style>
</head>
<body>
<header>
<h1>aiokv and the field</h1>
${results.map(drawResult).join('\n')}
</header>
<nav aria-label="Sections"><ul>${sections.map(({ id, title }) => `<li><a href="#${id}">${escaped(title)}</a></li>`).join('')}<li><a href="#settings">Settings</a></li></ul></nav>
<main>
${body}
${drawSettings(results)}
</main>
<script type="application/json" id="plots">${data}</script>
<script>${uplot('uPlot.iife.min.js')}</script>
<script>${ours('page.client.js')}</script>
</body>
</html>
`;
}

function drawResult(result: BenchResult, i: number, all: readonly BenchResult[]): string {
  const { machine, stores, driver, plan, skipped } = result;
  const gaps = stores.filter(({ version }) => version === null).map(({ name }) => `${name} is not installed`);
  const failed = result.turns.flatMap(({ id, error }) => (error === undefined ? [] : [`${id}: ${error}`]));
  const versions = stores.flatMap(({ name, version }) => (version === null ? [] : [`${name} ${version}`]));
  const lines: [string, string][] = [
    [
      'machine',
      `${machine.cpu}, ${machine.cores} processors, ${figure(machine.memoryBytes / 2 ** 30, 1)} GiB, ${machine.fileSystem}`,
    ],
    ['system', `Linux ${machine.kernel}, Node.js ${machine.node}, ${machine.fio ?? 'no fio'}`],
    [
      'measured',
      `${result.startedAt}, in ${figure(result.seconds / 60, 1)} minutes, commit ${machine.commit ?? 'unknown'}`,
    ],
    ['command', result.command],
    ['versions', versions.join(', ')],
    [
      'data',
      `${figure(plan.scale.records, 0)} records a store, seed ${plan.seed}, ` +
        (plan.memoryBytes === null
          ? 'no limit of memory'
          : `${figure(plan.memoryBytes / 2 ** 20, 0)} MiB of memory for each store`),
    ],
  ];
  if (driver !== null) {
    const own = `${figure(driver.cpuUsPerOperation, 2)} us of CPU an operation, ${figure(driver.operationsPerSecond, 0)} operations/s`;
    lines.push(['the driver alone', own]);
  }
  const missing = [...gaps, ...failed, ...skipped];
  if (!result.isComplete) missing.unshift('this run was interrupted: it is not complete');
  if (missing.length > 0) lines.push(['gaps', missing.join('; ')]);
  const title = all.length === 1 ? '' : `<h2>Result ${letterOf(i)}</h2>`;
  return `${title}<dl>${lines.map(([name, text]) => `<dt>${name}</dt><dd>${escaped(text)}</dd>`).join('')}</dl>`;
}

function drawSection(section: Section, plots: LinePlot[]): string {
  const { id, title, text, lines, bars, table } = section;
  const drawnLines = lines.map((plot) => {
    plots.push(plot);
    const label = `${plot.title}, ${plot.y} over ${plot.x}, a line each for ${plot.lines.map((line) => line.label).join(', ')}. The table below has the numbers.`;
    return (
      `<figure><figcaption>${escaped(plot.title)} <small>${escaped(plot.y)} over ${escaped(plot.x)}</small></figcaption>` +
      `<div class="plot" role="img" tabindex="0" data-plot="${plots.length - 1}" aria-label="${escaped(label)}"></div></figure>`
    );
  });
  const drawnBars = bars.map(drawBars).join('\n');
  return (
    `<section id="${id}"><h2>${escaped(title)}</h2><p>${escaped(text)}</p>` +
    (drawnLines.length > 0 ? `<div class="lines">${drawnLines.join('')}</div>` : '') +
    (drawnBars === '' ? '' : `<div class="grid">${drawnBars}</div>`) +
    `${drawTable(table, title)}</section>`
  );
}

/** Sorted by a press on a heading, which is a button. */
function drawTable({ columns, rows }: Table, caption: string): string {
  const heads = columns.map(({ heading, digits }) => {
    const kind = digits === undefined ? '' : ' class="number"';
    return `<th scope="col"${kind}><button type="button">${escaped(heading)}</button></th>`;
  });
  const cells = (row: readonly (string | number | null)[]): string =>
    row
      .map((cell, i) => {
        if (cell === null) return '<td class="number">–</td>';
        if (typeof cell === 'string') return `<td>${escaped(cell)}</td>`;
        return `<td class="number" data-value="${cell}">${figure(cell, columns[i]?.digits)}</td>`;
      })
      .join('');
  return (
    `<div class="table" tabindex="0" role="region" aria-label="${escaped(`${caption}, numbers`)}"><table><caption>${escaped(caption)}</caption>` +
    `<thead><tr>${heads.join('')}</tr></thead><tbody>${rows.map((row) => `<tr>${cells(row)}</tr>`).join('')}</tbody></table></div>`
  );
}

function drawSettings(results: readonly BenchResult[]): string {
  const rows = results.flatMap(({ stores, plan }, i) =>
    stores.flatMap(({ name, classes }) =>
      plan.classes.flatMap((durability) => {
        const { gap, settings } = classes[durability];
        const label = results.length === 1 ? name : `${letterOf(i)} ${name}`;
        if (gap !== undefined) return [[label, durability, `none: ${gap}`, '']];
        return settings.map(({ text, source }) => [label, durability, text, source]);
      }),
    ),
  );
  const columns = ['store', 'class', 'setting', 'source'].map((heading) => ({ heading }));
  return (
    `<section id="settings"><h2>Settings</h2><p>How each store was set, and where its documentation says so. ` +
    `What is not here is the default of the store.</p>${drawTable({ columns, rows }, 'Settings')}</section>`
  );
}
