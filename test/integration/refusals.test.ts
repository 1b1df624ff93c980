/**
 * Everything that is answered instead of a stream: permanent refusals with their status, envelope
 * and headers, most of them without a word to upstream; transient ones in both their forms.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KEY, STARTERS, gatewayFor, names, useGateway } from '../support/gateway.ts';
import type { Answered, JoinOptions, StartGateway, TestGateway } from '../support/gateway.ts';
import { rawRequest } from '../support/sse-client.ts';
import { assertEventForm, assertStreamForm } from '../support/sse-parser.ts';
import { delay, hang, raw, refused, state } from '../support/upstream.ts';
import type { Answer } from '../support/upstream.ts';
import { until } from '../support/wait.ts';

interface Refusal {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

/** The status, the envelope with nothing else in it, and the headers of every JSON answer. */
function assertRefusal(
  { status, headers, text }: Refusal, expected: readonly [status: number, code: string],
): Record<string, unknown> {
  const body = JSON.parse(text) as Record<string, unknown>;
  const { error, code, retryable, retryAfter, requestId, ...rest } = body;
  assert.deepEqual([status, code], expected, text);
  assert.deepEqual(rest, {});
  assert.ok(typeof error === 'string' && error.length > 5, text);
  const isTransient = status === 429 || status >= 500;
  assert.equal(retryable, isTransient);
  assert.equal(retryAfter, isTransient ? Number(headers['retry-after']) : undefined);
  assert.match(String(headers['content-type']), /^application\/json/);
  assert.equal(headers['cache-control'], 'no-store');
  assert.equal(headers['x-content-type-options'], 'nosniff');
  assert.equal(requestId, headers['x-request-id']);
  assert.match(String(requestId), /^[\w.:-]{8,}$/);
  return body;
}

/** What node:http would not send as it stands. */
async function sendRaw(port: number, head: readonly string[], body = ''): Promise<Refusal> {
  const bytes = Buffer.from(`${head.join('\r\n')}\r\n\r\n${body}`, 'latin1');
  const { received } = await rawRequest(port, bytes, { ms: 20_000 });
  const [top = '', text = ''] = received.toString().split(/\r\n\r\n(.*)/s);
  const [first = '', ...lines] = top.split('\r\n');
  const headers = Object.fromEntries(lines.map((line) => {
    const [name = '', value = ''] = line.split(/: (.*)/s);
    return [name.toLowerCase(), value];
  }));
  return { status: Number(first.split(' ')[1]), headers, text };
}

const get = (target: string, ...headers: string[]): string[] =>
  [`GET ${target} HTTP/1.1`, 'host: x', 'connection: close', ...headers];
const withKey = `x-api-key: ${KEY}`;
const streamOf = (segment: string): string => `/v1/runs/${segment}/stream`;

export function runIdTests(start: StartGateway): void {
  const gateway = useGateway(start);

  const bad: readonly (readonly [string, string])[] = [
    ['nothing', ''], ['a dot', '.'], ['two dots', '..'], ['encoded dots', '%2e%2e'],
    ['an encoded traversal', '..%2f..%2fv1%2fapps'], ['a backslash', '..%5c'],
    ['NUL', 'r1%00'], ['CRLF', 'r1%0d%0ax-api-key:%20lma_b'], ['LF alone', 'r1%0a'],
    ['129 characters', 'x'.repeat(129)], ['8 KB', 'x'.repeat(8_000)],
    ['half an escape', 'r1%'], ['a bad escape', 'r1%zz'], ['UTF-8 that breaks off', '%E0%A4%A'],
    ['a surrogate in UTF-8', '%ED%A0%80'], ['what is an id only after two decodings', '%2572un'],
    ['a blank', 'a%20b'], ['an umlaut', '%C3%BC'], ['a full stop', 'r1.json'],
    ['a semicolon', 'r1;v=1'], ['a question mark', 'r1%3fx'], ['a fragment', 'r1%23x'],
  ];
  for (const [what, segment] of bad) {
    it(`is refused with ${what} in it, whoever asks, and upstream never hears of it`, async () => {
      const { port, upstream } = gateway();
      for (const accept of ['application/json', 'text/event-stream']) {
        const head = get(streamOf(segment), withKey, `accept: ${accept}`);
        const refusal = await sendRaw(port, head);
        assertRefusal(refusal, [400, 'VALIDATION_ERROR']);
      }
      assert.equal(upstream.count(), 0);
    });
  }

  it('is decoded once, and may have 128 characters', async (t) => {
    const own = await gatewayFor(t, start);
    for (const [segment, runId] of [
      ['%72un%5f1-A', 'run_1-A'], ['x'.repeat(128), 'x'.repeat(128)], ['__proto__', '__proto__'],
    ] as const) {
      assertRefusal(await sendRaw(own.port, get(streamOf(segment), withKey)), [404, 'NOT_FOUND']);
      assert.equal(own.upstream.count(runId), 1);
    }
  });

  it('is taken from the path alone, wherever the target seems to point', async (t) => {
    const own = await gatewayFor(t, start);
    own.upstream.run('r1', state('completed'));
    const target = `http://evil.test${streamOf('r1')}?runId=r2`;
    const { status, text } = await sendRaw(own.port, get(target, withKey, 'x-host: evil'));
    assert.equal(status, 200);
    assert.match(text, /event: complete/);
    assert.deepEqual(own.upstream.requests.map(({ path }) => path), ['/v1/runs/r1']);
  });

  for (const target of [
    '/v1/runs/r1/streams', '/v1/runs/r1/stream/', '/v1/runs/r1/Stream', '/v2/runs/r1/stream',
    '/v1//runs/r1/stream', '//evil.test/v1/runs/r1/stream', '/v1', '/v1/runs/', '*',
  ]) {
    it(`is not looked for in ${target}`, async () => {
      const refusal = await sendRaw(gateway().port, get(target, withKey));
      assertRefusal(refusal, [404, 'NOT_FOUND']);
      assert.equal(gateway().upstream.count(), 0);
    });
  }
}

