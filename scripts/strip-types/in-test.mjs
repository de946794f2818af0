/**
 * What ava loads before a test file: the loader of strip-types.mjs. By then ava has loaded itself, whose modules need no
 * loader and would take a quarter of a second through it. Processes that tests start inherit the argument that they need.
 */
import '../strip-types.mjs';

process.execArgv.push(`--import=${import.meta.resolve('../strip-types.mjs')}`);
