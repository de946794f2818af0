/** Latencies and return codes, and the formats in which they are shown. */
import test from 'ava';
import { Measurements } from '../../benchmarks/ycsb/measurements/measurements.ts';
import { FORMATS, integerRow, realRow } from '../../benchmarks/ycsb/measurements/result-row.ts';
import { readSettings } from '../../benchmarks/ycsb/settings.ts';
import { duration } from '../../benchmarks/ycsb/status-reporter.ts';

function measurementsOf(properties: Readonly<Record<string, string>> = {}): Measurements {
  return new Measurements(readSettings(new Map(Object.entries(properties))));
}

/** One hundred reads, of 1 to 100 µs, begun 1 ms after they were meant to. */
function readHundred(measurements: Measurements): void {
  for (let us = 1; us <= 100; us++) {
    measurements.measure('READ', 10, 9, 10 + (us + 0.5) / 1000);
    measurements.reportStatus('READ', us === 100 ? 'NOT_FOUND' : 'OK');
  }
}

test('text: as the reference writes it', (t) => {
  const measurements = measurementsOf({ 'hdrhistogram.percentiles': '50,95,99,99.9' });
  readHundred(measurements);
  t.is(
    FORMATS.text([realRow('OVERALL', 'Throughput(ops/sec)', 1000), ...measurements.rows()]),
    [
      '[OVERALL], Throughput(ops/sec), 1000.0',
      '[READ], Operations, 100',
      '[READ], AverageLatency(us), 50.5',
      '[READ], MinLatency(us), 1',
      '[READ], MaxLatency(us), 100',
      '[READ], 50thPercentileLatency(us), 50',
      '[READ], 95thPercentileLatency(us), 95',
      '[READ], 99thPercentileLatency(us), 99',
      '[READ], 99.9PercentileLatency(us), 100',
      '[READ], Return=OK, 99',
      '[READ], Return=NOT_FOUND, 1',
      '',
    ].join('\n'),
  );
});

test('JSON: objects, one a line, or in an array', (t) => {
  const rows = [integerRow('READ', 'Operations', 5), realRow('READ', 'AverageLatency(us)', 2.5)];
  const objects = [
    { metric: 'READ', measurement: 'Operations', value: 5 },
    { metric: 'READ', measurement: 'AverageLatency(us)', value: 2.5 },
  ];
  const lines = FORMATS.json(rows).trimEnd().split('\n');
  t.deepEqual(
    lines.map((line) => JSON.parse(line) as unknown),
    objects,
  );
  t.deepEqual(JSON.parse(FORMATS.jsonarray(rows)), objects);
});

test('percentiles have ordinals', (t) => {
  const measurements = measurementsOf({ 'hdrhistogram.percentiles': '1,2,3,4,11,12,13,21,52,93,100' });
  measurements.measure('READ', 0, 0, 1);
  const names = measurements.rows().flatMap(({ measurement }) => /^(.*)PercentileLatency/.exec(measurement)?.[1] ?? []);
  t.deepEqual(names, ['1st', '2nd', '3rd', '4th', '11th', '12th', '13th', '21st', '52nd', '93rd', '100th']);
});

test('both: a second series from the intended start', (t) => {
  const measurements = measurementsOf({ 'measurement.interval': 'both' });
  readHundred(measurements);
  const text = FORMATS.text(measurements.rows());
  t.regex(text, /^\[READ\], MaxLatency\(us\), 100$/m);
  t.regex(text, /^\[Intended-READ\], MinLatency\(us\), 1001$/m);
  t.regex(text, /^\[READ\], Return=OK, 99$/m);
  t.notRegex(text, /^\[Intended-READ\], Return/m);
});

test('intended: only the series from the intended start, under the plain name', (t) => {
  const measurements = measurementsOf({ 'measurement.interval': 'intended' });
  readHundred(measurements);
  measurements.measureDirect('VERIFY', 1, 1);
  const text = FORMATS.text(measurements.rows());
  t.regex(text, /^\[READ\], MinLatency\(us\), 1001$/m);
  t.regex(text, /^\[READ\], Return=OK, 99$/m);
  t.notRegex(text, /Intended|VERIFY/);
  t.is(measurements.countOf('READ', 'NOT_FOUND'), 1);
});