export function requestTests(start: StartGateway): void {
  const gateway = useGateway(start);
  const target = streamOf('r1');

  const keys: readonly (readonly [string, readonly string[], code: string])[] = [
    ['without a key', [], 'AUTH_MISSING_KEY'],
    ['with an empty key', ['x-api-key:'], 'AUTH_MISSING_KEY'],
    ['with a blank key', ['x-api-key:    '], 'AUTH_MISSING_KEY'],
    ['with an empty bearer', ['authorization: Bearer '], 'AUTH_MISSING_KEY'],
    ['with another scheme', ['authorization: Basic bG1hX2E6'], 'AUTH_MISSING_KEY'],
    ['with a key in the query alone', [], 'AUTH_MISSING_KEY'],
    ['with a key without the prefix', ['x-api-key: sk_live_1'], 'AUTH_INVALID_KEY'],
    ['with a prefix in capitals', ['x-api-key: LMA_a'], 'AUTH_INVALID_KEY'],
    ['with a prefix alone', ['x-api-key: lma_'], 'AUTH_INVALID_KEY'],
    ['with a bearer without the prefix', ['authorization: Bearer x'], 'AUTH_INVALID_KEY'],
    ['with a blank in the key', ['x-api-key: lma_a b'], 'AUTH_INVALID_KEY'],
    ['with a tab in the key', ['x-api-key: lma_a\tb'], 'AUTH_INVALID_KEY'],
    ['with an umlaut in the key', ['x-api-key: lma_\u00fc'], 'AUTH_INVALID_KEY'],
    ['with a key of 5 KB', [`x-api-key: lma_${'x'.repeat(5_000)}`], 'AUTH_INVALID_KEY'],
    ['with two keys in one', ['x-api-key: lma_a, lma_b'], 'AUTH_INVALID_KEY'],
    ['with two keys', ['x-api-key: lma_a', 'x-api-key: lma_b'], 'AUTH_INVALID_KEY'],
    ['with two bearers', ['authorization: Bearer lma_a', 'authorization: Bearer lma_b'],
      'AUTH_INVALID_KEY'],
  ];
  for (const [what, headers, code] of keys) {
    it(`${what} is refused, whoever asks, and upstream never hears of it`, async () => {
      const { port, upstream } = gateway();
      for (const accept of ['accept: */*', 'accept: text/event-stream']) {
        const head = get(`${target}?x-api-key=lma_a&key=lma_a`, accept, ...headers);
        const refusal = await sendRaw(port, head);
        const body = assertRefusal(refusal, [401, code]);
        assert.doesNotMatch(String(body['error']), /lma_[ab]|sk_live/);
      }
      assert.equal(upstream.count(), 0);
    });
  }

  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
    it(`with ${method} is told what is allowed`, async () => {
      const refusal = await gateway().ask('r1', { method });
      assertRefusal(refusal, [405, 'METHOD_NOT_ALLOWED']);
      assert.match(String(refusal.headers.allow), /^GET\b/);
      assert.equal(gateway().upstream.count(), 0);
    });
  }

  for (const [what, header, body] of [
    ['a body', 'content-length: 2', '{}'],
    ['a chunked body', 'transfer-encoding: chunked', '0\r\n'],
  ] as const) {
    it(`with ${what} in a GET is refused`, async () => {
      const head = [`GET ${target} HTTP/1.1`, 'host: x', withKey, header];
      const refusal = await sendRaw(gateway().port, head, `${body}\r\n`);
      assertRefusal(refusal, [400, 'VALIDATION_ERROR']);
      assert.equal(gateway().upstream.count(), 0);
    });
  }

  it('is given its own id back in a refusal, if it is short and plain', async () => {
    const own = await gateway().ask('..%2f', { headers: { 'x-request-id': 'web-7f3a' } });
    assert.equal(assertRefusal(own, [400, 'VALIDATION_ERROR'])['requestId'], 'web-7f3a');
    const odd = await gateway().ask('..%2f', { headers: { 'x-request-id': 'a "b"' } });
    assert.doesNotMatch(odd.text, /a \\?"b/);
  });
}

