/** What was seen on a way into verdicts and advice; no socket in here. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { adviseOn, guessProxies } from '../../src/doctor/advice.ts';
import type { Fault } from '../../src/doctor/advice.ts';
import { helpText, parseCommand } from '../../src/arguments.ts';
import { parseDoctor } from '../../src/doctor-arguments.ts';
import { exitCodeOf, reportJson, reportText } from '../../src/doctor/report.ts';
import type { Examination, StreamOutcome } from '../../src/doctor/prober.ts';
import { judge, lagOf } from '../../src/doctor/verdicts.ts';
import type { Check, Report } from '../../src/doctor/verdicts.ts';

type Examined = Extract<Examination, { kind: 'examined' }>;
type Streamed = Extract<StreamOutcome, { kind: 'streamed' }>;

const NONCE = 'abcdef0123456789';
const HEAD = {
  'content-type': 'text/event-stream', 'cache-control': 'no-store, no-transform',
  'x-runcast-doctor': NONCE, 'x-request-id': 'a',
};
/** With the facts. */
const SAMPLES = { 'etag': `"${NONCE}"`, 'retry-after': '1', 'x-runcast-refused': '200 PROBE' };

/** Sent every 250 ms for 3 s; `lateMs` says how late each is. */
function streamed(lateMs: (sentMs: number) => number, over: Partial<Streamed> = {}): Streamed {
  const samples = Array.from({ length: 13 }, (_, i) => {
    return { sentMs: i * 250, arrivedMs: 40 + i * 250 + lateMs(i * 250) };
  });
  const seen = { kind: 'streamed', head: HEAD, samples, end: 'whole' } as const;
  return { ...seen, headMs: 40, endedMs: 3100, ...over };
}

const prompt = streamed(() => 0);
/** All at once, at the end. */
const held = streamed((sentMs) => 3000 - sentMs);

function examined(over: Partial<Examined> = {}): Examined {
  return {
    kind: 'examined', nonce: NONCE, head: SAMPLES, gapMs: 250, idleMs: 15_000,
    facts: {
      nonce: NONCE, httpVersion: '1.1', proxyHeaders: [], pingIntervalMs: 15_000, compress: true,
      requestHeaders: {
        'x-api-key': 'whole', 'authorization': 'whole', 'last-event-id': 'whole',
        'accept': 'whole', 'accept-encoding': 'whole',
      },
      responseHeaders: Object.keys(SAMPLES),
    },
    steady: prompt, idle: prompt, lasting: prompt,
    packed: { ...prompt, head: { ...HEAD, 'content-encoding': 'gzip' } },
    ...over,
  };
}

function reportOf(over: Partial<Examined>): Extract<Report, { kind: 'report' }> {
  const report = judge(examined(over));
  if (report.kind !== 'report') return assert.fail(report.reason);
  return report;
}

function checkOf(name: string, over: Partial<Examined>): Check {
  const check = reportOf(over).checks.find((each) => each.name === name);
  return check ?? assert.fail(`no check ${name}`);
}

const facts = (over: Partial<Examined['facts']>): Pick<Examined, 'facts'> =>
  ({ facts: { ...examined().facts, ...over } });

describe('a way with nothing on it', () => {
  it('has no problem, and needs no change', () => {
    const { checks, isProxied, proxies } = reportOf({});
    assert.deepEqual(checks.map(({ verdict }) => verdict), Array(6).fill('ok'));
    assert.deepEqual(checks.flatMap(({ changes }) => changes), []);
    assert.deepEqual([isProxied, proxies], [false, []]);
    assert.equal(exitCodeOf(reportOf({})), 0);
  });
});

