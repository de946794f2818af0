/** How fast phases are: targets, latencies from the intended start, ends by time. The times are those that are asked for. */
import test from 'ava';
import { BasicDb } from '../../benchmarks/ycsb/basic-db.ts';
import type { Fields } from '../../benchmarks/ycsb/db.ts';
import { phase, valueOf } from '../ycsb/phases.ts';

test.serial('a target slows down, evenly', async (t) => {
  const given = {
    recordcount: '10',
    operationcount: '300',
    threadcount: '4',
    target: '600',
    'measurement.interval': 'both',
  };
  // On a machine that has other things to do a run may be late; one of five is not.
  let delayUs = Infinity;
  let shortestMs = Infinity;
  for (let attempt = 0; attempt < 5 && !(delayUs < 2000 && shortestMs < 1500); attempt++) {
    const ran = await phase('run', new BasicDb(), given);
    const runtimeMs = valueOf(ran, 'OVERALL', 'RunTime(ms)');
    t.true(runtimeMs >= 480, `${runtimeMs} ms for 500`);
    shortestMs = Math.min(shortestMs, runtimeMs);
    delayUs = Math.min(delayUs, valueOf(ran, 'Intended-READ', '50thPercentileLatency(us)'));
  }
  t.true(shortestMs < 1500, `${shortestMs} ms for 500`);
  t.true(delayUs < 2000, `${delayUs} us late`);
});

test.serial('latency from the intended start shows what a slow operation delayed', async (t) => {
  class StallingDb extends BasicDb {
    override async read(): Promise<Fields> {
      // The first read takes as long as a hundred of the others have time for.
      if (this.calls.read === 0) await new Promise((resolve) => setTimeout(resolve, 200));
      return super.read();
    }
  }
  const given = {
    recordcount: '10',
    operationcount: '150',
    target: '500',
    readproportion: '1',
    updateproportion: '0',
    'measurement.interval': 'both',
  };
  let readUs = Infinity;
  for (let attempt = 0; attempt < 5 && readUs >= 2000; attempt++) {
    const ran = await phase('run', new StallingDb(), given);
    t.true(valueOf(ran, 'Intended-READ', '50thPercentileLatency(us)') > 20_000);
    readUs = Math.min(readUs, valueOf(ran, 'READ', '50thPercentileLatency(us)'));
  }
  t.true(readUs < 2000, `${readUs} us`);
});

test.serial('maxexecutiontime ends a run that has no end, even where the database never waits', async (t) => {
  const ran = await phase('run', new BasicDb(), { recordcount: '10', maxexecutiontime: '1', threadcount: '3' });
  const runtimeMs = valueOf(ran, 'OVERALL', 'RunTime(ms)');
  t.true(runtimeMs >= 950 && runtimeMs < 3000, `${runtimeMs} ms`);
  t.true(ran.operations > 1000);
});

test.serial('maxexecutiontime wakes clients that wait for their turn', async (t) => {
  const given = { recordcount: '10', operationcount: '100', maxexecutiontime: '1', target: '1', threadcount: '2' };
  const ran = await phase('run', new BasicDb(), given);
  t.true(valueOf(ran, 'OVERALL', 'RunTime(ms)') < 3000);
  t.true(ran.operations < 10);
});

test.serial('status lines tell the progress at once, in between and at the end', async (t) => {
  const ran = await phase('run', new BasicDb(), {
    recordcount: '10',
    operationcount: '150',
    target: '100',
    status: 'true',
    label: 'try ',
    'status.interval': '1',
  });
  const lines = ran.log.filter((line) => line.includes(' sec: '));
  t.true(lines.length >= 3);
  t.regex(lines[0] as string, /^try \d{4}-\d\d-\d\d \d\d:\d\d:\d\d:\d{3} 0 sec: 0 operations;$/);
  t.regex(lines[1] as string, /[01] sec: \d+ operations; [\d.]+ current ops\/sec; est completion in \d+ seconds? \[/);
  t.regex(
    lines.at(-1) as string,
    /[1-9] sec: 150 operations; [\d.]+ current ops\/sec; \[.*READ: Count=\d+, Max=\d+, Min=\d+, Avg=/,
  );
});
