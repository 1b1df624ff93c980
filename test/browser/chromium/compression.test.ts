/**
 * Compressed streams in Chromium, which unpacks them itself: by EventSource and by fetch, from a
 * gateway in a host's server and from one that listens itself. Each event must be there before
 * anything else is sent, for no later byte may be needed to get it out; an end must be one; and
 * whoever is cut off must come back to where the last whole event was. Chromium does not look at
 * gzip's trailer (a wrong checksum, or none at all, passes here): test/integration holds that.
 */

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import type { GatewayOptions } from '../../../src/index.ts';
import { noBrowser, startBrowser } from '../../support/browser.ts';
import type { Browser } from '../../support/browser.ts';
import { randomFrom } from '../../support/random.ts';
import { openStream } from '../../support/sse-client.ts';
import { SseParser } from '../../support/sse-parser.ts';
import { execution, state } from '../../support/upstream.ts';
import type { Answer } from '../../support/upstream.ts';
import { until, within } from '../../support/wait.ts';
import { CLOSED, CONNECTING, HTML, openFetch, openSource } from '../page.ts';
import type { FetchItem, Log, SourceEvent, SourceItem } from '../page.ts';
import { startMounted, startProxied } from '../site.ts';
import type { Asked, Cut, Site, StartSite } from '../site.ts';

type Coding = 'gzip' | undefined;

/** One that is too small to be deflated, a usual one and a large one. */
const SIZES = [600, 2_000, 16_000];
const STATES = 5;
/** So long that one that needs the next one's bytes is seen to be late. */
const PING_MS = 3_000;
/** Longer than any `retry:` of a stream that is to come back. */
const REST_MS = 6_000;
/** The longest `retry:`, and time to connect. */
const RETURN_MS = 15_000;

let browser: Browser;

interface Scene {
  readonly site: Site;
  /** How the site's streams must be coded. */
  readonly coding: Coding;
  readonly source: (runId: string, query?: string) => Promise<Log<SourceItem>>;
  readonly fetch: (runId: string, query?: string) => Promise<Log<FetchItem>>;
}

type Stage = (t: TestContext, options?: GatewayOptions) => Promise<Scene>;

function stageOf(start: StartSite, compress: boolean): Stage {
  return async (t, options = {}) => {
    const site = await start(HTML, { ...options, compress });
    t.after(() => site.close());
    await browser.open(`${site.origin}/`);
    const url = (runId: string, query = ''): string => `/v1/runs/${runId}/stream${query}`;
    return {
      site,
      coding: compress ? 'gzip' : undefined,
      source: (...of) => openSource(browser, url(...of)),
      fetch: (...of) => openFetch(browser, url(...of)),
    };
  };
}

/** A state of about `size` bytes that deflates as JSON does, not away. */
function sized(status: string, size: number, n: number): Answer {
  const over = { n, pad: '' };
  const length = Buffer.byteLength(JSON.stringify(execution('run', status, over)));
  const random = randomFrom(size + n);
  while (length + over.pad.length < size) over.pad += `${random().toString(36).slice(2, 8)} `;
  return state(status, over);
}

const nOf = ({ data }: { readonly data: string }): unknown =>
  (JSON.parse(data) as { readonly n?: unknown }).n;

const said = ({ event, data, id }: Pick<SourceEvent, 'event' | 'data' | 'id'>): string[] =>
  [event, data, id];

const statesOf = (log: Log<SourceItem>): SourceEvent[] =>
  log.of('event').filter(({ event }) => event !== 'ping');

const untilState = (log: Log<SourceItem>, n: number): Promise<void> =>
  log.until(`state ${n}`, () => statesOf(log).some((event) => nOf(event) === n));

const untilLost = (log: Log<SourceItem>, times = 1): Promise<void> =>
  log.until('a lost connection', () => log.of('lost').length === times);

function assertAnswered(asked: Asked | undefined, coding: Coding): void {
  assert.ok(asked !== undefined, 'nothing was asked for');
  assert.match(String(asked.headers['accept-encoding']), /\bgzip\b/);
  assert.deepEqual([asked.status, asked.answer['content-encoding']], [200, coding]);
}

