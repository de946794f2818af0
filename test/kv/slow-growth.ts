import { SimulatedDisk } from '@aiokv/aio';
import type { DirectFile } from '@aiokv/aio';

/** A simulated disk on which a test decides when a growth of a file ends. */
export class SlowGrowth extends SimulatedDisk {
  #held: (() => void)[] | null = null;

  hold(): void {
    this.#held = [];
  }

  letGo(): void {
    for (const resolve of this.#held ?? []) resolve();
    this.#held = null;
  }

  get isWaitedFor(): boolean {
    return this.#held !== null && this.#held.length > 0;
  }

  override async open(...args: Parameters<SimulatedDisk['open']>): Promise<DirectFile> {
    const file = await super.open(...args);
    const wait = async (): Promise<void> => {
      const held = this.#held;
      if (held !== null) await new Promise<void>((resolve) => held.push(resolve));
    };
    return new Proxy(file, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        if (name !== 'preallocate') return value.bind(target) as unknown;
        return async (offset: number, lengthBytes: number) => {
          await wait();
          return target.preallocate(offset, lengthBytes);
        };
      },
    });
  }
}
