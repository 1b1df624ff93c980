/**
 * The tools of the other tests, held against what they claim: a parser that is wrong at one
 * byte split, or an answer that is not what its name says, would make every test above it lie.
 */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { FakeClock } from './support/fake-clock.ts';
import { openStream } from './support/sse-client.ts';
import { assertEventForm, assertStreamForm, SseParser } from './support/sse-parser.ts';
import {
  delay, drip, execution, hang, headersThenHang, perKey, raw, redirect, refused, reset,
  resetMidBody, startUpstream, state, truncate,
} from './support/upstream.ts';
import type { Answer, Upstream } from './support/upstream.ts';
import { until, within } from './support/wait.ts';

const KEY = { 'x-api-key': 'lma_a' };

async function upstreamFor(t: TestContext): Promise<Upstream> {
  const upstream = await startUpstream();
  t.after(() => upstream.close());
  return upstream;
}

const get = (upstream: Upstream, runId: string, headers: Record<string, string> = KEY) =>
  openStream(`${upstream.origin}/v1/runs/${runId}`, { headers });

describe('fake clock', () => {
  test('runs timers by due time, then age, those set on the way included', () => {
    const clock = new FakeClock(1_000);
    const ran: string[] = [];
    const note = (name: string) => () => ran.push(`${name}@${clock.now()}`);
    clock.setTimeout(note('late'), 30);
    clock.setTimeout(note('b'), 20);
    clock.setTimeout(() => {
      note('a')();
      clock.setTimeout(note('a2'), 10);
      clock.setTimeout(note('never'), 11);
    }, 10);
    const cleared = clock.setTimeout(note('cleared'), 5);
    clock.clearTimeout(cleared);
    assert.deepEqual([clock.pending, clock.nextInMs], [3, 10]);
    clock.advance(20);
    assert.deepEqual(ran, ['a@10', 'b@20', 'a2@20']);
    assert.deepEqual([clock.pending, clock.now(), clock.wallNow()], [2, 20, 1_020]);
  });

  test('a timer that renews itself without delay does not stop time', () => {
    const clock = new FakeClock();
    let runs = 0;
    const again = (): void => {
      runs++;
      clock.setTimeout(again, 0);
    };
    clock.setTimeout(again, 0);
    clock.advance(5);
    assert.deepEqual([runs, clock.pending], [5, 1]);
  });
});

test('a wait that is late says what it waited for', async () => {
  await assert.rejects(within(1, 'the moon', new Promise(() => undefined)), /the moon: not within/);
  await assert.rejects(until('the sun', () => false, 1), /the sun: not within 1 ms/);
  assert.equal(await within(1_000, 'now', Promise.resolve(7)), 7);
});

describe('SSE parser', () => {
  const text = [
    '\uFEFFid: 1', 'event: progress', 'retry: 3000', 'data: {"a":"ü🌍\u2028"}', '',
    ': comment', 'data', '',
    'data:  two', 'data:lines', 'retry: 5s', 'retry:', 'retry: -1', 'other: x', 'Data: no', '',
    'event: nothing', 'id: 2', '', '',
    'data: \uFEFFafter', 'id: a\0b', '',
    'id', 'event: end', 'data: :', '',
    'data: unfinished',
  ];
  const expected = [
    { event: 'progress', data: '{"a":"ü🌍\u2028"}', id: '1', retry: 3000 },
    { event: 'message', data: '', id: '1', retry: undefined },
    { event: 'message', data: ' two\nlines', id: '1', retry: undefined },
    { event: 'message', data: '\uFEFFafter', id: '2', retry: undefined },
    { event: 'end', data: ':', id: '', retry: undefined },
  ];
  const lines = text.length - 1;

  for (const [name, end] of [['lf', '\n'], ['cr', '\r'], ['crlf', '\r\n']] as const) {
    test(`reads ${name} streams the same at every byte split`, () => {
      const bytes = Buffer.from(text.join(end));
      for (let cut = 0; cut <= bytes.length; cut++) {
        const parser = new SseParser();
        const events = [bytes.subarray(0, cut), bytes.subarray(cut)].flatMap((b) => parser.push(b));
        const plain = events.map(({ event, data, id, retry }) => ({ event, data, id, retry }));
        assert.deepEqual(plain, expected, `cut at ${cut}`);
        assert.deepEqual(parser.lineEnds, { lf: 0, cr: 0, crlf: 0, [name]: lines });
        assert.deepEqual(parser.comments, [' comment']);
        assert.deepEqual([parser.hasBom, parser.silentBlocks, parser.retryMs], [true, 2, 3000]);
        assert.equal(parser.unfinished, 'data: unfinished');
        assert.deepEqual(events[1]?.rawLines, [': comment', 'data']);
      }
    });

    test(`reads ${name} streams byte by byte, an event due with its last byte`, () => {
      const parser = new SseParser();
      const bytes = Buffer.from(`data: 1${end}${end}`);
      const counts = [...bytes].map((byte) => parser.push(Uint8Array.of(byte)).length);
      assert.equal(counts.indexOf(1), name === 'crlf' ? bytes.length - 2 : bytes.length - 1);
      assert.equal(counts.reduce((a, b) => a + b), 1);
    });
  }

  test('replaces what is not UTF-8 and goes on', () => {
    const bytes = Buffer.from([...Buffer.from('data: '), 0xf0, 0x9f, 10, 10, 10]);
    assert.equal(new SseParser().push(bytes)[0]?.data, '\uFFFD');
  });

  test('knows the form that the contract asks for', () => {
    const check = (stream: string): void => {
      const parser = new SseParser();
      parser.push(Buffer.from(stream)).forEach(assertEventForm);
      assertStreamForm(parser);
    };
    check('retry: 2000\nid: a\nevent: ping\ndata: 1\n\nevent: ping\nid: a\ndata: 2\n\n');
    for (const bad of [
      'event: ping\ndata: 1\n\n', 'id: a\nevent: x\ndata: 1\ndata: 2\n\n',
      'id: a\nid: a\nevent: x\ndata: 1\n\n', ':c\nid: a\nevent: x\ndata: 1\n\n',
      'id: a\nevent: x\ndata: 1\n\n\n', 'id: a\r\nevent: x\r\ndata: 1\r\n\r\n',
      'id:\nevent: x\ndata: 1\n\n', 'id: a\nevent: x\nretry: 1s\ndata: 1\n\n', ':\n\n',
    ]) assert.throws(() => check(bad), assert.AssertionError, JSON.stringify(bad));
  });
});

