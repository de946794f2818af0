/** The page of results: what it says, and how a browser shows it. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import test from 'ava';
import { chromium } from 'playwright-core';
import type { Browser } from 'playwright-core';
import { checked } from '../../benchmarks/bench/result.ts';
import type { BenchResult } from '../../benchmarks/bench/result.ts';
import { drawPage } from '../../benchmarks/report/page.ts';
import { skipWhere } from '../helpers/skip.ts';
import { browserPath } from './browser.ts';
import { resultOf } from './results.ts';

const BYTES_MOST = 1.5 * 2 ** 20;
const browser = browserPath();
const inBrowser = skipWhere(
  browser === null ? 'there is no Chromium here, such as that of the package chromium' : null,
  test.serial,
);

async function withPage(
  results: readonly BenchResult[],
  use: (browser: Browser, url: string) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(process.cwd(), '.tmp-report-'));
  const opened = await chromium.launch({ executablePath: browser as string, args: ['--no-sandbox'] });
  try {
    const path = join(directory, 'page.html');
    await writeFile(path, drawPage(results));
    await use(opened, pathToFileURL(path).href);
  } finally {
    await opened.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/** Of the rounds of the made results there are two. */
function mean([a, b]: readonly number[]): number {
  return ((a as number) + (b as number)) / 2;
}

function ratesOf({ turns }: BenchResult, store: string, kind: string): number[] {
  const phases = turns.filter((turn) => turn.store === store).flatMap((turn) => turn.phases);
  return phases.filter((phase) => phase.kind === kind).map((phase) => phase.operationsPerSecond);
}

test('a page stands alone, is small, and has nothing of a result as markup', (t) => {
  const page = drawPage([resultOf(1), resultOf(2)]);
  t.true(page.length < BYTES_MOST, `${page.length} bytes`);
  t.notRegex(page, /<(?:script|link|img)[^>]+(?:src|href)="(?!data:)/);
  t.notRegex(page, /<b>/);
  t.regex(page, /&lt;\/script&gt;&lt;b&gt;&amp;amp;/);
  t.regex(page, /&lt;its source&gt;/);
  t.regex(page, /rocksdb is not installed/);
  t.regex(page, /none: it has none/);
});

test('what is no result is refused, and says where', (t) => {
  const { machine: _, ...rest } = resultOf(1);
  t.throws(() => checked(rest, 'x.json'), { message: /x\.json is no result.*machine/ });
  t.throws(() => checked({ ...resultOf(1), turns: [{ id: 1 }] }, 'x.json'), { message: /turns/ });
});

test('a run that was interrupted is shown as that', (t) => {
  t.regex(drawPage([{ ...resultOf(1), isComplete: false }]), /this run was interrupted/);
  t.regex(drawPage([{ ...resultOf(1), skipped: ['2\u002fx: no time left'] }]), /2\/x: no time left/);
});

inBrowser(
  'a browser shows the numbers of the result, in light, in dark and on a phone, without an error',
  async (t) => {
    const result = resultOf(1);
    await withPage([result], async (opened, url) => {
      for (const colorScheme of ['light', 'dark'] as const) {
        for (const width of [1280, 390]) {
          const page = await opened.newPage({ colorScheme, viewport: { width, height: 844 } });
          const errors: string[] = [];
          page.on('console', (message) => {
            if (message.type() === 'error' || message.type() === 'warning') errors.push(message.text());
          });
          page.on('pageerror', (error) => errors.push(error.message));
          page.on('request', (request) => {
            if (!/^(?:file|data):/.test(request.url())) errors.push(`asks for ${request.url()}`);
          });
          await page.goto(url);
          await page.waitForFunction(
            'document.querySelectorAll(".plot canvas").length === document.querySelectorAll(".plot").length',
          );
          const shown = await page.evaluate<{ width: number; plots: number; back: string; cells: string[][] }>(`({
          width: document.documentElement.scrollWidth,
          plots: document.querySelectorAll('.plot canvas').length,
          back: getComputedStyle(document.body).backgroundColor,
          cells: [...document.querySelectorAll('#workloads-written-1000 tbody tr')].map((row) =>
            [...row.cells].map((cell) => cell.dataset.value ?? cell.textContent)),
        })`);
          t.deepEqual(errors, []);
          t.true(shown.width <= width, `${shown.width} of ${width} pixels`);
          t.true(shown.plots >= 6, `${shown.plots} plots`);
          t.is(shown.back, colorScheme === 'light' ? 'rgb(255, 255, 255)' : 'rgb(18, 22, 28)');
          for (const store of ['aiokv', 'lmdb']) {
            for (const [kind, name] of [
              ['load', 'load'],
              ['C', 'C: reads'],
            ] as const) {
              const row = shown.cells.find((cells) => cells[0] === name && cells[1] === store);
              t.is(Number(row?.[3]), mean(ratesOf(result, store, kind)), `${store} ${kind}`);
            }
          }
          await page.close();
        }
      }
    });
  },
);

inBrowser('tables sort by number from the keyboard, and plots take the arrow keys', async (t) => {
  await withPage([resultOf(1), resultOf(2)], async (opened, url) => {
    const page = await opened.newPage();
    await page.goto(url);
    const button = page.locator('#depth .table thead th', { hasText: 'reads/s' }).locator('button');
    const order = (): Promise<number[]> =>
      page.evaluate(
        `[...document.querySelectorAll('#depth .table tbody tr')].map((row) => Number(row.cells[3].dataset.value))`,
      );
    const before = await order();
    t.true(before.length > 20);
    await button.focus();
    await page.keyboard.press('Enter');
    t.deepEqual(
      await order(),
      before.toSorted((a, b) => a - b),
    );
    await page.keyboard.press('Enter');
    t.deepEqual(
      await order(),
      before.toSorted((a, b) => b - a),
    );
    const labels = await page.locator('#depth .table tbody tr td:first-child').allTextContents();
    t.true(['A aiokv', 'B aiokv', 'A fio', 'B fio'].every((label) => labels.includes(label)));
    const plot = page.locator('.plot').first();
    await plot.scrollIntoViewIfNeeded();
    await plot.locator('canvas').waitFor();
    await plot.focus();
    const legend = plot.locator('.u-legend .u-value').first();
    const unset = await legend.textContent();
    await page.keyboard.press('ArrowRight');
    await page.waitForFunction(
      `document.querySelector('.plot .u-legend .u-value').textContent !== ${JSON.stringify(unset)}`,
    );
    t.is(await legend.textContent(), '1');
  });
});
