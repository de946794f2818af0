import { createRequire } from 'node:module';

const { entry, format, external, output } = JSON.parse(process.env.SPEC);
const { build } = createRequire(import.meta.url)(process.env.TOOL);
await build({
  entryPoints: [entry],
  outfile: output,
  bundle: true,
  platform: 'node',
  format,
  external,
  logLevel: 'warning',
});
