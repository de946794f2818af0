/**
 * The options of `openFile` and of the `open` of every platform, checked where they come in.
 */
import { boolean, oneOf, resolveOptions } from '@aiokv/core';
import type { OpenFileOptions } from './platform.ts';

export type ResolvedOpenOptions = Required<Omit<OpenFileOptions, 'direct'>> & {
  direct: NonNullable<OpenFileOptions['direct']> | undefined;
};

const shape = {
  create: boolean(false),
  exclusive: boolean(false),
  readOnly: boolean(false),
  direct: { ...oneOf(['require', 'prefer', 'never'], 'require'), fallback: undefined as ResolvedOpenOptions['direct'] },
};

/**
 * @returns the options; `direct` stays undefined where it was left out, for each platform has its own default
 * @throws AiokvTypeError ERR_AIOKV_INVALID_OPTION
 */
export function resolveOpenOptions(where: string, given: OpenFileOptions | undefined): ResolvedOpenOptions {
  return resolveOptions<ResolvedOpenOptions>(where, shape, given);
}
