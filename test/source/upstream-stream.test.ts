/**
 * The stream of an upstream over real sockets: what is sent for it, its bounds in time, and what
 * is told of each way in which it can end. The clock is in the test's hands.
 */

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Exchange } from '../../src/source/exchange.ts';
import { SILENCE_MS } from '../../src/source/stream-request.ts';
import { MAX_SOCKETS, Upstream } from '../../src/source/upstream.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { apiKey } from '../support/fake-source.ts';
import {
  act, delay, drip, hang, headersThenHang, raw, reset, resetNow, serve, startUpstream, state,
  truncate,
} from '../support/upstream.ts';
import type { Answer, Upstream as Scripted } from '../support/upstream.ts';
import { until } from '../support/wait.ts';

const KEY = apiKey('lma_a');
const HEAD_MS = 1_000;

class Told {
  readonly clock = new FakeClock();
  readonly client: Upstream;
  readonly heads: Exchange[] = [];
  readonly ends: (string | undefined)[] = [];
  text = '';
  readonly close: () => void;

  constructor(upstream: Scripted, key = KEY) {
    this.client = new Upstream({
      url: new URL(`${upstream.origin}/base`), path: '/v1/runs/{runId}', timeoutMs: HEAD_MS,
      maxBodyBytes: 1_000,
    }, this.clock);
    this.close = this.client.open('r1', key, '/stream', 'id_1', {
      onHead: (head) => this.heads.push(head),
      onBytes: (bytes) => (this.text += Buffer.from(bytes).toString()),
      onEnd: (why) => this.ends.push(why),
    });
  }

  /** A status, or what there came instead of it. */
  async head(): Promise<unknown> {
    await until('a head', () => this.heads.length === 1);
    const [head] = this.heads;
    if (head?.kind === 'answer') return head.status;
    return head?.kind === 'broken' ? head.why : head?.kind;
  }

  async end(): Promise<string | undefined> {
    await until('the end', () => this.ends.length === 1);
    assert.equal(this.clock.pending, 0);
    return this.ends[0];
  }
}

describe('a stream of upstream', () => {
  let upstream: Scripted;
  before(async () => (upstream = await startUpstream()));
  after(() => upstream.close());

  const open = (answer: Answer, key = KEY): Told => {
    upstream.run('/base/v1/runs/r1/stream', answer);
    return new Told(upstream, key);
  };

  it('is asked for as an event stream, with the key in its header and the last id', async () => {
    const told = open(raw('x'), { value: 'lma_b', header: 'authorization' });
    assert.equal(await told.head(), 200);
    assert.equal(await told.end(), undefined);
    const { headers, path } = upstream.requests.at(-1) ?? assert.fail();
    assert.equal(path, '/base/v1/runs/r1/stream');
    assert.equal(headers.accept, 'text/event-stream');
    assert.equal(headers['accept-encoding'], 'identity');
    assert.equal(headers['last-event-id'], 'id_1');
    assert.equal(headers.authorization, 'Bearer lma_b');
    assert.equal(told.text, 'x');
  });

  for (const [name, answer, why] of [
    ['a reset', () => reset(), 'ECONNRESET'],
    ['no head in time', (told: Told) => act(() => told.clock.advance(HEAD_MS)), 'late'],
  ] as const) {
    it(`without a head (${name}) tells of that alone`, async () => {
      const told: Told = open(act((res, asked) => serve(answer(told), asked, res)));
      assert.equal(await told.head(), why);
      assert.deepEqual([told.ends, told.clock.pending], [[], 0]);
    });
  }

  it('that is cut says so, after its bytes', async () => {
    const told = open(truncate('abc'));
    assert.equal(await told.end(), 'cut short');
    assert.equal(told.text, 'abc');
    const other = open(act((res) => {
      res.writeHead(200).write('abc', () => setTimeout(() => resetNow(res.socket), 50));
    }));
    assert.match(await other.end() ?? '', /^(?:cut short|ECONNRESET)$/);
  });

  it('may last for ever, but not be silent for 45 s', async () => {
    const told = open(drip('abcd', 20));
    await told.head();
    for (const letter of 'abcd') {
      await until(`an ${letter}`, () => told.text.endsWith(letter));
      if (letter !== 'd') told.clock.advance(SILENCE_MS - 1);
    }
    const silent = open(headersThenHang());
    assert.equal(await silent.head(), 200);
    silent.clock.advance(SILENCE_MS);
    assert.equal(await silent.end(), 'silent');
    await until('no connection', () => upstream.openConnections === 0);
  });

  it('that is closed tells nothing more but a head that is missing', async () => {
    const told = open(headersThenHang());
    await told.head();
    told.close();
    told.close();
    const early = open(hang());
    early.close();
    assert.equal(await early.head(), 'closed');
    const closed = open(delay(50, raw('x')));
    closed.client.close();
    assert.equal(await closed.head(), 'closed');
    await until('no connection', () => upstream.openConnections === 0);
    assert.deepEqual([told.ends, early.ends, closed.ends], [[], [], []]);
  });

  it('takes no socket from polls', async () => {
    upstream.run('/base/v1/runs/r1/stream', headersThenHang());
    const told = new Told(upstream);
    for (let i = 0; i < MAX_SOCKETS; i++) {
      told.client.open('r1', KEY, '/stream', 'id_1', {
        onHead: () => undefined, onBytes: () => undefined, onEnd: () => undefined,
      });
    }
    await until('all streams', () => upstream.openConnections > MAX_SOCKETS);
    upstream.run('r2', state('running'));
    assert.equal((await told.client.get('r2', KEY)).kind, 'answer');
    told.client.close();
    await until('no connection', () => upstream.openConnections === 0);
  });
});
