/** What a stranger may answer to the first question of an examination. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';

import { systemClock } from '../../src/core/clock.ts';
import { examine } from '../../src/doctor/prober.ts';
import type { Examination } from '../../src/doctor/prober.ts';
import { judge } from '../../src/doctor/verdicts.ts';
import type { Facts } from '../../src/doctor/probes.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { until, within } from '../support/wait.ts';

const FACTS: Facts = {
  nonce: null, httpVersion: '1.1', proxyHeaders: [], pingIntervalMs: 50, compress: true,
  requestHeaders: {
    'x-api-key': 'whole', 'authorization': 'whole', 'last-event-id': 'whole',
    'accept': 'whole', 'accept-encoding': 'whole',
  },
};

async function stranger(t: TestContext, answer: RequestListener): Promise<URL> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
}

async function reasonOf(base: URL, clock = systemClock): Promise<string> {
  const options = { clock, idleMs: 50, steadyMs: 50 };
  const examination = await within(20_000, 'the examination', examine(base, options));
  if (examination.kind === 'examined') return assert.fail('it is taken for runcast');
  return examination.reason;
}

/** Facts, and what is said to each probe. */
function probed(t: TestContext, onProbe: RequestListener): Promise<URL> {
  return stranger(t, (request, response) => {
    if (request.url?.startsWith('/doctor/stream') === true) onProbe(request, response);
    else response.end(JSON.stringify(FACTS));
  });
}

async function examined(base: URL): Promise<Extract<Examination, { kind: 'examined' }>> {
  const options = { clock: systemClock, idleMs: 50, steadyMs: 50 };
  const seen = await within(20_000, 'the examination', examine(base, options));
  return seen.kind === 'examined' ? seen : assert.fail(seen.reason);
}

it('a refusal is known for one without its header too: as a status, or as one ping', async (t) => {
  for (const [status, body, reason] of [
    [503, '{}', 'the probe was answered with 503'],
    [200, 'event: ping\nretry: 2000\nid: none\ndata: 1790000000\n\n', /events of another stream/],
  ] as const) {
    const base = await probed(t, (_request, response) => {
      response.writeHead(status, { 'content-type': 'text/event-stream' }).end(body);
    });
    const seen = await examined(base);
    for (const outcome of [seen.steady, seen.packed, seen.idle]) {
      if (outcome.kind !== 'refused') return assert.fail(JSON.stringify(outcome));
      assert.match(outcome.reason, new RegExp(reason));
    }
  }
  return undefined;
});

it('the head is timed by itself: what comes late behind it is late', async (t) => {
  const base = await probed(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    const timer = systemClock.setTimeout(() =>
      response.end('event: done\ndata: {"sentMs":0}\n\n'), 200);
    response.on('close', () => systemClock.clearTimeout(timer));
  });
  const { steady } = await examined(base);
  if (steady.kind !== 'streamed') return assert.fail(steady.reason);
  const [first] = steady.samples;
  assert.ok((first?.arrivedMs ?? 0) - steady.headMs >= 100, JSON.stringify(steady));
  return undefined;
});

it('no more events are kept than a probe can have', async (t) => {
  const many = 'event: tick\ndata: {"sentMs":0}\n\n'.repeat(200_000);
  const base = await probed(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).end(many);
  });
  const seen = await examined(base);
  assert.equal(seen.steady.kind, 'refused');
  assert.equal(judge(seen).kind, 'report');
});

describe('a stranger', () => {
  it('is read no further than facts are long', async (t) => {
    const base = await stranger(t, (_request, response) =>
      response.end(' '.repeat(70_000) + JSON.stringify(FACTS)));
    assert.match(await reasonOf(base), /answers 200, and not as runcast does$/);
  });

  it('that says odd things is none of ours', async (t) => {
    const odd = { toString: 0 };
    for (const facts of [
      null, 7, [], { ...FACTS, httpVersion: odd }, { ...FACTS, requestHeaders: { accept: odd } },
    ]) {
      const base = await stranger(t, (_request, response) => response.end(JSON.stringify(facts)));
      assert.match(await reasonOf(base), /not as runcast does$/);
    }
  });

  it('that stops in the middle of its answer has not answered in time', async (t) => {
    const clock = new FakeClock();
    const base = await stranger(t, (_request, response) => response.write('{'));
    const { fetch } = globalThis;
    let hasHead = false;
    t.mock.method(globalThis, 'fetch', async (...asked: Parameters<typeof fetch>) => {
      const response = await fetch(...asked);
      hasHead = true;
      return response;
    });
    const told = reasonOf(base, clock);
    await until('its head', () => hasHead);
    clock.advance(15_000);
    assert.equal(await told, 'no answer within 15 s');
  });
});
