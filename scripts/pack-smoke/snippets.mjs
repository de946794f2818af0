/** The snippets of the READMEs that are marked with `<!-- run -->`; those that call `require` are CommonJS. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export function snippetRows(tap, project, root, readmes) {
  for (const readme of readmes) {
    const text = readFileSync(join(root, readme), 'utf8');
    [...text.matchAll(/<!-- run -->\s*```js\n(.*?)```/gs)].forEach(([, snippet], index) => {
      const name = `snippet-${readme.replaceAll(/\W/g, '-')}-${index}.${/ = require\(/.test(snippet) ? 'cjs' : 'mjs'}`;
      project.write(name, snippet);
      tap.check(`${readme}, snippet ${index + 1}`, process.execPath, [name], { cwd: project.directory });
    });
  }
}