function stateTests(stage: Stage): void {
  for (const size of SIZES) {
    it(`states of ${size} bytes come one by one, also to one who joins late`, async (t) => {
      const { site, coding, source } = await stage(t);
      const { upstream } = site;
      const change = (n: number): void => upstream.run('run', sized('running', size, n));
      change(0);
      const plain = await openStream(`${site.origin}/v1/runs/run/stream`);
      t.after(() => plain.destroy());
      const early = await source('run');
      await untilState(early, 0);
      for (let n = 1; n < STATES; n++) {
        change(n);
        await untilState(early, n);
      }
      const late = await source('run');
      await untilState(late, STATES - 1);
      change(STATES);
      for (const log of [early, late]) await untilState(log, STATES);
      upstream.run('run', sized('completed', size, STATES + 1));
      for (const log of [early, late]) await untilLost(log);

      const seen = statesOf(early);
      assert.equal(await within(5_000, 'the end of the plain client', plain.ended), 'end');
      assert.deepEqual(seen.map(said), plain.events.map(said), 'as a client without compression');
      assert.deepEqual(seen.map(nOf), [0, 1, 2, 3, 4, 5, 6]);
      assert.deepEqual(statesOf(late).map(said), seen.slice(STATES - 1).map(said), 'as the first');
      const [first, ...others] = site.asked('run');
      assert.equal(first?.answer['content-encoding'], undefined, 'of the plain client');
      assert.equal(others.length, 2);
      for (const each of others) assertAnswered(each, coding);
    });
  }

  it('pings come one by one, with the id of the state that they follow', async (t) => {
    const { site, coding, source } = await stage(t, { pingIntervalMs: PING_MS });
    site.upstream.run('run', sized('running', 2_000, 0));
    const log = await source('run');
    const pings = (): SourceEvent[] => log.of('event').filter(({ event }) => event === 'ping');
    for (const n of [0, 1]) {
      site.upstream.run('run', sized('running', 2_000, n));
      await untilState(log, n);
      await log.until('a ping', () => pings().length > n, 2 * PING_MS);
      const { id, data, at } = pings()[n] ?? assert.fail();
      assert.equal(id, statesOf(log).at(-1)?.id);
      const ageMs = at - Number(data) * 1000;
      assert.ok(ageMs >= 0 && ageMs < PING_MS, `not before the next one: ${ageMs} ms`);
    }
    assert.equal(log.of('lost').length, 0);
    assertAnswered(site.asked('run')[0], coding);
  });
}

