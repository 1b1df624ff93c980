/**
 * The load client over real processes and sockets, against a server that does on purpose what
 * servers do in trouble: each kind must be counted as what it is.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { it } from 'node:test';
import type { TestContext } from 'node:test';
import { constants, createGzip } from 'node:zlib';
import { Load } from '../../bench/support/load.ts';
import type { LoadOptions, Measured } from '../../bench/support/load.ts';
import { until, within } from '../support/wait.ts';

type Handle = (n: number, res: ServerResponse, req: IncomingMessage) => void;

const HEAD = { 'content-type': 'text/event-stream' };
const PROGRESS = 'retry: 20\nevent: progress\nid: a\ndata: {}\n\n';
const COMPLETE = 'event: complete\nid: z\ndata: {}\n\n';
const nowUs = (): number => Number(process.hrtime.bigint() / 1000n);

/** A server whose answer depends on the number at the end of the path; its URL ends before it. */
async function serve(t: TestContext, handle: Handle): Promise<string> {
  const server = createServer((req, res) => handle(Number(req.url?.split('/').at(-1)), res, req));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

async function open(t: TestContext, options: Partial<LoadOptions> & { url: string }) {
  const begun: { onBegin?: () => void } = {};
  const onProgress = (): void => begun.onBegin?.();
  const opening = Load.open(
    { headers: {}, streams: 50, ratePerSecond: 1000, onProgress, ...options });
  const { load, opened } = await within(8_000, 'all streams begun', opening);
  t.after(() => load.close());
  return { load, opened, begun };
}

/** Begins to measure; resolves, with what will come of it, once all that happens now counts. */
async function measure(
  load: Load, ms: number, begun: { onBegin?: () => void },
): Promise<{ measuring: Promise<Measured> }> {
  const hasBegun = new Promise<void>((resolve) => {
    begun.onBegin = resolve;
  });
  const measuring = load.measure(ms);
  await within(3_000, 'the begin of the measuring', hasBegun);
  return { measuring };
}

it('counts each stream as what became of it', async (t) => {
  const held: ServerResponse[] = [];
  const url = await serve(t, (n, res) => {
    if (n % 5 === 0) return void res.writeHead(503).end('{}');
    res.writeHead(200, n === 1 ? { ...HEAD, 'x-runcast-refused': '429 RATE_LIMITED' } : HEAD);
    res.write(PROGRESS);
    held[n] = res;
  });
  const { load, opened, begun } = await open(t, { url: `${url}runs/{run}/{n}`, processes: 2 });
  assert.deepEqual(opened.failed, { 503: 10, 'refused: 429 RATE_LIMITED': 1 });
  assert.deepEqual([opened.opened, opened.openNow, opened.lostEarly], [39, 39, 0]);
  assert.equal(opened.firstEventUs.count, 39);
  assert.ok(opened.perSecond > 10 && opened.perSecond < 1500, String(opened.perSecond));

  const { measuring } = await measure(load, 400, begun);
  held.forEach((res, n) => {
    if (n % 5 === 1) res.end();
    if (n % 5 === 2) res.end(COMPLETE);
    if (n % 5 === 3) res.destroy();
    if (n % 5 === 4) res.write(PROGRESS);
  });
  const measured = await within(5_000, 'the measuring', measuring);
  assert.deepEqual(measured.lost, { end: 9, cut: 10 });
  assert.deepEqual([measured.lostEarly, measured.ended, measured.uncleanEnds], [19, 10, 0]);
  assert.deepEqual(measured.events, { complete: 10, progress: 10 });
  assert.deepEqual([measured.openNow, measured.opened, measured.failed], [10, 0, {}]);
  assert.deepEqual([measured.clientCpuShare.length, measured.deliveryUs.count], [2, 0]);
});

it('measures from the time in the payload, counts states and those jumped over', async (t) => {
  const held: ServerResponse[] = [];
  const send = (res: ServerResponse, at: number): void => {
    res.write(`event: progress\nid: ${at}\ndata: {"runId":"a","at":${at}}\n\n`);
  };
  const firstUs = nowUs() - 90_000;
  const url = await serve(t, (_, res) => {
    res.writeHead(200, HEAD);
    send(res, firstUs);
    held.push(res);
  });
  const options = { url, processes: 2, stalled: 10, changeEveryMs: 10 };
  const { load, opened, begun } = await open(t, options);
  assert.equal(opened.deliveryUs.count, 0, 'what a stream begins with is no delivery');
  const { measuring } = await measure(load, 400, begun);
  // Three states that are 10 ms apart and late by 70, 60 and 40 ms, one between them left out.
  for (const late of [2, 3, 5]) {
    for (const res of held) send(res, firstUs + late * 10_000);
  }
  const sentUs = nowUs();
  const measured = await within(5_000, 'the measuring', measuring);
  assert.deepEqual([measured.deliveryUs.count, measured.statesSeen], [120, 120]);
  assert.deepEqual(measured.perStreamStates, { min: 3, max: 3 });
  assert.equal(measured.statesSkipped, 80);
  const leastUs = sentUs - 50_000 - firstUs - 20_000;
  assert.ok(measured.deliveryUs.p50 > leastUs, JSON.stringify(measured.deliveryUs));
  assert.ok(measured.deliveryUs.max < leastUs + 400_000, JSON.stringify(measured.deliveryUs));
});

it('comes back where it was, as often as it is sent away, with gzip too', async (t) => {
  const returned: (string | undefined)[] = [];
  const url = await serve(t, (_, res, req) => {
    const id = req.headers['last-event-id'];
    if (id !== undefined) returned.push(String(id));
    res.writeHead(200, { ...HEAD, 'content-encoding': 'gzip' });
    const gzip = createGzip({ flush: constants.Z_SYNC_FLUSH });
    gzip.pipe(res);
    gzip.write(PROGRESS);
    if (id === undefined) gzip.end();
  });
  const options = { url, streams: 20, gzip: true, reconnect: true };
  const { load, opened } = await open(t, options);
  const before = opened.lost['end'] ?? 0;
  await until('all are back', () => returned.length === 20);
  const measured = await load.measure(100);
  assert.equal(measured.openNow, 20);
  assert.ok(before <= 20 && measured.lostEarly === 0, JSON.stringify(measured.lost));
  assert.deepEqual(new Set(returned), new Set(['a']));
});

it('has an account of what came since the last one, also where nothing is measured', async (t) => {
  const held: ServerResponse[] = [];
  const url = await serve(t, (_, res) => {
    res.writeHead(200, HEAD).write(PROGRESS);
    held.push(res);
  });
  const { load } = await open(t, { url, streams: 10 });
  assert.deepEqual((await load.measure(0)).bytesBefore, 0);
  held.forEach((res, n) => n < 3 ? res.destroy() : res.write(PROGRESS));
  const all = { lost: 0, bytes: 0 };
  for (let looks = 0; all.lost < 3 || all.bytes < 7 * PROGRESS.length; looks++) {
    assert.ok(looks < 500, JSON.stringify(all));
    const { lostBefore, lostEarly, bytesBefore, bytes, openNow } = await load.measure(0);
    all.lost += lostBefore + lostEarly;
    all.bytes += bytesBefore + bytes;
    assert.equal(openNow + all.lost, 10);
  }
});

it('comes from other addresses than the load before it', async (t) => {
  const addresses: (string | undefined)[] = [];
  const url = await serve(t, (_, res, req) => {
    addresses.push(req.socket.remoteAddress);
    res.writeHead(200, HEAD).write(PROGRESS);
  });
  for (let loads = 0; loads < 3; loads++) await open(t, { url, streams: 2 });
  assert.equal(addresses.length, 6);
  assert.equal(new Set(addresses).size, 3);
});

it('says why when nobody is there, no event comes or it is no stream', async (t) => {
  const url = await serve(t, (n, res) => {
    if (n === 0) res.writeHead(200, { 'content-type': 'text/html' }).end('<p>');
    else res.writeHead(200, HEAD).flushHeaders();
  });
  const { opened } = await open(t, { url: `${url}{n}`, streams: 3, firstEventTimeoutMs: 100 });
  assert.deepEqual(opened.failed, { 'not an event stream: text/html': 1, 'no event in time': 2 });
  const nobody = await open(t, { url: 'http://127.0.0.1:1/', streams: 3 });
  assert.deepEqual(nobody.opened.failed, { ECONNREFUSED: 3 });
});

it('ends early when it is told to, or when no stream is left', async (t) => {
  const url = await serve(t, (_, res) => void res.writeHead(200, HEAD).end(PROGRESS + COMPLETE));
  const { load, opened } = await open(t, { url });
  assert.deepEqual([opened.ended, opened.lostEarly], [50, 0]);
  await within(3_000, 'a measuring without streams', load.measure(60_000));
  const stop = new AbortController();
  const slow = open(t, { url, ratePerSecond: 1, signal: stop.signal });
  await until('the first second', () => (stop.abort(), true));
  assert.ok((await slow).opened.opened < 5);
});