describe('buffering', () => {
  it('is seen where all events come at the end', () => {
    const check = checkOf('buffering', { steady: held });
    assert.equal(check.verdict, 'problem');
    assert.match(check.finding, /up to 3\.0 s late/);
    assert.ok(check.changes.some(({ change }) => change.startsWith('proxy_buffering off;')));
  });

  it('is seen where they come in two bursts', () => {
    const steady = streamed((sentMs) => (sentMs <= 1500 ? 1500 : 3000) - sentMs);
    assert.equal(checkOf('buffering', { steady }).verdict, 'problem');
  });

  it('is not what a stall is, nor a machine that is late for all', () => {
    const stall = streamed((sentMs) => Math.max(0, Math.min(1300, 2300 - sentMs - 1000)));
    assert.equal(checkOf('buffering', { steady: stall }).verdict, 'unknown');
    assert.equal(checkOf('buffering', { steady: streamed(() => 9000, { headMs: 9000 }) })
      .verdict, 'ok');
    assert.equal(checkOf('buffering', { steady: streamed((ms) => (ms * 7) % 900) }).verdict, 'ok');
  });

  it('is a problem where nothing came before the cut, and unknown where half of it came', () => {
    const steady = { ...prompt, end: 'cut', samples: [] } as const;
    assert.equal(checkOf('buffering', { steady }).verdict, 'problem');
    const half = { ...prompt, end: 'cut', samples: prompt.samples.slice(0, 5) } as const;
    assert.equal(checkOf('buffering', { steady: half }).verdict, 'unknown');
  });

  it('of compressed streams only is advised on there, and else once', () => {
    assert.equal(checkOf('compression', { packed: held }).verdict, 'problem');
    assert.notDeepEqual(checkOf('compression', { packed: held }).changes, []);
    assert.equal(checkOf('compression', { packed: held, steady: held }).verdict, 'unknown');
  });

  it('is seen where each event is late by the same time, behind a head that is not', () => {
    const late = streamed(() => 1000);
    const { verdict, finding, changes } = checkOf('buffering', { steady: late });
    assert.equal(verdict, 'problem');
    assert.match(finding, /^every event comes 1\.0 s late, behind a head that does not$/);
    assert.ok(changes.length > 0);
    assert.equal(checkOf('compression', { packed: late }).verdict, 'problem');
    assert.equal(checkOf('buffering', { steady: streamed(() => 400) }).verdict, 'ok');
  });

  it('by a proxy that compresses has a line for that as well', () => {
    const steady = { ...held, head: { ...HEAD, 'server': 'nginx', 'content-encoding': 'gzip' } };
    const { finding, changes } = checkOf('buffering', { steady });
    assert.match(finding, /compressed with gzip on the way/);
    assert.ok(changes.some(({ change }) => change.startsWith('gzip off;')));
  });
});

describe('silence', () => {
  it('that is cut has the proxy\'s line, and a ping interval below the cut', () => {
    const samples = [{ sentMs: 0, arrivedMs: 50 }];
    const idle = { ...prompt, samples, end: 'cut', endedMs: 10_050 } as const;
    const steady = { ...prompt, head: { ...HEAD, server: 'nginx/1.22.1' } };
    const check = checkOf('silence', { idle, steady });
    assert.equal(check.verdict, 'problem');
    assert.match(check.finding, /cut after 10\.0 s of 15\.0 s/);
    assert.deepEqual(check.changes.map(({ proxy }) => proxy), ['nginx', 'anything else']);
    assert.equal(check.changes[0]?.change, 'proxy_read_timeout 60s;');
    assert.match(check.changes[1]?.change ?? '', /--ping-interval 5s /);
  });

  it('that is cut too soon for pings is not to be answered with them', () => {
    const samples = [{ sentMs: 0, arrivedMs: 50 }];
    const idle = { ...prompt, samples, end: 'cut', endedMs: 1_050 } as const;
    const { changes } = checkOf('silence', { idle });
    assert.equal(changes.find(({ proxy }) => proxy === 'anything else')?.change,
      'allow 60 s of silence');
  });

  it('is not blamed where streams with events are cut at the same time', () => {
    const cut = { ...prompt, end: 'cut', endedMs: 2_000, samples: prompt.samples.slice(0, 8) };
    const lasting = cut as Streamed;
    const idle: Streamed = { ...lasting, samples: prompt.samples.slice(0, 1), endedMs: 2_300 };
    for (const over of [{ lasting, idle }, { lasting, packed: lasting }]) {
      const { verdict, finding, changes } = checkOf('silence', over);
      assert.equal(verdict, 'problem');
      assert.equal(finding, 'responses are cut after 2.0 s, whatever comes in them');
      const advice = changes.map(({ change }) => change).join();
      assert.match(advice, /no limit on the whole time of a response/);
      assert.ok(!advice.includes('--ping-interval'));
    }
    assert.match(checkOf('silence', { idle }).finding, /cut after 2\.3 s of 15\.0 s without/);
    assert.equal(checkOf('silence', { lasting }).verdict, 'ok', 'one cut may be an accident');
  });

  it('that ends in nothing at all is a problem as well', () => {
    const idle = { ...prompt, samples: [], end: 'stalled', endedMs: 30_000 } as const;
    assert.match(checkOf('silence', { idle }).finding, /nothing comes any more/);
  });
});

