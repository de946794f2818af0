const path = require('node:path');

const { entry, external, output } = JSON.parse(process.env.SPEC);
const webpack = require(process.env.TOOL);
const compiler = webpack({
  mode: 'production',
  target: 'node20.19',
  context: process.cwd(),
  entry: `./${entry}`,
  output: { path: path.resolve(path.dirname(output)), filename: path.basename(output), library: { type: 'commonjs2' } },
  externalsPresets: { node: true },
  externals: Object.fromEntries(external.map((name) => [name, `commonjs ${name}`])),
});
compiler.run((error, stats) => {
  const failed = error ?? (stats.hasErrors() ? new Error(stats.toString('errors-warnings')) : undefined);
  if (failed !== undefined) {
    console.error(failed);
    process.exitCode = 1;
  } else if (stats.hasWarnings()) console.log(stats.toString('errors-warnings'));
});
