/** A platform that asks before each call to it, and to a file that it has opened. */
import type { DirectFile, Platform } from '@aiokv/aio';

/**
 * @param before given the name of the method; a call that it throws for is not made
 */
export function counting(platform: Platform, before: (call: string) => void | Promise<void>): Platform {
  const wrap = <T extends object>(target: T): T =>
    new Proxy(target, {
      get: (_, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function' || typeof name !== 'string') return value;
        if (name === 'createEngine' || name === 'transferOnThread') return value.bind(target) as unknown;
        return async (...given: unknown[]): Promise<unknown> => {
          await before(name);
          const result: unknown = await Reflect.apply(value, target, given);
          return name === 'open' ? wrap(result as DirectFile) : result;
        };
      },
    });
  return wrap(platform);
}
