/** Where the tests of the regression guard keep the trees that it builds: a tree that was built is taken as it is. */
import { fileURLToPath } from 'node:url';

export const BUILDS = fileURLToPath(new URL('../../node_modules/.cache/aiokv-regress', import.meta.url));
export const BASE = 'HEAD';
