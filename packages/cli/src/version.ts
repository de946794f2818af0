/** Of this package, as `--version` prints it. A file beside the code would be elsewhere in each build. */
export const VERSION = '0.1.0';
