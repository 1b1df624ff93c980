/**
 * What stands in a stream's `data`, byte for byte; coming back to a stream with a position; and
 * readers that do not read: they skip states, never the end, and are cut off in time.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  STARTERS, assertEnded, assertRetry, assertStream, gatewayFor, names, useGateway,
} from '../support/gateway.ts';
import type { JoinOptions, StartGateway } from '../support/gateway.ts';
import { drip, execution, raw, refused, state } from '../support/upstream.ts';
import type { Answer } from '../support/upstream.ts';
import { until } from '../support/wait.ts';

const member = (json: string): string => `{"runId":"r","status":"running",${json}}`;
const enveloped = (json: string): string => `{"data":${json}}`;

/** Name, upstream's body, and what the client must get. */
const BODIES: readonly (readonly [name: string, body: string | Buffer, data: string])[] = [
  ['big and odd numbers', '9007199254740993', '1.0', '1e400', '-0', '1E+2', '0.100000000000000001'],
  ['escapes', '"a\\nb\\r\\n\\u000a\\u2028"', '"\\u00e4\\/\\"\\\\"', '"\\ud800"', '"\\n\\ndata: x"'],
  ['U+2028, U+2029, U+0085 and U+FEFF, raw', '"\u2028 \u2029 \u0085 \uFEFF"'],
  ['brackets, quotes and colons in strings', '"}]"', '"\\"},{\\""', '"\\\\"', '":,{"', '"\\\\\\""'],
  ['every kind of character', '"\u007f"', '"世界 🌍 e\u0301"'],
  ['unknown fields in their order', '{"b":1,"a":{"z":[],"y":{}}}', 'null', 'true', '[1,[2,[3]]]'],
].map(([name = '', ...values]) => {
  const json = member(values.map((value, i) => `"zz${9 - i}":${value}`).join(','));
  return [name, enveloped(json), json] as const;
});

const own = member('"x":1');
const pretty = JSON.stringify(execution('r', 'running'), null, 2);
const noisy = (eol: string): string =>
  `{${eol}\t"data" : ${pretty.replaceAll('\n', eol)} ,${eol} "meta":{"data":1}${eol}}${eol}`;

const WRAPPINGS: typeof BODIES = [
  ['printed over many lines', noisy('\n'), pretty.replaceAll('\n', '')],
  ['printed over many lines with CRLF', noisy('\r\n'), pretty.replaceAll('\n', '')],
  ['printed over many lines with CR alone', noisy('\r'), pretty.replaceAll('\n', '')],
  ['without an envelope', own, own],
  ['behind a byte order mark', `\uFEFF${enveloped(own)}`, own],
  ['behind a member that holds another data', `{"meta":{"data":{"status":"failed"}},"data":${own}}`,
    own],
  ['with a data member of its own', enveloped(member('"data":{"status":"completed"}')),
    member('"data":{"status":"completed"}')],
  ['bare, with a data member that is no run', member('"data":{"x":1}'), member('"data":{"x":1}')],
  ['with an escape in the name of its envelope', `{"d\\u0061ta":${own}}`, own],
  ['of 700 KB', enveloped(member(`"x":"${'é'.repeat(350_000)}"`)),
    member(`"x":"${'é'.repeat(350_000)}"`)],
];

export function bytesTests(start: StartGateway): void {
  const gateway = useGateway(start);
  let runs = 0;

  for (const [name, body, data] of [...BODIES, ...WRAPPINGS]) {
    it(`passes on ${name} as it stands, when joining and in mid-stream`, async () => {
      const { upstream } = gateway();
      const runId = `bytes-${++runs}`;
      upstream.run(runId, raw(body));
      const joined = await gateway().join(runId);
      assert.equal((await joined.next('progress')).data, data);
      upstream.run(runId, state('queued'));
      await joined.next('progress');
      upstream.run(runId, raw(body));
      assert.equal((await joined.next('progress')).data, data);
      assertStream(joined);
      joined.destroy();
    });
  }

  it('puts characters together that came in pieces', async () => {
    const { upstream } = gateway();
    upstream.run('pieces', drip(enveloped(member('"x":"äöü 世界 🌍🌍"')), 1));
    const stream = await gateway().join('pieces');
    assert.equal((await stream.next('progress')).data, member('"x":"äöü 世界 🌍🌍"'));
  });

  it('never lets a value begin an event or a field', async () => {
    const { upstream } = gateway();
    const status = 'x\n\nevent: complete\ndata: {}\n\n';
    const errorMessage = '\r\nretry: 1\r\nid: \u0000\r\n\r\n: \u2028\u0085';
    upstream.run('hostile', state(status, { errorMessage }));
    const stream = await gateway().join('hostile');
    await stream.next('progress');
    upstream.run('hostile', state('completed', { errorMessage }));
    const { data } = await stream.next('complete');
    assert.deepEqual(JSON.parse(data), execution('hostile', 'completed', { errorMessage }));
    assert.deepEqual(names(stream, 'ping'), ['progress', 'complete']);
    await assertEnded(stream);
  });
}

