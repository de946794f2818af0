/**
 * kill -9 at random moments of a process that writes on the real disk. Whatever it said was acknowledged
 * must be there, and every batch whole. AIOKV_KILLS says how often (default 15 for each durability),
 * AIOKV_KILL_SEED chooses the moments.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { Random } from '@aiokv/core';
import { open } from '@aiokv/kv';
import { seedOf } from '../helpers/seed.ts';
import { OVERWRITTEN, OVERWRITTEN_PREFIX, overwritingValueOf, sizeOf, valueOf } from './batches.ts';

const KILLS = Number(process.env['AIOKV_KILLS'] ?? 15);
const SEED = seedOf('AIOKV_KILL_SEED');
const writer = fileURLToPath(new URL('./writer.ts', import.meta.url));

interface Said {
  /** The batches that were acknowledged. */
  readonly acknowledged: readonly number[];
  /** Checkpoints that have moved records. */
  readonly cleaned: number;
}

/** Runs the writer until it is killed; returns what it has said. */
async function writeUntilKilled(directory: string, durability: string, first: number, delayMs: number): Promise<Said> {
  const child = spawn(process.execPath, [...process.execArgv, writer, directory, durability, String(first)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => {
    if (said === '') setTimeout(() => child.kill('SIGKILL'), delayMs);
    said += chunk.toString();
  });
  await new Promise((done) => child.once('close', done));
  // The last line may be cut off: it was not said.
  const lines = said.slice(0, said.lastIndexOf('\n') + 1).split('\n');
  return {
    acknowledged: lines.filter((line) => /^\d+$/.test(line)).map(Number),
    cleaned: lines.filter((line) => line === 'moved').length,
  };
}

for (const durability of ['flushed', 'written'] as const) {
  test.serial(`kill -9 during ${durability} writes loses nothing acknowledged and tears no batch`, async (t) => {
    t.timeout(540_000 + 4000 * KILLS);
    const random = new Random(SEED);
    const directory = await mkdtemp(resolve('.tmp-kill-'));
    const acknowledged = new Set<number>();
    /** By key that is overwritten: the last batch that was acknowledged. */
    const overwritten = new Map<number, number>();
    let first = 0;
    let cleaned = 0;
    try {
      for (let kill = 0; kill < KILLS; kill++) {
        const said = await writeUntilKilled(directory, durability, first, random.below(250));
        cleaned += said.cleaned;
        for (const n of said.acknowledged) {
          acknowledged.add(n);
          overwritten.set(n % OVERWRITTEN, Math.max(n, overwritten.get(n % OVERWRITTEN) ?? 0));
        }
        const store = await open(directory);
        const found = new Map<number, number>();
        const last = new Map<number, number>();
        for await (const [key, value] of store.iterator()) {
          const [prefix, number] = key.toString().split(':');
          if (prefix === OVERWRITTEN_PREFIX) {
            const n = Number.parseInt(value.toString(), 10);
            if (value.toString() !== overwritingValueOf(n)) t.fail(`AIOKV_KILL_SEED=${SEED}: ${n} has other bytes`);
            last.set(Number(number), n);
            continue;
          }
          const n = Number(prefix);
          if (value.toString() !== valueOf(n)) t.fail(`AIOKV_KILL_SEED=${SEED}: ${key.toString()} has other bytes`);
          found.set(n, (found.get(n) ?? 0) + 1);
          first = Math.max(first, n + 1);
        }
        for (const [n, count] of found) if (count !== sizeOf(n)) t.fail(`AIOKV_KILL_SEED=${SEED}: batch ${n} is torn`);
        for (const n of acknowledged) if (!found.has(n)) t.fail(`AIOKV_KILL_SEED=${SEED}: batch ${n} is lost`);
        for (const [key, n] of overwritten) {
          if ((last.get(key) ?? -1) < n) t.fail(`AIOKV_KILL_SEED=${SEED}: ${n} is replaced by ${last.get(key)}`);
        }
        for (const n of last.values()) if (!found.has(n)) t.fail(`AIOKV_KILL_SEED=${SEED}: batch ${n} is torn`);
        await store.close();
      }
      t.true(acknowledged.size > KILLS * 10, `only ${acknowledged.size} batches were acknowledged`);
      t.log(
        `${KILLS} kills, ${acknowledged.size} batches acknowledged, ${cleaned} checkpoints with a cleaning, AIOKV_KILL_SEED=${SEED}`,
      );
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });
}
