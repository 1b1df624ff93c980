/**
 * What a network does to answers, at bytes of them: over every driver at the places where it
 * matters, and over a plain answer at all of them. Whatever it does, nothing that did not arrive
 * whole is taken for an end, and the end arrives once.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { startFaultProxy } from '../support/fault-proxy.ts';
import type { Fault, FaultProxy, Passing } from '../support/fault-proxy.ts';
import { FaultyRun } from '../support/faulty-run.ts';
import { KEY, assertEnded, gatewayFor, names, startGateway } from '../support/gateway.ts';
import type { Overrides, TestGateway } from '../support/gateway.ts';
import { randomFrom, seeds } from '../support/random.ts';
import type { ReceivedEvent, SseStream } from '../support/sse-client.ts';
import { act, execution, startUpstream, state } from '../support/upstream.ts';
import type { Answer } from '../support/upstream.ts';
import { until } from '../support/wait.ts';

const RUN = 'r1';
const LIMITS = { upstreamTimeoutMs: 8_000, pingIntervalMs: 200, pollIntervalMs: 200 };
const CONCURRENCY = 60;

/** Each with the requests that it follows a run by. */
const DRIVERS = [
  ['poll', /\/r1$/], ['wait', /\/r1\/wait\?/], ['stream', /\/r1\/stream$/], ['list', /\/runs\?/],
] as const;

type Place = readonly [name: string, at: (whole: Passing) => number];

const PLACES: readonly Place[] = [
  ['at the first byte', () => 0],
  ['in the head', ({ bodyAt }) => bodyAt >> 1],
  ['at the first byte of the body', ({ bodyAt }) => bodyAt],
  ['in the body', ({ bodyAt, bytes }) => (bodyAt + bytes) >> 1],
  ['at the last byte', ({ bytes }) => bytes - 1],
];

const KINDS: readonly (readonly [kind: Fault['kind'], fault: (at: number) => Fault])[] = [
  ['delay', (at) => ({ kind: 'delay', at, ms: 300 })],
  ['drip', (at) => ({ kind: 'drip', at, everyMs: 1 })],
  ['cut', (at) => ({ kind: 'cut', at })],
  ['reset', (at) => ({ kind: 'reset', at })],
  // No text has such a byte alone.
  ['corrupt', (at) => ({ kind: 'corrupt', at, mask: 0x80 })],
];

interface Lab {
  readonly gateway: TestGateway;
  readonly proxy: FaultProxy;
}

async function labFor(t: TestContext, overrides: Overrides): Promise<Lab> {
  const upstream = await startUpstream();
  const proxy = await startFaultProxy(upstream.origin);
  // The gateway goes first: what is registered last is done last.
  const gateway = await gatewayFor(t, startGateway, {
    ...LIMITS, ...overrides, upstream, through: proxy,
  });
  t.after(async () => {
    await proxy.close();
    await upstream.close();
  });
  return { gateway, proxy };
}

const pingAfter = (stream: SseStream, at = performance.now()): Promise<ReceivedEvent> =>
  stream.next((event) => event.event === 'ping' && event.at > at);

/** Followed by these requests, of which one was answered whole. */
async function follow({ gateway, proxy }: Lab, run: FaultyRun, own: RegExp) {
  const stream = await gateway.join(RUN);
  await stream.next('progress');
  let found: Passing | undefined;
  await until('a whole answer', () => {
    found = proxy.answers.find(({ path, bytes, bodyAt }) => own.test(path) && bytes > bodyAt);
    return found !== undefined;
  });
  const whole = { ...found ?? assert.fail('no answer') };
  run.to('running', 1);
  await stream.next(({ data }) => data.includes('"step":1'));
  return { stream, whole };
}

async function survives(
  lab: Lab, own: RegExp, make: (at: number) => Fault, at: Place[1],
): Promise<void> {
  const { gateway, proxy } = lab;
  const run = new FaultyRun(gateway.upstream, RUN);
  const { stream, whole } = await follow(lab, run, own);
  const fault = make(at(whole));
  proxy.choose((path) => own.test(path) ? fault : undefined);
  run.endStreams('end');
  await proxy.untilHit();
  await pingAfter(stream);
  // Of an answer that is not whole nothing may be believed; of one that is, all.
  if (fault.kind === 'corrupt') proxy.mend();
  run.to('completed');
  if (fault.kind === 'cut' || fault.kind === 'reset') {
    if (own.test(`/${RUN}`)) {
      await proxy.untilHit(proxy.hits + 1);
      assert.deepEqual(names(stream, 'ping'), ['progress', 'progress']);
    }
    proxy.mend();
  }
  assert.equal((await stream.next('complete', 40_000)).data, run.data);
  await assertEnded(stream);
  assert.deepEqual(names(stream, 'ping'), ['progress', 'progress', 'complete']);
}

