/** What is wrong before the first operation: shown as its message, without a stack, with exit code 2. */
export class SetupError extends Error {
  override readonly name = 'SetupError';
}
