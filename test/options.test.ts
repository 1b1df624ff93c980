/**
 * Every option, row by row: what it may be as text and in code, and what it may not. A new
 * option fails the first test until it has its row here.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { GatewayError } from '../src/core/errors.ts';
import { OPTIONS, resolveOptions, type GatewayOptions, type Settings } from '../src/options.ts';
import { ROWS_OF_BROWSERS } from './option-rows.ts';
import type { Row } from './option-rows.ts';
import type { RunSource } from '../src/core/run-source.ts';
import { jwksFile, Signer } from './support/signing.ts';

const UPSTREAM = 'http://127.0.0.1:9000';
const SOURCE: RunSource = {
  admit: () => Promise.reject(new Error('never asked')),
  watch: () => assert.fail('never watched'),
  close: () => undefined,
};

const NO_NUMBER = ['1', '2s', null, true, NaN, Infinity, -Infinity, 1.5, 1e21, 2n, [1], {}];
const NO_TEXT = [1, null, true, ['x'], {}, Symbol('x'), () => 'x', new String('x')];
const NO_DURATION = [
  '', '2', '2 s', ' 2s', '2s ', '2S', '2sec', '-2s', '+2s', '2,5s', '2.s', '.5s', '1e3ms', '0x2s',
  '20.5ms', '1s500ms', '1d', 's', 'ms', 'NaNs', '٢s', '2s\n', '9'.repeat(400) + 's', 'none',
];

const onOff = (key: keyof Settings, byDefault: boolean | undefined): Row => ({
  key, byDefault, good: [['on', true], ['off', false]],
  bad: ['', 'true', 'ON', '1', 'yes', 'toString'], badInCode: ['on', 1, null, []],
});
function duration(
  key: keyof Settings, byDefault: number, least: readonly [string, number],
  most: readonly [string, number], beyond: readonly string[],
): Row {
  const good = [least, most, ['250ms', 250], ['1.5s', 1_500], ['2s', 2_000], ['0.5m', 30_000],
    ['1m', 60_000], ['007s', 7_000]] as const;
  const badInCode = [...NO_NUMBER, least[1] - 1, most[1] + 1];
  return { key, byDefault, good, bad: [...NO_DURATION, ...beyond], badInCode };
}

const statuses = (key: keyof Settings, byDefault: readonly string[]): Row => ({
  key,
  byDefault,
  good: [['ok', ['ok']], ['a,b,c', ['a', 'b', 'c']], [' a ,\tb ', ['a', 'b']], ['a b', ['a b']]],
  bad: ['', ' ', ',', 'a,', ',a', 'a,,b', 'a, ,b'],
  badInCode: ['ok', [], [''], ['a', ''], [1], ['a', null], { 0: 'a', length: 1 }, null, 1],
});

const integer = (key: keyof Settings, byDefault: number, most = 10_000_000): Row => ({
  key,
  byDefault,
  good: [['1', 1], [String(byDefault), byDefault], [String(most), most]],
  bad: ['', '0', '-1', String(most + 1), '1.5', '1e3', 'many'],
  badInCode: [...NO_NUMBER, 0, most + 1],
});

const ROWS: Readonly<Record<string, Row>> = {
  'upstream': {
    key: 'upstream',
    byDefault: undefined,
    good: [
      'http://127.0.0.1:9000', 'https://api.test', 'https://api.test/', 'https://api.test/base/v2',
      'http://[::1]:80', 'HTTPS://API.test', 'http://localhost',
    ].map((url) => [url, url] as const),
    bad: [
      '', 'api.test', 'localhost:9000', '127.0.0.1:9000', '//api.test', '/v1', 'http://', 'http:',
      'ftp://api.test', 'ws://api.test', 'file:///etc/passwd', 'javascript:alert(1)', 'http://a b',
      'http://api.test?', 'http://api.test/?x=1', 'http://api.test/#', 'http://api.test#x',
      'http://me:pw@api.test', 'http://me@api.test', 'http://:pw@api.test', ' http://api.test',
      'http://api.test\n', 'http://api.test:65536', 'http://api.test http://b.test',
    ],
    badInCode: [...NO_TEXT, new URL('http://api.test'), [UPSTREAM], { url: UPSTREAM }],
  },
  'host': {
    key: 'host',
    byDefault: '127.0.0.1',
    good: ['0.0.0.0', '::', '::1', 'localhost', 'my-host.internal'].map((host) => [host, host]),
    bad: ['', ' ', 'a b', 'a,b', 'a/b', 'http://a', 'a@b', 'a\n', '*', 'hôte', 'a;b'],
    badInCode: NO_TEXT,
  },
  'port': {
    key: 'port',
    byDefault: 8_080,
    good: [['0', 0], ['1', 1], ['8080', 8_080], ['65535', 65_535]],
    bad: ['', ' ', '-1', '+1', '65536', '80.0', '8e3', '0x50', '80 ', ' 80', 'http', '٨٠',
      '1_000', 'tcp://10.0.0.1:80', '9'.repeat(400), '80\n'],
    badInCode: [...NO_NUMBER, -1, 65_536],
  },
  'admin-port': {
    key: 'adminPort',
    byDefault: undefined,
    good: [['1', 1], ['9090', 9_090], ['65535', 65_535]],
    bad: ['', '0', '-1', '65536', '9090 ', 'none', 'tcp://10.0.0.1:90'],
    badInCode: [...NO_NUMBER, 0, 65_536],
  },
  'workers': {
    ...integer('workers', 1, 256),
    good: [['1', 1], ['256', 256], ['auto', 'auto']],
    bad: ['', '0', '257', 'Auto', 'auto ', '1.5', 'many'],
  },
  'poll-interval': duration('pollIntervalMs', 2_000, ['20ms', 20], ['1h', 3_600_000],
    ['19ms', '0s', '3600001ms', '61m', '2h']),
  'ping-interval': duration('pingIntervalMs', 15_000, ['100ms', 100], ['60m', 3_600_000],
    ['99ms', '0.09s', '3601s']),
  'stream-timeout': duration('streamTimeoutMs', 600_000, ['0.1s', 100], ['24h', 86_400_000],
    ['99ms', '0m', '25h']),
  'upstream-timeout': duration('upstreamTimeoutMs', 10_000, ['10ms', 10], ['10m', 600_000],
    ['9ms', '601s', '1h']),
  'max-body': {
    key: 'maxBodyBytes',
    byDefault: 4_194_304,
    good: [['1', 1], ['65536', 65_536], ['64KiB', 65_536], ['4MiB', 4_194_304],
      ['256MiB', 268_435_456], ['262144KiB', 268_435_456]],
    bad: ['', '0', '0MiB', '257MiB', '268435457', '4MB', '4M', '4k', '4mib', '4 MiB', '1.5MiB',
      '-1', '1GiB', '0x10', '1e3', 'MiB', 'KiB', '4MiB '],
    badInCode: [...NO_NUMBER, 0, -1, 268_435_457, '4MiB'],
  },
  'upstream-rate': {
    key: 'upstreamRate',
    byDefault: undefined,
    good: [['100/1m', { requests: 100, perMs: 60_000 }], ['5/s', { requests: 5, perMs: 1_000 }],
      ['1/100ms', { requests: 1, perMs: 100 }], ['1000000/h', { requests: 1e6, perMs: 3_600_000 }]],
    bad: ['', '100', '100/', '/1m', '0/1m', '-1/1m', '1.5/1m', '100/99ms', '100/2h', '100 / 1m',
      '100/1m/1', '100/1', '1000001/1m', '100/1d', 'none'],
    badInCode: [...NO_NUMBER, 100, '100/1m', { requests: 1 }, { perMs: 1_000 },
      { requests: 0, perMs: 1_000 }, { requests: 1.5, perMs: 1_000 }, { requests: 1, perMs: 99 }],
  },
  'source': {
    key: 'sourceKind',
    byDefault: 'poll',
    good: ['poll', 'wait', 'list', 'stream'].map((kind) => [kind, kind]),
    bad: ['', 'polls', 'POLL', 'poll,wait', 'toString'], badInCode: NO_TEXT,
  },
  'upstream-key': {
    key: 'upstreamKey',
    byDefault: undefined,
    good: [['lma_own', 'lma_own'], ['x'.repeat(512), 'x'.repeat(512)]],
    bad: ['', 'a b', 'a,b', 'é', 'x'.repeat(513)],
    badInCode: NO_TEXT,
  },
  ...ROWS_OF_BROWSERS,
  'webhook-jwks': {
    key: 'webhookJwks',
    byDefault: undefined,
    good: [jwksFile(new Signer()), 'http://a.test/k?of=all'].map((at) => [at, at]),
    bad: ['', 'no.json', 'package.json', 'src', 'http://', 'http://a:b@c/'], badInCode: NO_TEXT,
  },
  'webhook-header-prefix': {
    key: 'webhookHeaderPrefix',
    byDefault: 'X-Lamina-Webhook-',
    good: [['X-Hook-', 'X-Hook-'], ['a-', 'a-']],
    bad: ['', '-', 'X-Hook', 'X Hook-', 'X:-', '1-', 'é-', 'x'.repeat(64) + '-'],
    badInCode: NO_TEXT,
  },
  'key-prefix': {
    key: 'keyPrefix',
    byDefault: 'lma_',
    good: ['', 'lma_', 'sk-', '!"#$%&\'()*+-./:;<=>?@[\\]^_`{|}~', 'x'.repeat(64)]
      .map((prefix) => [prefix, prefix]),
    bad: [' ', 'a b', 'a,b', ',', 'é', 'a\tb', '\n', 'a\n', '\0', '\x7f', 'x'.repeat(65)],
    badInCode: NO_TEXT,
  },
  'upstream-path': {
    key: 'upstreamPath',
    byDefault: '/v1/runs/{runId}',
    good: ['/{runId}', '/a/{runId}/status', '/runs?id={runId}', '/a.b/..c/{runId}.x', '/~/{runId}']
      .map((path) => [path, path]),
    bad: ['', '/', '{runId}', 'v1/{runId}', '/v1/runs', '/v1/{runid}', '/v1/{run}', '/v1/runId',
      '//evil.test/{runId}', 'http://evil.test/{runId}', '/a b/{runId}', '/a#{runId}', '/{runId}#',
      '/é/{runId}', '/a\n{runId}', '/{runId}\n', '/{runId}\0', ' /{runId}'],
    badInCode: NO_TEXT,
  },
  'status-field': {
    key: 'statusField',
    byDefault: 'status',
    good: ['state', 'my state', 'Zustand ü', '__proto__', 'x'.repeat(128), 'status,conclusion',
      ' a ,b', 'a,b,c,d,e,f,g,h'].map((name) => [name, name]),
    bad: ['', ' ', 'a,', ',a', 'a, ,b', 'a\n', '\0', '\t', 'x'.repeat(129), 'a,'.repeat(8) + 'i'],
    badInCode: NO_TEXT,
  },
  'complete-on': statuses('completeOn', ['completed']),
  'error-on': statuses('errorOn', ['failed', 'cancelled']),
  'compress': onOff('compress', true),
  'page': onOff('page', undefined),
  'forward': onOff('forward', false),
  'slow-timeout': duration('slowTimeoutMs', 30_000, ['100ms', 100], ['1h', 3_600_000],
    ['99ms', '0s', '61m']),
  'drain-timeout': duration('drainTimeoutMs', 10_000, ['0s', 0], ['1h', 3_600_000],
    ['-0s', '61m', '3600001ms']),
  'max-streams': integer('maxStreams', 50_000),
  'max-streams-per-key': integer('maxStreamsPerKey', 5_000),
  'max-runs': integer('maxRuns', 20_000),
  'log-level': {
    key: 'logLevel',
    byDefault: 'info',
    good: ['debug', 'info', 'warn', 'error', 'silent'].map((level) => [level, level]),
    bad: ['', 'INFO', 'warning', 'trace', 'info ', 'debug,info', 'none', 'toString'],
    badInCode: NO_TEXT,
  },
};

/** Settings from code, values of any type allowed. */
function inCode(given: Readonly<Record<string, unknown>>): Settings {
  return resolveOptions(given as GatewayOptions);
}

