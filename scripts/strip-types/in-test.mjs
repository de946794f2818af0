/**
 * What ava loads before a test file: the loader of strip-types.mjs. By then ava has loaded itself, whose modules need no
 * loader and would take a quarter of a second through it. Processes that tests start inherit the argument that they need.
 */
import { register } from 'node:module';

const loader = new URL('../strip-types.mjs', import.meta.url);
register('./hooks.mjs', import.meta.url);
process.execArgv.push(`--import=${loader.href}`);
