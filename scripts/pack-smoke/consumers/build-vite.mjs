import { basename, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const { entry, external, output } = JSON.parse(process.env.SPEC);
const { build } = await import(pathToFileURL(join(process.env.TOOL, 'dist/node/index.js')).href);
await build({
  root: process.cwd(),
  configFile: false,
  logLevel: 'warn',
  ssr: { noExternal: true, external },
  build: {
    ssr: entry,
    outDir: dirname(output),
    rollupOptions: { output: { entryFileNames: basename(output) } },
  },
});