/** Every mistake in these options. */
function problemsOf(given: Readonly<Record<string, unknown>>): readonly string[] {
  try {
    inCode(given);
  } catch (error) {
    assert.ok(error instanceof GatewayError, String(error));
    assert.equal(error.code, 'INVALID_OPTIONS');
    return error.problems;
  }
  return [];
}

describe('the options', () => {
  it('are all in the table of this test', () => {
    assert.deepEqual(OPTIONS.map(({ flag, key }) => [flag, key]).sort(),
      Object.entries(ROWS).map(([flag, { key }]) => [flag, key]).sort());
  });

  for (const spec of OPTIONS) {
    const { flag, key, kind } = spec;
    const row = ROWS[flag];
    if (row === undefined) continue;

    it(`read --${flag} from text`, () => {
      for (const [text, value] of row.good) assert.deepEqual(kind.parse(text), value, text);
      for (const text of row.bad) assert.equal(kind.parse(text), undefined, JSON.stringify(text));
    });

    it(`check ${key} in code`, () => {
      for (const [, value] of row.good) {
        assert.equal(kind.check(value), true, String(value));
        if (key === 'logLevel' || key === 'workers') continue;
        assert.deepEqual(inCode({ upstream: UPSTREAM, [key]: value })[key], value);
      }
      for (const value of row.badInCode) {
        assert.equal(kind.check(value), false, String(value));
        const [problem = '', ...others] = problemsOf({ upstream: UPSTREAM, [key]: value });
        assert.ok(problem.startsWith(`${key}: `), problem);
        assert.doesNotMatch(problem, /\n/);
        assert.deepEqual(others, []);
      }
    });

    it(`have a default for --${flag} that is what the help says`, () => {
      assert.deepEqual(spec.default, row.byDefault);
      assert.deepEqual(inCode({ source: SOURCE })[key], row.byDefault);
      assert.deepEqual(inCode({ source: SOURCE, [key]: undefined })[key], row.byDefault);
      if (row.byDefault !== undefined) {
        assert.deepEqual(kind.parse(spec.defaultText), row.byDefault);
      }
      assert.match(spec.help, /^\S.{8,}[^.\s]$/);
    });
  }

  it('take a duration with decimals for the milliseconds that it is', () => {
    const { kind } = OPTIONS.find(({ flag }) => flag === 'poll-interval') ?? assert.fail();
    const wrong: string[] = [];
    for (const [unit, ms] of [['ms', 1], ['s', 1_000], ['m', 60_000], ['h', 3_600_000]] as const) {
      for (let n = 1; n < 1_000; n++) {
        for (const digits of [1, 2, 3]) {
          const text = `${(n / 10 ** digits).toFixed(digits)}${unit}`;
          const [exact, rest] = [Math.floor((n * ms) / 10 ** digits), (n * ms) % 10 ** digits];
          const expected = rest === 0 && exact >= 20 && exact <= 3_600_000 ? exact : undefined;
          if (kind.parse(text) !== expected) wrong.push(text);
        }
      }
    }
    assert.equal(wrong.length, 0, `${wrong.length}, such as ${wrong.slice(0, 8).join(', ')}`);
  });

  it('take no upstream path with a dot segment in it: it would lead elsewhere', () => {
    const { kind } = OPTIONS.find(({ flag }) => flag === 'upstream-path') ?? assert.fail();
    const taken = [
      '/a/../{runId}', '/a/./{runId}', '/a/b/../../{runId}/c', '/../{runId}', '/./{runId}',
      '/{runId}/..', '/{runId}/.', '/{runId}/../x',
    ].filter((path) => kind.parse(path) !== undefined);
    assert.deepEqual(taken, []);
  });
});