describe('faults at a byte', { concurrency: CONCURRENCY }, () => {
  for (const [sourceKind, own] of DRIVERS) {
    for (const [kind, make] of KINDS) {
      for (const [place, at] of PLACES) {
        it(`${sourceKind}: ${kind} ${place} costs neither the stream nor its end`, async (t) => {
          await survives(await labFor(t, { sourceKind }), own, make, at);
        });
      }
    }
  }
});

const BODY = JSON.stringify({ data: execution(RUN, 'completed') });
const TYPE = { 'content-type': 'application/json' };

/** How an answer says where it ends. */
const FRAMINGS: readonly (readonly [name: string, answer: Answer])[] = [
  ['a length', state('completed')],
  ['chunks', act((res) => {
    res.writeHead(200, TYPE).write(BODY.slice(0, 99));
    res.end(BODY.slice(99));
  })],
  ['its end alone', act((res) => {
    res.socket?.end(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n${BODY}`);
  })],
];

/** Runs whose answers have a fault at the byte that their id says. */
class Sweep {
  readonly #lab: Lab;
  readonly #answer: Answer;
  /** Of the answer, without a fault. */
  bytes = 0;

  constructor(lab: Lab, answer: Answer) {
    this.#lab = lab;
    this.#answer = answer;
  }

  async begin(make: (at: number) => Fault): Promise<void> {
    const { proxy } = this.#lab;
    assert.equal((await this.ask(99_999)).status, 200);
    this.bytes = proxy.last('at-')?.bytes ?? 0;
    assert.ok(this.bytes > 500);
    proxy.choose((path) => make(Number(path.slice(-5))));
  }

  ask(at: number) {
    const { gateway } = this.#lab;
    const runId = `at-${String(at).padStart(5, '0')}`;
    gateway.upstream.run(runId, this.#answer);
    return gateway.call('GET', `/v1/runs/${runId}`, { 'x-api-key': KEY });
  }

  /** Each `step`th byte and all of the last ones, some at once. */
  async over(step: number, check: (at: number) => Promise<void>): Promise<void> {
    const places = Array.from({ length: this.bytes }, (_, at) => at)
      .filter((at) => at % step === 0 || at >= this.bytes - 12);
    const next = async (): Promise<void> => {
      for (let at = places.pop(); at !== undefined; at = places.pop()) await check(at);
    };
    await Promise.all(Array.from({ length: 24 }, next));
  }
}

describe('an answer of a run that is over', { concurrency: true }, () => {
  for (const [framing, answer] of FRAMINGS) {
    it(`that ends with ${framing} is none where any of its bytes is missing`, async (t) => {
      const lab = await labFor(t, {});
      const sweep = new Sweep(lab, answer);
      await sweep.begin((at) => ({ kind: at % 2 === 0 ? 'cut' : 'reset', at }));
      await sweep.over(5, async (at) => {
        const { status, text } = await sweep.ask(at);
        assert.equal(status, 502, `cut at ${at} of ${sweep.bytes}: ${text}`);
      });
    });
  }
});

for (const seed of seeds(1)) {
  it(`an answer with any of its bits turned over is no end (RUNCAST_SEED=${seed})`, async (t) => {
    const random = randomFrom(seed);
    // What says that it is longer than it is, is late.
    const lab = await labFor(t, { upstreamTimeoutMs: 2_000 });
    const sweep = new Sweep(lab, state('running'));
    await sweep.begin((at) => ({ kind: 'corrupt', at, mask: 1 << Math.floor(random() * 8) }));
    let taken = 0;
    await sweep.over(2, async (at) => {
      const { status, text } = await sweep.ask(at);
      if (status !== 200) return assert.ok(status === 502 || status === 504, `${at}: ${text}`);
      taken++;
      const { data } = JSON.parse(text) as { data: { status: string } };
      assert.ok(!['completed', 'failed', 'cancelled'].includes(data.status), `${at}: ${text}`);
      return undefined;
    });
    assert.ok(taken > sweep.bytes / 20, `${taken} of ${sweep.bytes}`);
  });
}
