/** The grammar of properties files; each expectation was checked against java.util.Properties. */
import test from 'ava';
import { parseProperties, readPropertiesFile } from '../../benchmarks/ycsb/properties-file.ts';
import { SetupError } from '../../benchmarks/ycsb/setup-error.ts';

const CASES: readonly (readonly [what: string, text: string, expected: Readonly<Record<string, string>>])[] = [
  ['all three separators', 'a=1\nb:2\nc 3\n', { a: '1', b: '2', c: '3' }],
  ['blanks around separators', '  z : 3 ', { z: '3 ' }],
  ['trailing blanks belong to the value', 'k  v w \n', { k: 'v w ' }],
  ['one separator only', 'k = = v', { k: '= v' }],
  ['a blank separates before =', 'a b=c', { a: 'b=c' }],
  ['form feeds are blanks', 't\f=\f v\f', { t: 'v\f' }],
  ['line ends of all kinds', 'a=1\r\nb=2\rc=3\n', { a: '1', b: '2', c: '3' }],
  ['comments', '# c\n  ! d\nx=#1\n', { x: '#1' }],
  ['a comment is not continued', '# c \\\nx=1', { x: '1' }],
  ['a continued line drops leading blanks', 'a=b\\\n   c\n', { a: 'bc' }],
  ['a key can be continued', 'a\\\n b=c', { ab: 'c' }],
  ['a continuing line is no comment', 'a=\\\n#b\nc=d', { a: '#b', c: 'd' }],
  ['a continuing line can be blank', 'x\\\n\ny=1', { x: '', y: '1' }],
  ['blanks can be continued', '  \\\n  k=v', { k: 'v' }],
  ['nothing continued may be a comment', '\\\n# c\na=1', { a: '1' }],
  ['an even number of backslashes continues nothing', 'a\\\\\nb=1', { 'a\\': '', b: '1' }],
  ['an odd one does', 'a\\\\\\\nb=1\n', { 'a\\b': '1' }],
  ['a backslash at the very end', 'k=v\\', { k: 'v' }],
  ['a backslash and nothing else', '\\', { '': '' }],
  ['escapes', 'k\\ e\\=y\\:=v\\tq\\u0041\\z\n', { 'k e=y:': 'v\tqAz' }],
  ['escaped comment characters', '\\#k=\\!v', { '#k': '!v' }],
  ['an escaped backslash before u', 'q=\\\\u0041', { q: '\\u0041' }],
  ['escapes are undone after splitting', '\\u0041\\u003d=x', { 'A=': 'x' }],
  ['no value', 'only\n', { only: '' }],
  ['no key', 'e:\n=v\n', { '': 'v', e: '' }],
  ['the last of two wins', 'a=1\na=2', { a: '2' }],
  ['nothing', '\n  \n\t\n', {}],
];

for (const [what, text, expected] of CASES) {
  test(what, (t) => {
    t.deepEqual(Object.fromEntries(parseProperties(text, 'a test')), expected);
  });
}

test('a malformed \\u is refused, and the message names the file', (t) => {
  for (const text of ['a=\\u00g1', 'a=\\u12', '\\u=1']) {
    t.throws(() => parseProperties(text, 'some.properties'), {
      instanceOf: SetupError,
      message: /some\.properties.*\\u/s,
    });
  }
});

test('a file that is not there is told with a remedy', (t) => {
  t.throws(() => readPropertiesFile('no/such/file'), { instanceOf: SetupError, message: /no\/such\/file.*ENOENT.*-P/ });
});

test('the workload files are those of the reference in all that they set', (t) => {
  const expected = {
    a: { readproportion: '0.5', updateproportion: '0.5', requestdistribution: 'zipfian' },
    b: { readproportion: '0.95', updateproportion: '0.05', requestdistribution: 'zipfian' },
    c: { readproportion: '1', updateproportion: '0', requestdistribution: 'zipfian' },
    d: { readproportion: '0.95', insertproportion: '0.05', requestdistribution: 'latest' },
    e: { scanproportion: '0.95', insertproportion: '0.05', requestdistribution: 'zipfian', maxscanlength: '100' },
    f: { readproportion: '0.5', readmodifywriteproportion: '0.5', requestdistribution: 'zipfian' },
  };
  for (const [letter, properties] of Object.entries(expected)) {
    const file = Object.fromEntries(readPropertiesFile(`benchmarks/workloads/workload${letter}`));
    t.like(file, { recordcount: '1000', operationcount: '1000', readallfields: 'true', ...properties });
    const shares = Object.keys(file).filter((name) => name.endsWith('proportion'));
    t.is(
      shares.reduce((sum, name) => sum + Number(file[name]), 0),
      1,
    );
  }
});
