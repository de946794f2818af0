/**
 * The suite: first what runs in parallel, then what measures time, one file after another and with the machine to
 * itself. Where files or titles are named, one run of those. With `--tap` the two runs make one document, with one total.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { ROOT } from './setup.mjs';
import { BUNDLE_VARIABLE, bundleSources } from './strip-types/bundle.mjs';
import { stripAll } from './strip-types/stripped.mjs';

/** The counts at the end of what ava prints, in their order. */
const COUNTS = ['tests', 'pass', 'skip', 'fail'];

/** @returns {Promise<number>} the exit code */
export async function runSuite(args) {
  await stripAll();
  // Coverage is counted by file.
  const bundle = process.env.NODE_V8_COVERAGE === undefined ? await bundleSources() : null;
  if (bundle !== null) process.env[BUNDLE_VARIABLE] = bundle;
  if (args.some((arg, i) => isNamed(arg, args[i - 1]))) return ava(args, 'all');
  const isTap = args.some((arg) => arg === '--tap' || arg === '-t');
  const tap = isTap ? new Tap() : null;
  let isInterrupted = false;
  process.once('SIGINT', () => {
    isInterrupted = true;
  });
  const parallel = await ava(args, 'parallel', tap);
  const timed = isInterrupted ? 1 : await ava(args, 'timed', tap);
  tap?.end();
  return timed || parallel;
}

/** A file, a pattern of files, or a pattern of titles. */
function isNamed(arg, before) {
  if (/^(?:-m|--match)\b/.test(arg)) return true;
  return !arg.startsWith('-') && !/^(?:-c|--concurrency|-T|--timeout|--config|--node-arguments)$/.test(before ?? '');
}

/** One run of ava; its output goes to `tap`, if there is one. */
function ava(args, step, tap = null) {
  const child = spawn(process.execPath, [join(ROOT, 'node_modules/ava/entrypoints/cli.mjs'), ...args], {
    cwd: ROOT,
    stdio: ['inherit', tap === null ? 'inherit' : 'pipe', 'inherit'],
    env: { ...process.env, AIOKV_TEST_STEP: step },
  });
  let rest = '';
  child.stdout?.setEncoding('utf8').on('data', (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const line of lines) tap.take(line);
  });
  const stop = () => child.kill('SIGTERM');
  process.on('SIGTERM', stop);
  return new Promise((done, failed) => {
    child.once('error', failed);
    child.once('close', (code) => {
      process.off('SIGTERM', stop);
      if (rest !== '') tap.take(rest);
      done(code ?? 1);
    });
  });
}

/** Makes one document of several: numbers go on, and the counts stand at the end, added up. */
class Tap {
  #tests = 0;
  #counts = new Map();

  constructor() {
    console.log('TAP version 13');
  }

  take(line) {
    const test = /^(not ok|ok) \d+(.*)$/.exec(line);
    const count = /^# (\w+) (\d+)$/.exec(line);
    if (test !== null) console.log(`${test[1]} ${++this.#tests}${test[2]}`);
    else if (count !== null && COUNTS.includes(count[1])) {
      this.#counts.set(count[1], (this.#counts.get(count[1]) ?? 0) + Number(count[2]));
    } else if (!/^(?:TAP version 13|1\.\.\d+)$/.test(line)) console.log(line);
  }

  end() {
    console.log(`\n1..${this.#tests}`);
    for (const name of COUNTS) if (this.#counts.has(name)) console.log(`# ${name} ${this.#counts.get(name)}`);
  }
}
