/** Server bundles: by esbuild, by Vite for SSR, by webpack as Next.js configures it; each is built, then run. */
import { roundTrip } from './runtime.mjs';

const PACKAGES = ['@aiokv/core', '@aiokv/aio', '@aiokv/kv'];

/** Which packages stay outside of the bundle. */
const EXTERNALS = {
  'packages outside': PACKAGES,
  'packages in the bundle': [],
  'kv in the bundle, aio and core outside': ['@aiokv/core', '@aiokv/aio'],
};

export function bundlerRows(tap, tools, project) {
  project.take('round-trip.mjs', 'round-trip.cjs', 'main.mjs', 'main.cjs', 'build-esbuild.mjs', 'build-vite.mjs');
  project.take('build-webpack.cjs');
  const row = (name, tool, builder, spec) => {
    const { path, reason } = tools.find('bundlers', tool);
    if (reason !== undefined) return tap.skip(name, reason);
    const options = { cwd: project.directory, env: { TOOL: path, SPEC: JSON.stringify(spec) } };
    if (!tap.check(`${name}: builds`, process.execPath, [builder], options)) {
      return tap.fail(`${name}: runs`, 'there is no bundle');
    }
    return tap.check(`${name}: runs`, process.execPath, [spec.output, project.data()], {
      cwd: project.directory,
      judge: roundTrip,
    });
  };

  for (const [what, external] of Object.entries(EXTERNALS)) {
    const place = what.replaceAll(/\W+/g, '-');
    for (const entry of ['main.mjs', 'main.cjs']) {
      for (const format of ['esm', 'cjs']) {
        // What a CommonJS file requires from outside stays a `require`, which an ES module does not have.
        if (entry === 'main.cjs' && format === 'esm') continue;
        const output = `esbuild/${place}/${entry}-${format}.${format === 'esm' ? 'mjs' : 'cjs'}`;
        row(`esbuild, ${entry} to ${format}, ${what}`, 'esbuild', 'build-esbuild.mjs', {
          entry,
          format,
          external,
          output,
        });
      }
    }
    row(`vite ssr, ${what}`, 'vite', 'build-vite.mjs', {
      entry: 'main.mjs',
      external,
      output: `vite/${place}/main.mjs`,
    });
    for (const entry of ['main.mjs', 'main.cjs']) {
      row(`webpack for node, ${entry}, ${what}`, 'webpack', 'build-webpack.cjs', {
        entry,
        external,
        output: `webpack/${place}/${entry}.cjs`,
      });
    }
  }
}
