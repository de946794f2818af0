/** What a write does that has found a full device (packages/kv/src/write/room-request.ts). */
import test from 'ava';
import type { LogWriter } from '../../packages/kv/src/log/writer.ts';
import type { Maintenance } from '../../packages/kv/src/maintenance/maintenance.ts';
import { RoomRequest } from '../../packages/kv/src/write/room-request.ts';

const FULL = new Error('the device is full');

for (const [use, tries] of [
  ['put', 1],
  ['delete', 4],
] as const) {
  test(`a ${use} has a run make space ${tries} times, and hears of growths from then on`, async (t) => {
    const asked: string[] = [];
    const maintenance = { makeSpace: (_: unknown, what: string) => Promise.resolve(void asked.push(what)) };
    const room = new RoomRequest(use, 7);
    t.is(room.since, 7);
    for (let growths = 8; growths < 8 + tries; growths++) {
      await room.makeSpace(FULL, maintenance as unknown as Maintenance, { growths } as LogWriter);
      t.is(room.since, growths);
    }
    const last = room.makeSpace(FULL, maintenance as unknown as Maintenance, { growths: 99 } as LogWriter);
    t.is(await t.throwsAsync(last), FULL);
    t.deepEqual(asked, new Array<string>(tries).fill(use));
  });
}

test('a write for which there is nothing to gain gets its error', async (t) => {
  const maintenance = { makeSpace: () => Promise.reject(FULL) } as unknown as Maintenance;
  t.is(
    await t.throwsAsync(new RoomRequest('delete', 0).makeSpace(FULL, maintenance, { growths: 1 } as LogWriter)),
    FULL,
  );
});
