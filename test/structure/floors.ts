/**
 * The floors of each package, from the top: a file imports from its own floor and from those below, types counted, and
 * nothing on a lower floor is given a function that leads up again. The table is the order that is meant; what does not
 * keep it yet stands in exceptions.ts.
 */

export interface Floor {
  /** Folders (with a slash at the end) and files of `packages/NAME/src`. */
  readonly rooms: readonly string[];
  readonly why: string;
}

export const FLOORS: Readonly<Record<string, readonly Floor[]>> = {
  cli: [
    { rooms: ['index.ts', 'bin.ts'], why: 'the public names, and the command' },
    { rooms: ['run.ts'], why: 'from arguments to an exit code' },
    { rooms: ['program.ts'], why: 'the tree of commands' },
    { rooms: ['repl.ts'], why: 'runs commands, and is given how' },
    { rooms: ['commands/'], why: 'one or a few commands each; they do not know one another' },
    { rooms: ['flags.ts', 'walk.ts'], why: 'what several commands share' },
    { rooms: ['session.ts'], why: 'what all commands of a run share, their store too' },
    { rooms: ['transfer/'], why: 'between a store and streams of entries' },
    { rooms: ['text/'], why: 'between bytes and what is shown' },
    { rooms: ['io/'], why: 'streams of the process, or of a test' },
    { rooms: ['errors.ts', 'version.ts'], why: 'what is said when something fails' },
  ],
  level: [
    { rooms: ['index.ts'], why: 'the public names; re-exports only' },
    { rooms: ['aio-level.ts'], why: 'what abstract-level calls, each one call of the store' },
    { rooms: ['level-iterator.ts', 'range-work.ts'], why: 'what takes more than one call of the store' },
    { rooms: ['walk-choice.ts'], why: 'chooses the walk of the store' },
    { rooms: ['skipping-walk.ts', 'late-walk.ts'], why: 'a walk for stores without seek, and one of a snapshot' },
    {
      rooms: ['options.ts', 'range.ts', 'walk.ts', 'errors.ts', 'level-snapshot.ts'],
      why: 'between the words of Level and those of the store',
    },
  ],
  kv: [
    { rooms: ['index.ts'], why: 'the public names; re-exports only' },
    { rooms: ['open.ts'], why: 'puts a store together, so it knows every part' },
    { rooms: ['store.ts'], why: 'control flow of the public calls' },
    { rooms: ['store-parts.ts'], why: 'what a store is made of: types only' },
    { rooms: ['statistics.ts'], why: 'what a store tells of its rooms' },
    { rooms: ['options.ts'], why: 'what callers may set, in terms of the parts below' },
    { rooms: ['warm/'], why: 'reads back what was hot, as reads do, and asks nobody else' },
    { rooms: ['transaction/'], why: 'reads at a moment, and writes if nothing of that has changed' },
    { rooms: ['write/'], why: 'conditions read what is there before they write' },
    { rooms: ['read/'], why: 'finds a record through the index, then reads it' },
    { rooms: ['maintenance/'], why: 'asks index, log and file when work is due; nobody asks it' },
    { rooms: ['recovery/'], why: 'builds log and index from what it finds, with the help of the checkpoint' },
    { rooms: ['clean/'], why: 'moves what lives to segments that a checkpoint writer makes' },
    { rooms: ['checkpoint/'], why: 'writes the index, as of a place in the log' },
    { rooms: ['index/'], why: 'where the record of each key is; pages come from files' },
    { rooms: ['cache/'], why: 'what gets have learned, values and places of records; knows no index' },
    { rooms: ['log/'], why: 'appends records to segments; knows no index' },
    { rooms: ['file/'], why: 'slots, superblocks and growth of the one file' },
    { rooms: ['tree/'], why: 'the ordered tree in memory: pure' },
    { rooms: ['format/'], why: 'bytes on the device: pure' },
    { rooms: ['memory/'], why: 'divides the memory budget, and hands out memory for values: knows neither' },
    { rooms: ['failure/'], why: 'the one gate that says whether the store has failed' },
  ],
  aio: [
    { rooms: ['index.ts', 'qualify-cli.ts'], why: 'the public names, and a command' },
    { rooms: ['open.ts', 'qualify.ts', 'qualify-bench.ts'], why: 'choose a platform and put a queue together' },
    { rooms: ['shards.ts'], why: 'several queues behind one face' },
    { rooms: ['queue.ts'], why: 'what callers see: promises, handlers, waiting' },
    {
      rooms: ['pipeline.ts', 'promises.ts', 'abort.ts', 'checks.ts', 'fallback.ts', 'request-options.ts'],
      why: 'a request on its way, from its checks to its settlement',
    },
    {
      rooms: ['slots.ts', 'slot-waiters.ts', 'waiting-ring.ts', 'statistics.ts', 'diagnostics.ts', 'queue-options.ts'],
      why: 'what the pipeline is made of',
    },
    { rooms: ['linux.ts', 'portable.ts'], why: 'platforms: files, and the choice of an engine' },
    { rooms: ['engines/'], why: 'carry requests to a disk, behind the seam of engine.ts' },
    {
      rooms: ['node-file.ts', 'directories.ts', 'thread-io.ts', 'host.ts', 'portable-lock.ts', 'lock-holder.ts'],
      why: 'files, locks and threads of Node alone',
    },
    { rooms: ['raw/'], why: 'system calls and the memory that they share' },
    {
      rooms: ['platform.ts', 'open-options.ts', 'engine.ts', 'request-error.ts'],
      why: 'the seams, and what both their sides use',
    },
    { rooms: ['buffers.ts', 'prefault.ts'], why: 'aligned memory' },
    { rooms: ['ffi/'], why: 'the only folder that knows a foreign-function interface' },
  ],
  core: [
    { rooms: ['index.ts'], why: 'the public names' },
    { rooms: ['waiters.ts', 'turn.ts', 'checksum.ts', 'codec.ts'], why: 'made of the floor below' },
    { rooms: ['fifo.ts', 'clock.ts', 'options.ts', 'paths.ts', 'random.ts', 'xxhash.ts'], why: 'one noun each' },
    {
      rooms: ['errors.ts', 'units.ts', 'timers.ts', 'xxhash-module.ts', 'key-value-store.ts'],
      why: 'what needs nothing of ours',
    },
  ],
};

/** Where a file of the packages stands: 0 is the top; undefined when the table has no room for it. */
export function floorOf(path: string): number | undefined {
  const [, name, , ...rest] = path.split('/');
  const inside = rest.join('/');
  const found = FLOORS[name as string]?.findIndex(({ rooms }) =>
    rooms.some((room) => (room.endsWith('/') ? inside.startsWith(room) : inside === room)),
  );
  return found === -1 ? undefined : found;
}

/** Of packages: those further left stand higher. */
const PACKAGES_FROM_THE_TOP = ['cli', 'level', 'kv', 'aio', 'core'] as const;

/** Whether one file stands higher than another, which may be of another package. */
export function isAbove(upper: string, lower: string): boolean {
  const [one, other] = [upper, lower].map((path) =>
    PACKAGES_FROM_THE_TOP.findIndex((name) => path.startsWith(`packages/${name}/`)),
  ) as [number, number];
  if (one !== other) return one < other;
  return (floorOf(upper) ?? 0) < (floorOf(lower) ?? 0);
}