test('a summary is about the time since the last one, the results about all', (t) => {
  const measurements = measurementsOf();
  readHundred(measurements);
  t.is(measurements.summary(), '[READ: Count=100, Max=100, Min=1, Avg=50.5, 50=50, 90=90, 99=99, 99.9=100, 99.99=100]');
  measurements.measure('READ', 0, 0, 2);
  t.regex(measurements.summary(), /^\[READ: Count=1, Max=2000, Min=2000, /);
  t.regex(measurements.summary(), /^\[READ: Count=0, Max=0, Min=0, Avg=0, /);
  t.regex(FORMATS.text(measurements.rows()), /^\[READ\], Operations, 101$/m);
});

test('latencies of hours are kept', (t) => {
  const measurements = measurementsOf();
  measurements.measure('READ', 0, 0, 3 * 3_600_000);
  const max = measurements.rows().find(({ measurement }) => measurement === 'MaxLatency(us)')?.value ?? 0;
  t.true(Math.abs(max / 1.08e10 - 1) < 0.001, String(max));
});

test('histogram: buckets of a millisecond', (t) => {
  const measurements = measurementsOf({ measurementtype: 'histogram', 'histogram.buckets': '90' });
  for (let ms = 1; ms <= 100; ms++) measurements.measure('READ', 0, 0, ms);
  t.is(measurements.summary(), '[READ AverageLatency(us)=50500]');
  t.is(measurements.summary(), '');
  t.is(
    FORMATS.text(measurements.rows()),
    [
      '[READ], Operations, 100',
      '[READ], AverageLatency(us), 50500.0',
      '[READ], LatencyVariance(us), 833250000.0',
      '[READ], MinLatency(us), 1000',
      '[READ], MaxLatency(us), 100000',
      '',
    ].join('\n'),
  );
  const wider = measurementsOf({ measurementtype: 'histogram' });
  for (let ms = 1; ms <= 100; ms++) wider.measure('READ', 0, 0, ms);
  t.regex(FORMATS.text(wider.rows()), /95thPercentileLatency\(us\), 95000\n.*99thPercentileLatency\(us\), 99000/);
});

test('timeseries: an average for each stretch', (t) => {
  const measurements = measurementsOf({ measurementtype: 'timeseries', 'timeseries.granularity': '100' });
  for (const [endMs, tookMs] of [
    [1000, 2],
    [1050, 4],
    [1100, 5],
    [1350, 7],
  ] as const) {
    measurements.measure('READ', endMs - tookMs, 0, endMs);
  }
  measurements.reportStatus('READ', 'OK');
  t.deepEqual(FORMATS.text(measurements.rows()).trimEnd().split('\n').slice(-4), [
    '[READ], Return=OK, 1',
    '[READ], 0, 3000.0',
    '[READ], 100, 5000.0',
    '[READ], 300, 7000.0',
  ]);
});

test('two ways at once have two names', (t) => {
  const measurements = measurementsOf({ measurementtype: 'hdrhistogram+histogram' });
  readHundred(measurements);
  const text = FORMATS.text(measurements.rows());
  t.regex(text, /^\[HdrREAD\], Operations, 100$/m);
  t.regex(text, /^\[BucketREAD\], Operations, 100$/m);
});

test('durations are told as coarsely as they are long', (t) => {
  t.deepEqual([0, 1, 59, 60, 3600, 3661, 86_400, 90_061, 200_000].map(duration), [
    '0 seconds',
    '1 second',
    '59 seconds',
    '1 minute',
    '1 hour',
    '1 hour 1 minute',
    '1 day',
    '1 day 1 hour',
    '2 days 7 hours',
  ]);
});

test('histograms have the names of the results: those from the intended start stand apart', (t) => {
  const measurements = measurementsOf({ 'measurement.interval': 'both' });
  measurements.measure('READ', 10, 5, 20);
  t.deepEqual(
    measurements.histograms().map(([name, histogram]) => [name, histogram.totalCount, histogram.maxValue >= 14_000]),
    [
      ['READ', 1, false],
      ['Intended-READ', 1, true],
    ],
  );
});
