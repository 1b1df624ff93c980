/**
 * `--source list` over real sockets: an upstream with a list, a hundred runs to a page, that
 * counts what reaches it in any time of the rate's length, and answers 429 beyond.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { STARTERS, assertEnded, gatewayFor, names } from '../support/gateway.ts';
import type { StartGateway, TestGateway } from '../support/gateway.ts';
import type { SseStream } from '../support/sse-client.ts';
import { act, raw, refused, serve, state } from '../support/upstream.ts';
import type { Answer } from '../support/upstream.ts';
import { until } from '../support/wait.ts';

const RATE = { requests: 200, perMs: 3_000 };
const LIST = '/v1/runs';

/** Runs by their status, those that the list hides, and the limit. */
class Workspace {
  readonly statuses = new Map<string, string>();
  readonly hidden = new Set<string>();
  readonly times: number[] = [];
  pages = 0;
  limited = 0;
  readonly #gateway: TestGateway;

  constructor(gateway: TestGateway) {
    this.#gateway = gateway;
    gateway.upstream.run(LIST, this.#within(act((res, asked) => {
      this.pages++;
      serve(this.#page(), asked, res);
    })));
  }

  set(runId: string, status: string): void {
    this.statuses.set(runId, status);
    this.#gateway.upstream.run(runId, this.#within(state(status)));
  }

  /** Again and again, as a client that is told to come back does. */
  async join(runId: string): Promise<SseStream> {
    for (;;) {
      const stream = await this.#gateway.join(runId);
      const first = await stream.next(() => true);
      if (first.event === 'progress') return stream;
      await stream.ended;
    }
  }

  #within(answer: Answer): Answer {
    return () => {
      const now = performance.now();
      this.times.push(now);
      if (this.times.filter((at) => at > now - RATE.perMs).length <= RATE.requests) return answer;
      this.limited++;
      return refused(429, 'RATE_LIMITED', 'Too many', { 'retry-after': '1' });
    };
  }

  #page(): Answer {
    const path = this.#gateway.upstream.requests.at(-1)?.path ?? '';
    const query = new URLSearchParams(path.split('?')[1]);
    const wanted = query.get('status');
    const offset = Number(query.get('offset') ?? 0);
    const all = [...this.statuses].filter(([runId, status]) =>
      !this.hidden.has(runId) && (wanted === null || status === wanted))
      .map(([runId, status]) => ({ runId, status })).reverse();
    const pagination = { offset, limit: 100, total: all.length };
    return raw(JSON.stringify({ data: all.slice(offset, offset + 100), pagination }));
  }
}

function listTests(start: StartGateway): void {
  it('tells every end among 250 runs and joins, and polls one that is not listed', async (t) => {
    const options = { upstreamRate: RATE, sourceKind: 'list', pollIntervalMs: 100 } as const;
    const gateway = await gatewayFor(t, start, options);
    const workspace = new Workspace(gateway);
    workspace.hidden.add('hidden');
    const runIds = ['hidden', ...Array.from({ length: 250 }, (_, i) => `l-${i}`)];
    for (const runId of runIds) workspace.set(runId, 'running');
    const streams = new Map<string, SseStream>();
    // A few at a time: the budget has no place for all at once.
    const left = [...runIds];
    await Promise.all(Array.from({ length: 3 }, async () => {
      for (let runId = left.shift(); runId !== undefined; runId = left.shift()) {
        streams.set(runId, await workspace.join(runId));
      }
    }));
    const pages = workspace.pages;
    await until('four more pages', () => workspace.pages >= pages + 4);
    const ends = ['hidden', 'l-0', 'l-101', 'l-249'];
    for (const [i, runId] of ends.entries()) {
      workspace.set(runId, i % 2 === 0 ? 'completed' : 'failed');
      workspace.set(`late-${i}`, 'running');
      streams.set(`late-${i}`, await workspace.join(`late-${i}`));
    }
    for (const [i, runId] of ends.entries()) {
      const stream = streams.get(runId);
      assert.ok(stream !== undefined);
      const name = i % 2 === 0 ? 'complete' : 'error';
      await stream.next(name, 10_000);
      await assertEnded(stream);
      assert.deepEqual(names(stream, 'ping'), ['progress', name]);
    }
    const others = [...streams].filter(([runId]) => !ends.includes(runId));
    for (const [, stream] of others) assert.deepEqual(names(stream, 'ping'), ['progress']);
    assert.equal(workspace.limited, 0, `${workspace.times.length} requests`);
  });
}

for (const [name, start] of STARTERS) {
  describe(`following by the list of upstream over ${name}`, () => listTests(start));
}
