/** Packs the packages as they would be published and looks at their shape. Returns the tarballs by package name. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { PACKAGES } from '../build.mjs';
import { PNPM, ROOT } from '../setup.mjs';

export function packRows(tap, directory) {
  const bin = (name) => join(ROOT, 'node_modules/.bin', name);
  const tarballs = {};
  for (const name of PACKAGES) {
    const cwd = join(ROOT, 'packages', name);
    tap.check(`pack ${name}`, 'npx', ['-y', PNPM, 'pack', '--pack-destination', directory], { cwd });
    const file = readdirSync(directory).find((file) => file.startsWith(`aiokv-${name}-`)) ?? 'missing.tgz';
    tarballs[`@aiokv/${name}`] = join(directory, file);
    tap.check(`publint ${name}`, bin('publint'), ['run', join(directory, file), '--strict'], { cwd });
    tap.check(`attw ${name}`, bin('attw'), [join(directory, file), '--profile', 'strict'], { cwd });
  }
  return tarballs;
}
