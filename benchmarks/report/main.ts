/**
 * `npm run -s report -- result.json …`: results of `npm run -s bench` as one page, side by side where there are several.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { UsageError } from '../common/arguments.ts';
import { runToExit } from '../common/exit.ts';
import { readResult } from '../bench/result.ts';
import { drawBars } from './bars.ts';
import { drawPage } from './page.ts';
import { sectionsOf } from './sections.ts';

const USAGE = `usage: npm run -s report -- result.json … [--out page.html] [--svg directory]

Makes one HTML page of results of npm run -s bench; several stand side by side. The page needs no network.

  --out path        the page (the first result's name with .html)
  --svg directory   the bars as SVG files, too
  --help            this text
`;

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsed(args);
  if (values.help === true) {
    console.log(USAGE);
    return 0;
  }
  const [first] = positionals;
  if (first === undefined) throw new UsageError('give a result of npm run -s bench; --help says more');
  const results = positionals.map(readResult);
  const out = values.out ?? `${first.replace(/\.json$/, '')}.html`;
  writeFileSync(out, drawPage(results));
  console.log(out);
  if (values.svg !== undefined) {
    mkdirSync(values.svg, { recursive: true });
    for (const { id, bars } of sectionsOf(results)) {
      for (const [i, plot] of bars.entries()) {
        const path = join(values.svg, `${id}-${i + 1}.svg`);
        writeFileSync(path, drawBars(plot));
        console.log(path);
      }
    }
  }
  return 0;
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { out: { type: 'string' }, svg: { type: 'string' }, help: { type: 'boolean' } },
    });
  } catch (error) {
    throw new UsageError(`${(error as Error).message}; --help lists what there is`, { cause: error });
  }
}

await runToExit(main);
