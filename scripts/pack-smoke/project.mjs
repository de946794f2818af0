/**
 * A project of a user, with the tarballs as its dependencies: its files, and fresh directories for its stores. Direct I/O
 * needs a real disk, which a temporary directory may not be, so projects lie beside the repository's files.
 */
import { cpSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const CONSUMERS = join(import.meta.dirname, 'consumers');

export class Project {
  constructor(directory) {
    this.directory = directory;
    mkdirSync(directory, { recursive: true });
  }

  write(path, text) {
    const file = join(this.directory, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, typeof text === 'string' ? text : `${JSON.stringify(text, null, 2)}\n`);
    return file;
  }

  /** Copies programs from `consumers`, under the names that they have there or as `[from, to]`. */
  take(...names) {
    for (const name of names) {
      const [from, to] = Array.isArray(name) ? name : [name, name];
      mkdirSync(dirname(join(this.directory, to)), { recursive: true });
      cpSync(join(CONSUMERS, from), join(this.directory, to), { recursive: true });
    }
  }

  /** A directory that does not exist yet, for one store. */
  data() {
    return join(mkdtempSync(join(this.directory, 'data-')), 'store');
  }
}