describe('options in code', () => {
  it('are filled in and frozen, and are not what was given', () => {
    const given = { upstream: UPSTREAM, port: 1 };
    const settings = inCode(given);
    assert.equal(settings.port, 1);
    assert.ok(Object.isFrozen(settings));
    assert.throws(() => Object.assign(settings, { port: 2 }), TypeError);
    assert.deepEqual(given, { upstream: UPSTREAM, port: 1 });
    assert.deepEqual(Object.keys(settings).sort(), OPTIONS.map(({ key }) => key).sort());
  });

  it('do not change when the list they were given does, nor from one gateway to the next', () => {
    const completeOn = ['done'];
    const settings = inCode({ upstream: UPSTREAM, completeOn });
    completeOn.push('failed');
    assert.deepEqual(settings.completeOn, ['done']);
    assert.ok(Object.isFrozen(settings.completeOn) && Object.isFrozen(settings.errorOn));
  });

  it('need an upstream or a source, and may have both', () => {
    assert.deepEqual(problemsOf({}),
      ['upstream: got nothing, expected the URL of a run API (or a source)']);
    assert.equal(inCode({ source: SOURCE }).upstream, undefined);
    assert.equal(inCode({ source: SOURCE, upstream: UPSTREAM }).upstream, UPSTREAM);
    assert.equal('source' in inCode({ source: SOURCE, logger: console }), false);
  });

  it('are refused by name where there are none of that name', () => {
    const strange = JSON.parse('{"__proto__":1,"constructor":1,"toString":1}') as object;
    for (const given of [
      { pollInterval: 2_000 }, { 'poll-interval': 2_000 }, { Port: 1 }, { logLevel: 'info' },
      { apiKey: 'lma_a' }, { '': 1 },
    ]) {
      assert.deepEqual(problemsOf({ upstream: UPSTREAM, ...given }),
        Object.keys(given).map((key) => `${key}: no such option`));
    }
    const named = Object.assign(Object.create(null) as object, strange, { upstream: UPSTREAM });
    assert.deepEqual(problemsOf({ ...named }).filter((text) => text.includes('no such option')),
      ['__proto__', 'constructor', 'toString'].map((key) => `${key}: no such option`));
  });

  it('are refused all at once, one sentence for each mistake', () => {
    assert.deepEqual(problemsOf({
      port: 70_000, host: '', pollIntervalMs: '2s', maxBodyBytes: 0.5, keyPrefix: 'a b', colour: 1,
      completeOn: ['a', 'failed', 'b'], errorOn: ['b', 'failed'], statusField: null,
    }), [
      'port: got 70000, expected a whole number from 0 to 65535',
      'host: got \'\', expected a host name or address',
      'pollIntervalMs: got \'2s\', expected a whole number of milliseconds from 20 to 3600000',
      'maxBodyBytes: got 0.5, expected a whole number of bytes from 1 to 268435456',
      'keyPrefix: got \'a b\', expected plain characters',
      'colour: no such option',
      'statusField: got null, expected a member name, or up to 8 of them separated by commas',
      'upstream: got nothing, expected the URL of a run API (or a source)',
      'complete-on and error-on: got failed, b in both, expected each once',
    ]);
  });

  it('may not call one status both success and failure, defaults included', () => {
    for (const [given, both] of [
      [{ completeOn: ['failed'] }, 'failed'], [{ errorOn: ['completed'] }, 'completed'],
      [{ completeOn: ['x', 'y'], errorOn: ['y', 'x'] }, 'x, y'],
    ] as const) {
      assert.deepEqual(problemsOf({ upstream: UPSTREAM, ...given }),
        [`complete-on and error-on: got ${both} in both, expected each once`]);
    }
    const swapped = { completeOn: ['failed', 'cancelled'], errorOn: ['completed'] };
    assert.deepEqual(problemsOf({ upstream: UPSTREAM, ...swapped }), []);
  });

  it('are told in one line each, and no longer than is of use', () => {
    for (const upstream of ['a\nb\r\n', 'x'.repeat(10_000), Array(10_000).fill('x'), '\x1b[31m']) {
      const [problem = ''] = problemsOf({ upstream });
      assert.doesNotMatch(problem, /[\r\n\x1b]/);
      assert.ok(problem.length < 2_000, `${problem.length} characters`);
    }
  });
});