describe('what was not measured', () => {
  const refused = { kind: 'refused', reason: 'no place' } as const;

  it('is told, is not well, and is worth another try', () => {
    const report = reportOf({ steady: refused, packed: refused, idle: refused });
    assert.equal(exitCodeOf(report), 3);
    assert.match(reportText('http://a.test/', report), new RegExp('\n\ncould not be measured: '
      + 'response headers, buffering, compression, silence; try again\n$'));
    assert.match(reportJson('http://a.test/', report), /"verdict":"unknown"\}\n$/);
    assert.equal(exitCodeOf(reportOf({ idle: refused })), 3);
    assert.equal(exitCodeOf(reportOf({ idle: refused, steady: held })), 1, 'a problem counts more');
  });
});

describe('heads', () => {
  it('that lost a key, a position or their query are problems; a coding is not', () => {
    const lost = (name: string): Check => checkOf('request headers', facts({
      requestHeaders: { ...examined().facts.requestHeaders, [name]: 'missing' },
    }));
    for (const name of ['x-api-key', 'authorization', 'last-event-id', 'accept']) {
      assert.equal(lost(name).verdict, 'problem', name);
      assert.match(lost(name).finding, new RegExp(`${name} is missing`));
    }
    assert.equal(lost('accept-encoding').verdict, 'ok');
    assert.match(checkOf('request headers', facts({ nonce: null })).finding, /query/);
  });

  it('that came back changed are problems', () => {
    for (const [name, value] of [
      ['content-type', 'text/html'], ['cache-control', 'max-age=60'], ['x-runcast-doctor', ''],
    ] as const) {
      const check = checkOf('response headers', {
        steady: { ...prompt, head: { ...HEAD, [name]: value } },
      });
      assert.equal(check.verdict, 'problem', name);
      assert.match(check.finding, new RegExp(name));
    }
  });

  it('that lost what clients depend on are problems, one by one', () => {
    for (const name of ['x-request-id', 'etag', 'retry-after', 'x-runcast-refused']) {
      const { 'x-request-id': _, ...rest } = HEAD;
      const steady = name === 'x-request-id' ? { ...prompt, head: rest } : prompt;
      const head = Object.fromEntries(Object.entries(SAMPLES).filter(([each]) => each !== name));
      const check = checkOf('response headers', { steady, head });
      assert.equal(check.finding, `changed or missing on return: ${name}`);
      assert.ok(check.changes.some(({ change }) => change.includes(name)));
    }
    const head = { ...SAMPLES, etag: `W/"${NONCE}"` };
    assert.equal(checkOf('response headers', { head }).verdict, 'ok', 'a weak tag is as good');
  });

  it('that are well are named, those only that were looked at', () => {
    assert.equal(checkOf('response headers', {}).finding, 'content-type, cache-control, '
      + 'x-request-id, x-runcast-doctor, etag, retry-after, x-runcast-refused come back as they'
      + ' were sent');
    const { responseHeaders: _, ...older } = examined().facts;
    assert.equal(checkOf('response headers', { facts: older, head: {} }).finding, 'content-type, '
      + 'cache-control, x-request-id, x-runcast-doctor come back as they were sent');
  });

  it('do not say that nothing is compressed where a proxy compresses', () => {
    const requestHeaders = { ...examined().facts.requestHeaders, 'accept-encoding': 'missing' };
    const packed = { ...prompt, head: { ...HEAD, 'content-encoding': 'gzip' } };
    const over = { ...facts({ requestHeaders } as object), steady: packed, packed };
    assert.match(checkOf('request headers', over).finding, /not: runcast compresses nothing$/);
    assert.match(checkOf('compression', over).finding, /; compressed on the way$/);
    const { finding } = checkOf('protocol', { ...over, ...facts({ httpVersion: '1.0' }) });
    assert.match(finding, /it works, but runcast compresses nothing$/);
  });

  it('tell who is on the way', () => {
    assert.deepEqual(guessProxies({ server: 'cloudflare', 'cf-ray': 'a' }, []), ['Cloudflare']);
    assert.deepEqual(guessProxies({ server: 'nginx' }, ['x-amzn-trace-id']), ['nginx', 'AWS ALB']);
    assert.deepEqual(guessProxies({ via: '1.1 Caddy' }, []), ['Caddy']);
    assert.deepEqual(guessProxies({ server: 'Apache/2.4' }, []), ['Apache']);
    assert.deepEqual(guessProxies({ server: 'mine' }, ['x-forwarded-for']), []);
    assert.deepEqual(guessProxies({}, ['constructor', 'toString', '__proto__']), []);
    assert.ok(reportOf(facts({ proxyHeaders: ['via'] })).isProxied);
  });

  it('of HTTP/1.0 work, with a hint', () => {
    const check = checkOf('protocol', facts({ httpVersion: '1.0' }));
    assert.equal(check.verdict, 'ok');
    assert.ok(check.changes.some(({ change }) => change === 'proxy_http_version 1.1;'));
  });
});

