/**
 * Compressed streams, as clients see them that nobody here wrote: Node's gunzip, which checks the
 * trailer, `fetch` and curl. Each event must be readable when it is sent and not later, whatever
 * came before it, and the whole must end as gzip does.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { get } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { afterEach, describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { createGunzip } from 'node:zlib';

import { KEY, STARTERS, useGateway } from '../support/gateway.ts';
import type { StartGateway, TestGateway } from '../support/gateway.ts';
import { SseParser } from '../support/sse-parser.ts';
import type { SseEvent } from '../support/sse-parser.ts';
import { state } from '../support/upstream.ts';
import { until, within } from '../support/wait.ts';

const HEADERS = { 'x-api-key': KEY, 'accept': 'text/event-stream' };
/** Compressible, and too small to be worth it. */
const SIZES = [20_000, 10];
const pad = (size: number): string => 'some state '.repeat(size).slice(0, size);

/** A stream through `gunzip`, which rejects a wrong checksum or length. */
class GzipStream {
  readonly events: SseEvent[] = [];
  readonly response: IncomingMessage;
  /** Compressed bytes so far. */
  received = 0;
  readonly ended: Promise<void>;

  constructor(response: IncomingMessage) {
    this.response = response;
    const parser = new SseParser();
    const gunzip = createGunzip();
    response.on('data', (bytes: Buffer) => (this.received += bytes.length));
    this.ended = new Promise((resolve, reject) => {
      gunzip.on('data', (bytes: Buffer) => this.events.push(...parser.push(bytes)));
      gunzip.on('end', resolve).on('error', reject);
      response.on('error', reject);
    });
    this.ended.catch(() => undefined);
    response.pipe(gunzip);
  }

  async until(what: string, found: (event: SseEvent) => boolean): Promise<void> {
    await until(what, () => this.events.some(found));
  }
}

function join(
  t: TestContext, gateway: TestGateway, runId: string, more: Record<string, string> = {},
): Promise<GzipStream> {
  const headers = { ...HEADERS, 'accept-encoding': 'gzip, deflate, br', ...more };
  return within(5_000, 'a head', new Promise((resolve, reject) => {
    const req = get(gateway.url(runId), { headers, agent: false }, (response) => {
      t.after(() => response.destroy());
      resolve(new GzipStream(response));
    });
    req.on('error', reject);
  }));
}

const nOf = ({ data }: SseEvent): unknown => (JSON.parse(data) as { n?: unknown }).n;

