/** The report: one line of TAP for each row, the output of a row that failed, and the sums at the end. */
import { spawnSync } from 'node:child_process';

const ROW_TIMEOUT_MS = 240_000;
const MOST_LINES = 60;
const MOST_CHARACTERS = 300;
/** How the registry is reached from here. */
const KEPT = /^(NODE_EXTRA_CA_CERTS|npm_config_(cache|cafile|registry|proxy|https_proxy|noproxy|strict_ssl))$/i;

export class Tap {
  #passed = 0;
  #failed = 0;
  #skipped = 0;

  constructor() {
    console.log('TAP version 13');
  }

  /**
   * Runs a command as one row. Returns whether it went well. `judge` may find fault with what was printed; `refused`
   * says that the command is to end with an error.
   */
  check(name, command, args, options = {}) {
    const { cwd, env = {}, judge = () => undefined, refused = false, timeoutMs = ROW_TIMEOUT_MS } = options;
    const { status, signal, stdout, stderr, error } = spawnSync(command, args, {
      cwd,
      encoding: 'utf8',
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
      env: cleanEnvironment(env),
    });
    const asExpected = refused ? status > 0 : status === 0;
    const fault = asExpected ? judge(stdout, stderr) : (error?.message ?? `ended with ${signal ?? status}`);
    if (fault === undefined) this.pass(name);
    else this.fail(name, `${fault}\n${stdout}${stderr}`);
    return fault === undefined;
  }

  pass(name) {
    this.#passed++;
    console.log(`ok ${this.#count} - ${name}`);
  }

  fail(name, output) {
    this.#failed++;
    console.log(`not ok ${this.#count} - ${name}\n${excerpt(output)}`);
  }

  skip(name, reason) {
    this.#skipped++;
    console.log(`ok ${this.#count} - ${name} # SKIP ${reason}`);
  }

  /** Prints the sums. Returns whether no row failed. */
  end() {
    console.log(`\n1..${this.#count}\n# pass ${this.#passed}\n# fail ${this.#failed}\n# skip ${this.#skipped}`);
    return this.#failed === 0;
  }

  get #count() {
    return this.#passed + this.#failed + this.#skipped;
  }
}

/** The first lines, each no longer than a screen is wide: a bundle is one line. */
function excerpt(output) {
  const lines = output.trimEnd().split('\n').slice(0, MOST_LINES);
  return lines.map((line) => `  ${line.slice(0, MOST_CHARACTERS)}`).join('\n');
}

/** What a shell would have: without what npm and a test runner around this script put into the environment. */
export function cleanEnvironment(additions) {
  const own = Object.entries(process.env).filter(
    ([name]) => !/^(npm_|NODE_|INIT_CWD|AIOKV_|FORCE_COLOR)/i.test(name) || KEPT.test(name),
  );
  return { ...Object.fromEntries(own), NO_COLOR: '1', CI: 'true', ...additions };
}
