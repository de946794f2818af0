/**
 * `npm run -s profile`: where the processor's time and the memory of each hot path go, function by function. Each path is
 * a workload of the regression guard, run twice: with a CPU profile, and with an allocation profile. The tables go to
 * stdout, the profiles are left as files. README.md says what the figures mean.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Arguments, usageOf } from '../common/arguments.ts';
import type { Rule } from '../common/arguments.ts';
import { runToExit } from '../common/exit.ts';
import { runMeasured } from '../common/measured-process.ts';
import { WORKLOADS, WRITES } from '../regress/options.ts';
import type { Workload } from '../regress/options.ts';
import type { Figures } from '../regress/verdict.ts';
import { allocationSites, formatSites, processorSites } from './sites.ts';

const RULES = {
  only: { takes: 'names, with commas', describe: `of ${WORKLOADS.join(', ')}`, default: WORKLOADS.join() },
  records: { takes: 'number', describe: 'of the store that is read, and of one load', default: '200k' },
  'value-bytes': { takes: 'number', describe: 'of each value', default: '1000' },
  seconds: { takes: 'number', describe: 'of each run that has no end of its own', default: '3' },
  top: { takes: 'number', describe: 'functions that are shown of each', default: '15' },
  report: { takes: 'path', describe: 'where the profiles go', default: '.tmp-profiles' },
  directory: { takes: 'path', describe: 'where the stores lie meanwhile', default: '.tmp-profile' },
  help: { describe: 'this text' },
} as const satisfies Readonly<Record<string, Rule>>;

const INTENT = [
  'Profiles the hot paths of the store: processor time and allocations, by function. Exit code 0: done; 1: a run failed;',
  '2: the arguments are wrong.',
].join('\n');

const CHILD = new URL('../regress/workload.mjs', import.meta.url);
const KINDS = ['cpu', 'heap'] as const;
type Kind = (typeof KINDS)[number];

/** What all runs have in common. */
interface Plan {
  readonly records: number;
  readonly valueBytes: number;
  readonly seconds: number;
  readonly top: number;
  readonly report: string;
  readonly directory: string;
}

async function runWorkload(plan: Plan, workload: string, directory: string, profile?: object): Promise<Figures> {
  const { records, valueBytes, seconds } = plan;
  let line = 'null';
  const task = { workload, directory, records, valueBytes, seconds, burnNs: 0, profile };
  await runMeasured(CHILD, task, plan.directory, (text) => {
    line = text;
  });
  return JSON.parse(line) as Figures;
}

async function profileOf(plan: Plan, workload: Workload, kind: Kind): Promise<string> {
  const path = join(plan.report, `${workload}.${kind}profile`);
  const isOwn = WRITES.includes(workload);
  const directory = join(plan.directory, isOwn ? 'own' : 'read');
  try {
    const { operations, seconds, cpuSeconds } = await runWorkload(plan, workload, directory, { kind, path });
    const sites = kind === 'cpu' ? processorSites(path) : allocationSites(path);
    const each = kind === 'cpu' ? (cpuSeconds / operations) * 1e6 : sites.total / operations;
    const unit = kind === 'cpu' ? `${each.toFixed(2)} us of processor time` : `${Math.round(each)} bytes allocated`;
    const rate = `${Math.round(operations / seconds)} operations/s under the profiler`;
    return `${workload}: ${unit} each, ${rate}\n${formatSites(sites, plan.top)}\n`;
  } finally {
    if (isOwn) rmSync(directory, { recursive: true, force: true });
  }
}

async function main(args: readonly string[]): Promise<number> {
  const given = new Arguments(RULES, args);
  if (given.flag('help')) {
    console.log(usageOf('profile', RULES, INTENT));
    return 0;
  }
  const workloads = given.someOf('only', WORKLOADS);
  const plan: Plan = {
    records: given.number('records', 1000, 1e9),
    valueBytes: given.number('value-bytes', 1, 100_000),
    seconds: given.number('seconds', 1, 3600),
    top: given.number('top', 1, 1000),
    report: resolve(given.text('report')),
    directory: resolve(given.text('directory')),
  };
  const isOurs = mkdirSync(plan.directory, { recursive: true }) !== undefined;
  mkdirSync(plan.report, { recursive: true });
  try {
    if (workloads.some((workload) => !WRITES.includes(workload))) {
      await runWorkload(plan, 'prepare', join(plan.directory, 'read'));
    }
    for (const workload of workloads) for (const kind of KINDS) console.log(await profileOf(plan, workload, kind));
  } finally {
    rmSync(isOurs ? plan.directory : join(plan.directory, 'read'), { recursive: true, force: true });
  }
  return 0;
}

await runToExit(main);