it('for each fault there is a line for each proxy', () => {
  const faults: Fault[] = [
    { kind: 'buffers' }, { kind: 'compresses' }, { kind: 'oldHttp' }, { kind: 'query' },
    { kind: 'cuts', idleSeconds: 60, pingMs: 1000 },
    { kind: 'ends' }, { kind: 'requestHeader', name: 'x-api-key' },
    { kind: 'responseHeader', name: 'cache-control' },
  ];
  for (const fault of faults) {
    const changes = adviseOn(fault, []);
    assert.equal(new Set(changes.map(({ proxy }) => proxy)).size, 7);
    for (const { proxy, change } of changes) assert.ok(change.length > 10, `${proxy}: ${change}`);
  }
});

describe('the text', () => {
  it('has a line for each check, and a terminal has nothing to obey in it', () => {
    const evil = { kind: 'refused', reason: 'a\x1b[2Jb\u009b1mc\nok d\u202ee' } as const;
    const report = judge(examined({ steady: evil }));
    const text = reportText('http://a.test/', report);
    assert.match(text, /^http:\/\/a\.test\/, on the way: nothing that can be seen\n/);
    assert.equal(text.match(/^(?:ok|problem|unknown) /gm)?.length, 6);
    assert.match(text, /a \[2Jb 1mc ok de\n/);
    const json = reportJson('http://a.test/', report);
    assert.match(json, /^[^\p{Cc}\p{Cf}]+\n$/u, 'neither has a script\'s');
    assert.deepEqual(JSON.parse(json), { url: 'http://a.test/', ...report, verdict: 'unknown' });
  });

  it('of what cannot be reached says why, and the exit code is 3', () => {
    const report = judge({ kind: 'unreachable', reason: 'connect ECONNREFUSED' });
    assert.match(reportText('http://a.test/', report), /ECONNREFUSED\n$/);
    assert.equal(exitCodeOf(report), 3);
    assert.equal(exitCodeOf(judge(examined({ steady: held }))), 1);
  });
});

describe('the arguments of doctor', () => {
  it('are a URL, how long to be silent, and the form', () => {
    const command = parseDoctor(['https://a.test/base', '--idle', '60', '--json']);
    assert.deepEqual(command, {
      kind: 'doctor', url: new URL('https://a.test/base'), idleMs: 60_000, isJson: true,
    });
    assert.deepEqual(parseDoctor(['http://a.test', '--idle=250ms']), {
      kind: 'doctor', url: new URL('http://a.test'), idleMs: 250, isJson: false,
    });
  });

  it('may be the address of the page that does the same', () => {
    for (const base of ['http://a.test/', 'http://a.test/base/']) {
      const command = parseDoctor([`${base}doctor`]);
      assert.equal(command.kind === 'doctor' && command.url.href, base);
    }
  });

  it('that are wrong are all told, and a URL with a secret in it is not shown', () => {
    const command = parseDoctor(['http://u:hush@a.test', 'b', '--idle', '3h', '--no']);
    if (command.kind !== 'mistaken') return assert.fail(command.kind);
    assert.equal(command.problems.length, 4);
    assert.ok(!command.problems.join().includes('hush'));
    for (const args of [
      [], ['ftp://a.test'], ['a.test'], ['http://a.test?x'], ['http://a', '--idle'],
      ['http://a', '--json=x'], ['http://a', '--json='],
    ]) {
      assert.equal(parseDoctor(args).kind, 'mistaken', args.join(' '));
    }
    return undefined;
  });

  it('ask for help', () => {
    const help = { kind: 'help', of: 'doctor' };
    assert.deepEqual(parseDoctor(['--help']), help);
    assert.deepEqual(parseCommand(['--help', 'doctor'], {}), help);
    const text = helpText('1.2.3', 'doctor');
    assert.match(text, /^runcast doctor: [^]*usage: runcast doctor URL[^]*--idle[^]*--json/);
    assert.doesNotMatch(text, /--port/);
    assert.match(helpText('1.2.3'), /runcast doctor --help/);
  });
});

it('the lag is that of the latest event behind the promptest', () => {
  const samples = [{ sentMs: 0, arrivedMs: 20 }, { sentMs: 10, arrivedMs: 90 }];
  assert.equal(lagOf(samples), 60);
  assert.equal(lagOf([]), 0);
});