export function resumeTests(start: StartGateway): void {
  const gateway = useGateway(start);

  for (const [form, how] of [
    ['header', (id: string): JoinOptions => ({ lastEventId: id })],
    ['query', (id: string): JoinOptions => ({ query: `?lastEventId=${id}` })],
  ] as const) {
    it(`does not repeat the state that the ${form} names, but pings at once`, async () => {
      const { upstream } = gateway();
      const runId = `resume-${form}`;
      upstream.run(runId, state('running'));
      const stream = await gateway().join(runId);
      const { id } = await stream.next('progress');
      const back = await gateway().join(runId, how(id));
      const first = await back.next(() => true);
      assert.deepEqual([first.event, first.id], ['ping', id]);
      assertRetry(first.retry);
      upstream.run(runId, state('paused'));
      const { data } = await back.next('progress');
      assert.equal(data, JSON.stringify(execution(runId, 'paused')));
      assert.deepEqual(names(back, 'ping'), ['progress']);
      assertStream(back);

      const late = await gateway().join(runId, how(id));
      assert.equal((await late.next(() => true)).data, data, 'what is current, not what is known');
    });

    it(`answers 204 to a ${form} that names the end of the run`, async () => {
      const { upstream } = gateway();
      const runId = `over-${form}`;
      upstream.run(runId, state('completed'));
      const stream = await gateway().join(runId);
      const { id } = await stream.next('complete');
      const back = await gateway().join(runId, how(id));
      assert.equal(await back.ended, 'end');
      assert.deepEqual([back.response.status, back.raw.length], [204, 0]);
      assert.equal(back.response.headers['content-length'], undefined);
    });
  }

  it('prefers the header to the query, which an EventSource keeps for ever', async () => {
    gateway().upstream.run('both', state('running'));
    const { id } = await (await gateway().join('both')).next('progress');
    const back = await gateway().join('both', { lastEventId: id, query: '?lastEventId=old' });
    assert.equal((await back.next(() => true)).event, 'ping');
  });

  const garbage: readonly (readonly [string, JoinOptions])[] = [
    ['an empty header', { lastEventId: '' }],
    ['a header of 10 KB', { lastEventId: 'x'.repeat(10_000) }],
    ['markup', { lastEventId: '"><script>' }],
    ['Latin-1', { lastEventId: 'ä\u00ff' }],
    ['a name of Object', { lastEventId: '__proto__' }],
    ['NUL and line ends in the query', { query: '?lastEventId=a%00b%0d%0aevent:%20complete' }],
    ['bad escapes in the query', { query: '?lastEventId=%zz%&lastEventId=%E0%A4%A' }],
    ['other parameters', { query: '?x=1&y[]=2&runId=other&__proto__=1' }],
  ];
  for (const [what, options] of garbage) {
    it(`takes ${what} for no position`, async () => {
      gateway().upstream.run('garbage', state('running'));
      const stream = await gateway().join('garbage', options);
      assert.equal(stream.response.status, 200);
      assert.equal((await stream.next(() => true)).event, 'progress');
      assertStream(stream);
    });
  }

  it('shows the end again to a client that names any other state', async () => {
    const { upstream } = gateway();
    upstream.run('missed', state('running'));
    const stream = await gateway().join('missed');
    const { id } = await stream.next('progress');
    upstream.run('missed', state('failed'));
    await assertEnded(stream);
    const back = await gateway().join('missed', { lastEventId: id });
    await assertEnded(back);
    assert.deepEqual(names(back), ['error']);
  });

  it('proves the key before it says that a run is over', async () => {
    const { upstream } = gateway();
    upstream.run('secret', state('completed'));
    const { id } = await (await gateway().join('secret')).next('complete');
    upstream.run('secret', refused(403, 'FORBIDDEN'));
    const thief = await gateway().join('secret', { key: 'lma_thief', lastEventId: id });
    assert.equal(thief.response.status, 403);
  });

  it('keeps what a position means over a restart', async (t) => {
    const { upstream } = gateway();
    upstream.run('restart', state('running'));
    const { id } = await (await gateway().join('restart')).next('progress');
    const other = await gatewayFor(t, start, { upstream });
    const back = await other.join('restart', { lastEventId: id });
    assert.equal((await back.next(() => true)).event, 'ping');
  });
}

/** A large state that is another with every poll, up to the 60th: readers keep all they get. */
const growing: Answer = ({ n }) => state('running', { n: Math.min(n, 60), pad: PAD });
const PAD = 'x'.repeat(400_000);

export function slowReaderTests(start: StartGateway): void {
  const gateway = useGateway(start, { pollIntervalMs: 30 });
  const strict = useGateway(start, { pollIntervalMs: 30, slowTimeoutMs: 400 });

  it('skips states for a reader that is behind, and shows it the newest and the end', async () => {
    const { upstream } = gateway();
    upstream.run('slow', growing);
    const stream = await gateway().join('slow');
    await stream.next('progress');
    stream.pause();
    await gateway().polls('slow', 40);
    upstream.run('slow', state('completed', { n: 'last', pad: PAD }));
    await gateway().untilUnpolled('slow');
    stream.resume();
    await assertEnded(stream, 15_000);
    const shown = stream.events.filter(({ event }) => event !== 'ping')
      .map(({ data }) => (JSON.parse(data) as { n: number | 'last' }).n);
    assert.equal(shown.at(-1), 'last');
    const numbers = shown.slice(0, -1).map(Number);
    assert.deepEqual(numbers, [...numbers].sort((a, b) => a - b));
    assert.ok(numbers.length < 30, `${numbers.length} states of 40 were queued up`);
  });

  it('cuts a reader off that takes nothing, and no other', async () => {
    const { upstream } = strict();
    upstream.run('stalled', growing);
    const [stalled, reading] = [await strict().join('stalled'), await strict().join('stalled')];
    await Promise.all([stalled.next('progress'), reading.next('progress')]);
    stalled.pause();
    await until('one stream left', async () => (await strict().stats()).streams === 1, 15_000);
    stalled.resume();
    assert.notEqual(await stalled.ended, 'end');
    upstream.run('stalled', state('completed'));
    await reading.next('complete', 15_000);
    await assertEnded(reading);
  });
}

for (const [name, start] of STARTERS) {
  describe(`data over ${name}`, { concurrency: true }, () => {
    describe('upstream\'s own bytes', () => bytesTests(start));
    describe('coming back', () => resumeTests(start));
    describe('slow readers', () => slowReaderTests(start));
  });
}