describe('scripted upstream', () => {
  test('is the real API where nothing is scripted, and remembers who asked', async (t) => {
    const upstream = await upstreamFor(t);
    const seen = upstream.next('r1');
    const answers = await Promise.all([get(upstream, 'r1', {}), get(upstream, 'r1')]);
    assert.deepEqual(answers.map((answer) => answer.response.status), [401, 404]);
    assert.equal((await seen).path, '/v1/runs/r1');
    upstream.run('r1', state('running', { extra: 1 }));
    const found = await get(upstream, 'r1', { authorization: 'Bearer lma_b' });
    assert.equal(await found.ended, 'end');
    assert.equal(found.raw.toString(),
      JSON.stringify({ data: execution('r1', 'running', { extra: 1 }) }));
    const { key, headerForm } = upstream.requests.at(-1) ?? {};
    assert.deepEqual([key, headerForm], ['lma_b', 'authorization']);
    assert.deepEqual([upstream.count('r1'), upstream.count('r2'), upstream.connections], [3, 0, 3]);
  });

  test('answers by key, by turn, late, elsewhere, and takes a path for a run', async (t) => {
    const upstream = await upstreamFor(t);
    upstream.run('keyed', perKey({ lma_a: redirect('/x') }, refused(403, 'FORBIDDEN')));
    upstream.run('turns', ({ n }) => delay(1, raw(`turn ${n}`, { status: 200 + n })));
    upstream.run('/v1/runs/r1/wait', raw('waited'));
    const a = await get(upstream, 'keyed');
    assert.deepEqual([a.response.status, a.response.headers.location], [302, '/x']);
    assert.equal((await get(upstream, 'keyed', { 'x-api-key': 'toString' })).response.status, 403);
    assert.equal((await get(upstream, 'turns')).response.status, 201);
    assert.equal((await get(upstream, 'turns')).response.status, 202);
    const waited = await get(upstream, 'r1/wait?timeout=60');
    await waited.ended;
    assert.equal(waited.raw.toString(), 'waited');
  });

  test('breaks in each of the ways it is told to', async (t) => {
    const upstream = await upstreamFor(t);
    const ask = (answer: Answer) => {
      upstream.run('bad', answer);
      return get(upstream, 'bad');
    };
    const cut = await ask(truncate('{"data":'));
    assert.deepEqual([await cut.ended, cut.raw.toString()], ['aborted', '{"data":']);
    const broken = await ask(resetMidBody('12345678'));
    // Not which of the two ways: a reader that was away when the RST came sees a FIN.
    assert.deepEqual([await broken.ended === 'end', broken.raw.toString()], [false, '1234']);
    const slow = await ask(drip('drip', 1));
    assert.deepEqual([await slow.ended, slow.raw.toString()], ['end', 'drip']);
    await assert.rejects(ask(reset()), { code: 'ECONNRESET' });
    const headOnly = await ask(headersThenHang());
    assert.equal(headOnly.raw.length, 0);
    headOnly.destroy();
    assert.equal(await headOnly.ended, 'aborted');
    const abort = new AbortController();
    upstream.run('bad', hang());
    const seen = upstream.next('bad');
    const never = openStream(`${upstream.origin}/v1/runs/bad`,
      { headers: KEY, signal: abort.signal });
    await seen;
    assert.deepEqual([upstream.inFlight, upstream.maxInFlight('bad')], [1, 1]);
    abort.abort();
    await assert.rejects(never, { name: 'AbortError' });
    await until('nothing in flight', () => upstream.inFlight === 0);
  });

  test('dies and comes back on its port', async (t) => {
    const upstream = await upstreamFor(t);
    upstream.run('r1', headersThenHang());
    const open = await get(upstream, 'r1');
    await upstream.stop();
    assert.notEqual(await open.ended, 'end');
    await assert.rejects(get(upstream, 'r1'), { code: 'ECONNREFUSED' });
    await upstream.restart();
    assert.equal((await get(upstream, 'r1')).response.status, 200);
    assert.equal(upstream.count(), 2);
  });
});