export function upstreamWordTests(start: StartGateway): void {
  const gateway = useGateway(start);

  for (const [status, code, answered] of [
    [401, 'AUTH_INVALID_KEY', 401], [403, 'FORBIDDEN', 403], [404, 'NOT_FOUND', 404],
    [410, 'NOT_FOUND', 404],
  ] as const) {
    it(`is final: ${status} is passed on with its text, also to an EventSource`, async () => {
      const { upstream } = gateway();
      const runId = `word-${status}`;
      upstream.run(runId, refused(status, code, 'As upstream says'));
      const plain = await gateway().ask(runId);
      assert.equal(assertRefusal(plain, [answered, code])['error'], 'As upstream says');
      const source = await gateway().join(runId, { key: 'lma_b' });
      await source.ended;
      const text = source.raw.toString();
      const { status: theirs, headers } = source.response;
      assertRefusal({ status: theirs, headers, text }, [answered, code]);
    });

    it(`is put in words where a ${status} has none`, async () => {
      const runId = `wordless-${status}`;
      gateway().upstream.run(runId, raw('<h1>No</h1>', { status }));
      assertRefusal(await gateway().ask(runId), [answered, code]);
    });
  }

  it('never repeats the key, nor a code that is none', async () => {
    const code = '<script>';
    const text = 'The key lma_canary is not known';
    gateway().upstream.run('echo', refused(401, code, text));
    const refusal = await gateway().ask('echo', { key: 'lma_canary' });
    assertRefusal(refusal, [401, 'AUTH_INVALID_KEY']);
    assert.doesNotMatch(refusal.text, /canary/);
  });
}

/** In both forms: the real status for `ask`, and for `join` one ping that says when to come. */
async function assertTransient(
  gateway: TestGateway, runId: string, expected: readonly [number, string], leastMs = 1_000,
  options: JoinOptions = {},
): Promise<{ readonly plain: Answered; readonly retryMs: number }> {
  const plain = await gateway.ask(runId, options);
  assertRefusal(plain, expected);
  const retryAfter = Number(plain.headers['retry-after']);
  assert.ok(Number.isInteger(retryAfter) && retryAfter * 1000 >= leastMs, `${retryAfter} s`);

  const stream = await gateway.join(runId, options);
  assert.equal(await stream.ended, 'end');
  const { status, headers } = stream.response;
  assert.deepEqual([status, headers['content-type']], [200, 'text/event-stream']);
  assert.equal(headers['x-runcast-refused'], expected.join(' '));
  assert.equal(headers['cache-control'], 'no-store, no-transform');
  assert.deepEqual(names(stream), ['ping']);
  assertStreamForm(stream.parser);
  stream.events.forEach(assertEventForm);
  const { data, retry: retryMs = 0 } = stream.events[0] ?? { data: '' };
  assert.match(data, /^\d{10}$/);
  assert.ok(retryMs >= leastMs && retryMs <= 2 * Math.max(leastMs, 5_000), `retry: ${retryMs}`);
  return { plain, retryMs };
}