describe('credentials in an upstream URL are never printed', () => {
  for (const [what, values] of Object.entries({
    'as they should be': ['http://me:s3cret@api.test', 'ftp://s3cret@api.test/x', '//:s3cret@a'],
    'with an @ or a colon of their own': ['http://me:s3cret@s3cret@c.test', 'http://a:b:s3cret@c'],
    'with a slash of their own': ['http://me:s3cret/s3cret@api.test'],
    'after fewer or other slashes': [
      'http:me:s3cret@api.test', 'http:/me:s3cret@api.test', 'http:\\\\me:s3cret@api.test',
      'me:s3cret@api.test',
    ],
    'in the second of two URLs': ['http://a:b@c.test,http://me:s3cret@api.test'],
    'in a query': ['http://api.test/?api_key=s3cret', 'http://api.test?x-api-key=s3cret'],
    'in something else than text': [
      new URL('http://me:s3cret@api.test'), ['http://me:s3cret@api.test'],
      { url: 'http://me:s3cret@api.test' },
    ],
  })) {
    it(what, () => {
      const shown = values.flatMap((upstream) => problemsOf({ upstream }));
      assert.equal(shown.length, values.length);
      for (const problem of shown) {
        assert.match(problem, /^upstream: got .*, expected an http:\/\/ or https:\/\/ URL/);
      }
      assert.deepEqual(shown.filter((problem) => problem.includes('s3cret')), []);
    });
  }
});
