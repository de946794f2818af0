/** Opens the store of a directory and says the code and the message of the error, or `opened`. With `exhaust`, first without descriptors. */
import { closeSync, openSync } from 'node:fs';
import { open } from '@aiokv/kv';
import { OPENING } from './opener.ts';

const [directory = '', mode] = process.argv.slice(2);

async function attempt(): Promise<string> {
  try {
    await (await open(directory, OPENING)).close();
    return 'opened';
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return `${code} ${message}`;
  }
}

if (mode === 'exhaust') {
  // What is loaded at the first use is loaded before.
  await (await open(`${directory}.first`, OPENING)).close();
  const taken: number[] = [];
  try {
    for (;;) taken.push(openSync('/dev/null', 'r'));
  } catch {
    const said = await attempt();
    for (const descriptor of taken) closeSync(descriptor);
    process.stdout.write(`${said}\n`);
  }
}
process.stdout.write(`${await attempt()}\n`);