export function compressionTests(start: StartGateway): void {
  const gateway = useGateway(start);
  afterEach(() => gateway().untilIdle());

  for (const size of SIZES) {
    it(`states of ${size} bytes are read one by one, to a right end`, async (t) => {
      const { upstream } = gateway();
      const runId = `gzip-${size}`;
      upstream.run(runId, state('running', { n: 0, pad: pad(size) }));
      const stream = await join(t, gateway(), runId);
      assert.equal(stream.response.headers['content-encoding'], 'gzip');
      assert.equal(stream.response.headers['vary'], 'accept-encoding');
      for (let n = 0; n < 4; n++) {
        upstream.run(runId, state('running', { n, pad: pad(size) }));
        await stream.until(`state ${n}`, (event) => event.event === 'progress' && nOf(event) === n);
      }
      await stream.until('a ping', ({ event }) => event === 'ping');
      const late = await join(t, gateway(), runId);
      await late.until('state 3', (event) => event.event === 'progress' && nOf(event) === 3);
      upstream.run(runId, state('completed', { pad: pad(size) }));
      for (const each of [stream, late]) {
        await within(5_000, 'the end', each.ended);
        assert.equal(each.events.at(-1)?.event, 'complete');
      }
      const plain = stream.events.reduce((sum, { data }) => sum + data.length, 0);
      if (size > 1_000) assert.ok(stream.received < plain / 5, `${stream.received} of ${plain}`);
    });
  }

  it('a client that resumes, and one that comes when all is over, get whole streams', async (t) => {
    const { upstream } = gateway();
    upstream.run('resumes', state('running', { pad: pad(5_000) }));
    const first = await join(t, gateway(), 'resumes');
    await first.until('a state', ({ event }) => event === 'progress');
    const id = first.events[0]?.id ?? '';
    const second = await join(t, gateway(), 'resumes', { 'last-event-id': id });
    await second.until('a ping', ({ event }) => event === 'ping');
    assert.equal(second.events[0]?.event, 'ping');
    upstream.run('resumes', state('failed', { pad: pad(5_000) }));
    const third = await first.ended.then(() => join(t, gateway(), 'resumes'));
    for (const each of [first, second, third]) {
      await within(5_000, 'the end', each.ended);
      assert.equal(each.events.at(-1)?.event, 'error');
    }
    assert.equal(third.events.length, 1);
  });

  it('fetch unpacks each event as it comes', async () => {
    const { upstream } = gateway();
    upstream.run('fetched', state('running', { n: 0, pad: pad(9_000) }));
    const response = await fetch(gateway().url('fetched'), { headers: HEADERS });
    assert.equal(response.headers.get('content-encoding'), 'gzip');
    const events: SseEvent[] = [];
    const parser = new SseParser();
    const read = (async (): Promise<void> => {
      for await (const bytes of response.body ?? []) events.push(...parser.push(bytes));
    })();
    for (let n = 0; n < 3; n++) {
      upstream.run('fetched', state('running', { n, pad: pad(9_000) }));
      await until(`state ${n}`, () =>
        events.some((event) => event.event === 'progress' && nOf(event) === n));
    }
    upstream.run('fetched', state('completed'));
    await within(5_000, 'the end', read);
    assert.equal(events.at(-1)?.event, 'complete');
  });

  it('curl --compressed prints each event as it comes, and ends well', async (t) => {
    const { upstream } = gateway();
    upstream.run('curled', state('running', { n: 0, pad: pad(9_000) }));
    const curl = spawn('curl', [
      '-sN', '--compressed', '-H', `x-api-key: ${KEY}`, gateway().url('curled'),
    ]);
    t.after(() => curl.kill());
    let printed = '';
    curl.stdout.on('data', (bytes: Buffer) => (printed += bytes.toString()));
    const exited = new Promise((resolve) => curl.on('close', resolve));
    for (let n = 0; n < 3; n++) {
      upstream.run('curled', state('running', { n, pad: pad(9_000) }));
      await until(`state ${n}`, () => printed.includes(`"n":${n}`));
    }
    upstream.run('curled', state('completed'));
    assert.equal(await within(5_000, 'its exit', exited), 0);
    assert.match(printed, /event: complete\nid: \S+\ndata: .*\nretry: \d+\n\n$/);
  });

  it('who does not ask for it gets plain text', async () => {
    const { upstream } = gateway();
    upstream.run('plain', state('completed', { pad: pad(5_000) }));
    for (const encoding of ['identity', 'br', 'gzip;q=0']) {
      const stream = await gateway().join('plain', { headers: { 'accept-encoding': encoding } });
      assert.equal(stream.response.headers['content-encoding'], undefined, encoding);
      await stream.next('complete');
    }
  });
}

describe('compression', () => {
  for (const [name, start] of STARTERS) describe(`over ${name}`, () => compressionTests(start));

  describe('that is off', () => {
    const gateway = useGateway(STARTERS[0]?.[1] as StartGateway, { compress: false });
    it('is not used, whoever asks', async () => {
      gateway().upstream.run('off', state('completed', { pad: pad(5_000) }));
      const stream = await gateway().join('off', { headers: { 'accept-encoding': 'gzip' } });
      assert.equal(stream.response.headers['content-encoding'], undefined);
      await stream.next('complete');
    });
  });
});