function endTests(stage: Stage): void {
  it('an EventSource rests after the end, and the id of the end stops it for good', async (t) => {
    const { site, coding, source } = await stage(t);
    const ends = [['completed', 'complete'], ['failed', 'error']] as const;
    const logs: Log<SourceItem>[] = [];
    for (const [status, event] of ends) {
      site.upstream.run(status, sized('running', 2_000, 0));
      const log = await source(status);
      await untilState(log, 0);
      site.upstream.run(status, sized(status, 2_000, 1));
      await untilLost(log);
      assert.deepEqual(log.items.map(({ kind }) => kind), ['open', 'event', 'event', 'lost']);
      assert.equal(statesOf(log)[1]?.event, event);
      assert.equal(log.of('lost')[0]?.readyState, CONNECTING);
      logs.push(log);
    }
    await until('time to come back', later(REST_MS), 2 * REST_MS);
    for (const [i, [status]] of ends.entries()) {
      assert.equal(site.asked(status).length, 1, 'no second request');
      assertAnswered(site.asked(status)[0], coding);
      const { id } = statesOf(logs[i] ?? assert.fail())[1] ?? assert.fail();
      const again = await source(status, `?lastEventId=${id}`);
      await untilLost(again);
      assert.deepEqual(again.items, [{ kind: 'lost', readyState: CLOSED }]);
      assert.equal(site.asked(status)[1]?.status, 204);
    }
  });

  it('fetch reads event by event, to a clean end', async (t) => {
    const { site, coding, fetch } = await stage(t);
    site.upstream.run('run', sized('running', 16_000, 0));
    const log = await fetch('run');
    const text = (): string => log.of('text').map((item) => item.text).join('');
    const events = (parser = new SseParser()) => parser.push(Buffer.from(text()));
    for (let n = 0; n < STATES; n++) {
      site.upstream.run('run', sized('running', 16_000, n));
      await log.until(`state ${n}`, () => events().some((event) => nOf(event) === n));
    }
    site.upstream.run('run', sized('completed', 16_000, STATES));
    await log.until('an end', () => log.of('end').length + log.of('failed').length > 0);
    assert.deepEqual(log.of('failed'), []);
    assert.deepEqual(log.items[0], { kind: 'head', status: 200, encoding: coding ?? null });
    assert.deepEqual(events().map(nOf), [0, 1, 2, 3, 4, 5]);
    assert.deepEqual(events().at(-1)?.event, 'complete');
    const parser = new SseParser();
    events(parser);
    assert.equal(parser.unfinished, '');
    assertAnswered(site.asked('run')[0], coding);
  });

  // A page that is left for another one keeps its streams: Chromium has it wait, for the case that
  // its user comes back, and lets go of its connections after a minute.
  it('a page that closes its EventSource, or is loaded anew, leaves nothing behind', async (t) => {
    const { site, source } = await stage(t);
    const streams = (): number => site.gateway.stats().streams;
    site.upstream.run('run', sized('running', 2_000, 0));
    const [first, second] = [await source('run'), await source('run')];
    for (const log of [first, second]) await untilState(log, 0);
    assert.equal(streams(), 2);
    await first.close();
    await until('one stream left', () => streams() === 1);
    await browser.evaluate('location.reload()');
    await until('no stream left', () => streams() === 0);
  });
}

function returnTests(stage: Stage, cuts: readonly Cut[]): void {
  for (const how of cuts) {
    it(`an EventSource whose stream is cut (${how}) comes back to where it was`, async (t) => {
      const { site, coding, source } = await stage(t);
      site.upstream.run('run', sized('running', 16_000, 0));
      const log = await source('run');
      await untilState(log, 0);
      const { id } = statesOf(log)[0] ?? assert.fail();
      site.cut('run', how);
      // Half of a state is none: it must come again, whole.
      if (how === 'half') site.upstream.run('run', sized('running', 16_000, 1));
      await untilLost(log);
      assert.equal(log.of('lost')[0]?.readyState, CONNECTING);
      await log.until('its return', () => log.of('open').length === 2, RETURN_MS);
      const [, second] = site.asked('run');
      assert.equal(second?.headers['last-event-id'], id);
      assertAnswered(second, coding);
      await log.until('an event', () => log.items.at(-1)?.kind === 'event');
      const { event, id: firstId } = log.of('event')[1] ?? assert.fail();
      if (how === 'half') assert.equal(event, 'progress');
      else assert.deepEqual([event, firstId], ['ping', id], 'instead of the state that it has');

      site.upstream.run('run', sized('running', 16_000, 2));
      await untilState(log, 2);
      site.upstream.run('run', sized('completed', 16_000, 3));
      await untilLost(log, 2);
      const wanted = how === 'half' ? [0, 1, 2, 3] : [0, 2, 3];
      assert.deepEqual(statesOf(log).map(nOf), wanted, 'no state twice');
      assert.equal(site.asked('run').length, 2);
    });
  }
}

function later(ms: number): () => boolean {
  const at = performance.now() + ms;
  return () => performance.now() >= at;
}

describe('compression in Chromium', { skip: noBrowser }, () => {
  before(async () => void (browser = await startBrowser()));
  after(() => browser?.quit());
  for (const [coding, compress] of [['gzip', true], ['no compression', false]] as const) {
    const mounted = stageOf(startMounted, compress);
    const proxied = stageOf(startProxied, compress);
    describe(`${coding} from a gateway in its host's server`, () => {
      stateTests(mounted);
      endTests(mounted);
      returnTests(mounted, ['fin', 'reset']);
    });
    describe(`${coding} from a gateway that listens itself`, () => {
      stateTests(proxied);
      endTests(proxied);
      returnTests(proxied, ['fin', 'reset', 'half']);
    });
  }
});
