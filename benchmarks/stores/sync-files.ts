/** What a synced write leaves open: LevelDB syncs the log that it writes to, and not one that it left just before. */
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';

export async function syncFiles(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!/\.log$|^MANIFEST/.test(name)) continue;
    const file = await open(join(directory, name), 'r').catch(() => null);
    await file?.datasync();
    await file?.close();
  }
}
