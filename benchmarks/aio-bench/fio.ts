/**
 * The yardstick: fio with the same load on the same file, and what its report says.
 *
 * fio's batching flags change its own result by 14 to 30 %, so that the command is part of the result. Its
 * percentiles are of completion latency, which begins when a request was submitted; ours begin when it was asked
 * for.
 *
 * fio counts the CPU time of the thread of its job. With `posixaio` most of the work is done by threads of the C
 * library, with `sqthread_poll` by one of the kernel's: there, what the whole process took is used, less what a
 * run of a millisecond takes (some 0.16 s for starting up).
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { formatSize } from './options.ts';
import type { BenchEngine, UringChoice, Workload } from './options.ts';

export interface FioFigures {
  readonly iops: number;
  readonly p50us: number;
  readonly p99us: number;
  readonly cpuUsPerRequest: number;
}

export interface FioLoad {
  readonly path: string;
  readonly sizeBytes: number;
  readonly rw: Workload;
  readonly blockBytes: number;
  readonly depth: number;
  readonly seconds: number;
  readonly readPercent: number;
  readonly engine: BenchEngine;
  readonly uring: UringChoice;
}

/** What fio has in the place of each engine; threads and Node's own files are held against Linux AIO. */
const IO_ENGINES: Readonly<Record<BenchEngine, string>> = {
  libaio: 'libaio',
  io_uring: 'io_uring',
  posix: 'posixaio',
  threads: 'libaio',
  fs: 'libaio',
};
const BATCHES = ['--iodepth_batch_submit=16', '--iodepth_batch_complete_min=1', '--iodepth_batch_complete_max=64'];

const run = promisify(execFile);

export async function isFioInstalled(): Promise<boolean> {
  try {
    await run('fio', ['--version']);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** The arguments, in the order in which they are printed. */
export function fioArguments(load: FioLoad): string[] {
  const { engine, uring, seconds } = load;
  const file = [`--filename=${load.path.replaceAll(':', String.raw`\:`)}`, `--size=${load.sizeBytes}`];
  const what = [`--rw=${load.rw}`, `--bs=${formatSize(load.blockBytes)}`, '--direct=1'];
  const how = [`--ioengine=${IO_ENGINES[engine]}`, `--iodepth=${load.depth}`, '--norandommap'];
  const time = ['--time_based', `--runtime=${Number.isInteger(seconds) ? seconds : `${Math.round(seconds * 1000)}ms`}`];
  // Both directions in one: percentiles cannot be added up.
  const mixed = load.rw === 'randrw' ? [`--rwmixread=${load.readPercent}`, '--unified_rw_reporting=1'] : [];
  return [
    '--name=r',
    ...file,
    ...what,
    ...how,
    ...time,
    ...mixed,
    ...(engine === 'io_uring' ? uringArguments(uring) : []),
    ...(load.depth === 1 ? [] : BATCHES),
  ];
}

function uringArguments({ sqpoll, iopoll, registered }: UringChoice): string[] {
  return [
    ...(sqpoll ? ['--sqthread_poll=1'] : []),
    ...(iopoll ? ['--hipri=1'] : []),
    ...(registered ? ['--fixedbufs=1', '--registerfiles=1'] : []),
  ];
}

/**
 * @param signal ends fio early
 * @throws Error with what fio said
 */
export async function runFio(load: FioLoad, signal: AbortSignal): Promise<FioFigures> {
  const countsItsThreads = load.engine === 'posix' || (load.engine === 'io_uring' && load.uring.sqpoll);
  if (!countsItsThreads) return parseFioReport((await report(load, signal)).text).figures;
  const start = await report({ ...load, seconds: 0.001 }, signal);
  const whole = await report(load, signal);
  const { figures, requests } = parseFioReport(whole.text);
  return { ...figures, cpuUsPerRequest: Math.max(0, whole.cpuUs - start.cpuUs) / requests };
}

async function report(load: FioLoad, signal: AbortSignal): Promise<{ text: string; cpuUs: number }> {
  const beforeUs = childrenCpuUs();
  try {
    const { stdout } = await run('fio', [...fioArguments(load), '--output-format=json'], { signal });
    return { text: stdout, cpuUs: childrenCpuUs() - beforeUs };
  } catch (error) {
    const { stderr = '', message } = error as { stderr?: string; message: string };
    throw new Error(`fio failed: ${stderr.trim() === '' ? message : stderr.trim()}`, { cause: error });
  }
}

/** CPU time of children that have ended: `cutime` and `cstime`, in hundredths of a second. */
function childrenCpuUs(): number {
  const stat = readFileSync('/proc/self/stat', 'latin1');
  // The second field is a name in parentheses, which may have spaces; the fields wanted are numbers 16 and 17.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[13]) + Number(fields[14])) * 10_000;
}

interface Direction {
  readonly iops: number;
  readonly total_ios: number;
  readonly clat_ns: { readonly percentile?: Readonly<Record<string, number>> };
}

interface Job {
  readonly error: number;
  readonly read?: Direction;
  readonly write?: Direction;
  readonly mixed?: Direction;
  readonly job_runtime: number;
  readonly usr_cpu: number;
  readonly sys_cpu: number;
}

/**
 * Reads `--output-format=json`, which may have other lines before it. Of several directions the sum, and the
 * percentiles of the slowest.
 *
 * @throws Error when there is no report, or nothing was transferred
 */
export function parseFioReport(text: string): { figures: FioFigures; requests: number } {
  const at = text.indexOf('{');
  if (at < 0) throw new Error(`fio gave no report: ${text.trim()}`);
  const { jobs } = JSON.parse(text.slice(at)) as { jobs: readonly Job[] };
  const [job] = jobs;
  if (job === undefined || job.error !== 0) throw new Error(`fio's job failed with error ${job?.error}`);
  const directions = [job.read, job.write, job.mixed].filter((one) => one !== undefined && one.total_ios > 0);
  const all = directions as readonly Direction[];
  const requests = sum(all.map((one) => one.total_ios));
  if (requests === 0) throw new Error('fio transferred nothing');
  const percentile = (key: string): number =>
    Math.max(...all.map((one) => one.clat_ns.percentile?.[key] ?? NaN)) / 1000;
  const figures = {
    iops: sum(all.map((one) => one.iops)),
    p50us: percentile('50.000000'),
    p99us: percentile('99.000000'),
    cpuUsPerRequest: (((job.usr_cpu + job.sys_cpu) / 100) * job.job_runtime * 1000) / requests,
  };
  return { figures, requests };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