export function transientTests(start: StartGateway): void {
  const gateway = useGateway(start, { upstreamTimeoutMs: 3_000 });
  const patient = useGateway(start);

  const troubles: readonly (readonly [string, Answer, number, string])[] = [
    ['an upstream that fails', refused(500, 'INTERNAL_ERROR'), 502, 'UPSTREAM_UNAVAILABLE'],
    ['an upstream that is too slow', hang(), 504, 'UPSTREAM_UNAVAILABLE'],
    ['an upstream that talks nonsense', raw('<html>'), 502, 'UPSTREAM_INVALID'],
    ['an upstream that limits requests', raw('slow down', { status: 429 }), 429, 'RATE_LIMITED'],
  ];
  for (const [what, answer, status, code] of troubles) {
    it(`tells of ${what}, in a way that an EventSource survives`, async (t) => {
      // A limit is one for all runs.
      const own = status === 429 ? await gatewayFor(t, start) : gateway();
      const { upstream } = own;
      const runId = `trouble-${code}-${status}`;
      upstream.run(runId, answer);
      await assertTransient(own, runId, [status, code]);
      upstream.run(runId, state('running'));
      const stream = await own.join(runId);
      assert.equal((await stream.next(() => true)).event, 'progress', 'trouble is not remembered');
    });
  }

  for (const [form, value] of [
    ['seconds', (): string => '4'], ['a date', () => new Date(Date.now() + 5_000).toUTCString()],
  ] as const) {
    it(`hands on a Retry-After in ${form}`, async (t) => {
      const own = await gatewayFor(t, start);
      const runId = `later-${form.at(0)}`;
      own.upstream.run(runId, () =>
        refused(429, 'RATE_LIMITED', 'Too many', { 'retry-after': value() }));
      const { plain } = await assertTransient(own, runId, [429, 'RATE_LIMITED'], 3_000);
      assert.ok(Number(plain.headers['retry-after']) <= 6);
    });
  }

  it('takes no Retry-After below a second, and spreads those who come back', async () => {
    gateway().upstream.run('now', refused(503, 'X', 'x', { 'retry-after': '0' }));
    const retries = new Set<number>();
    for (let i = 0; i < 6; i++) {
      const { retryMs } = await assertTransient(gateway(), 'now', [502, 'UPSTREAM_UNAVAILABLE']);
      retries.add(retryMs);
    }
    assert.ok(retries.size > 2, [...retries].join());
  });

  it('is not asked of upstream again by each who waits for it', async () => {
    patient().upstream.run('queue', delay(3_000, refused(500, 'INTERNAL_ERROR')));
    await Promise.all(Array.from({ length: 20 }, () => patient().ask('queue')));
    // One; or another one or two where some came only after its answer.
    assert.ok(patient().upstream.count('queue') <= 3);
  });

  for (const [accept, isStream] of [
    ['text/html, text/event-stream;q=0.5', true], ['TEXT/EVENT-STREAM', true],
    ['*/*', false], ['text/*', false], ['application/text/event-stream', false],
  ] as const) {
    it(`takes "${accept}" for ${isStream ? 'an EventSource' : 'any other client'}`, async () => {
      gateway().upstream.run('accept', refused(500, 'INTERNAL_ERROR'));
      const { status } = await gateway().ask('accept', { headers: { accept } });
      assert.equal(status, isStream ? 200 : 502);
    });
  }

  it('lets a client keep its position, and takes nothing else for one', async () => {
    gateway().upstream.run('position', refused(500, 'INTERNAL_ERROR'));
    const kept = await gateway().join('position', { lastEventId: 'm-I4Ph0zCeKSZUzA' });
    assert.equal((await kept.next('ping')).id, 'm-I4Ph0zCeKSZUzA');
    const query = '?lastEventId=a%0aevent:%20complete%0adata:%20x%0a%0a';
    await assertTransient(gateway(), 'position', [502, 'UPSTREAM_UNAVAILABLE'], 1_000, { query });
  });

  it('tells of an upstream that is not there at all', async (t) => {
    const own = await gatewayFor(t, start);
    await own.upstream.stop();
    await assertTransient(own, 'r1', [502, 'UPSTREAM_UNAVAILABLE']);
    await own.upstream.restart();
    own.upstream.run('r1', state('running'));
    assert.equal((await (await own.join('r1')).next(() => true)).event, 'progress');
  });

  it('sends whoever comes while it closes to the next gateway', async (t) => {
    const own = await gatewayFor(t, start, { drainTimeoutMs: 1_500 });
    own.upstream.run('r1', state('running'));
    const streams = await Promise.all(Array.from({ length: 60 }, () => own.join('r1')));
    const closed = own.close();
    // A signal takes its time to reach every worker.
    let refusals = 0;
    await until('draining', async () => {
      refusals = (await fetch(`${own.origin}/readyz`)).status === 503 ? refusals + 1 : 0;
      return refusals === 5;
    });
    await assertTransient(own, 'r1', [503, 'RESOURCE_UNAVAILABLE']);
    for (const stream of streams) {
      assert.equal(await stream.ended, 'end');
      assert.equal(stream.events.at(-1)?.event, 'ping');
    }
    await closed;
    await assert.rejects(own.join('r1'), { code: 'ECONNREFUSED' });
  });
}

for (const [name, start] of STARTERS) {
  describe(`refusals over ${name}`, { concurrency: true }, () => {
    describe('a run id', () => runIdTests(start));
    describe('a request', () => requestTests(start));
    describe('upstream\'s word', () => upstreamWordTests(start));
    describe('what passes', () => transientTests(start));
  });
}
