/**
 * Tickets over HTTP: from the key to the stream, what they are no good for, that any replica and
 * every worker takes them, and that neither keys nor tickets stand in anything that is written.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';

import { startCli } from '../support/cli.ts';
import { KEY, STARTERS, assertEnded, gatewayFor, useGateway } from '../support/gateway.ts';
import type { Answered, StartGateway, TestGateway } from '../support/gateway.ts';
import { openStream } from '../support/sse-client.ts';
import type { SseStream } from '../support/sse-client.ts';
import { perKey, refused, startUpstream, state } from '../support/upstream.ts';
import { within } from '../support/wait.ts';

const SECRETS = ['a-secret-of-the-tests'];

interface Issued {
  readonly ticket: string;
  readonly expiresAt: string;
  readonly url: string;
}

async function issue(gateway: TestGateway, runId: string, key = KEY): Promise<Issued> {
  const answer = await gateway.call('POST', `/v1/runs/${runId}/ticket`, { 'x-api-key': key });
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.headers['cache-control'], 'no-store');
  return (JSON.parse(answer.text) as { data: Issued }).data;
}

async function follow(
  t: TestContext, gateway: TestGateway, path: string, headers: Record<string, string> = {},
): Promise<SseStream> {
  const stream = await openStream(gateway.origin + path, { headers });
  t.after(() => stream.destroy());
  return stream;
}

const codeOf = ({ status, text }: Answered): string =>
  `${status} ${(JSON.parse(text) as { code?: string }).code}`;

function useTests(start: StartGateway): void {
  const gateway = useGateway(start, { ticketSecrets: SECRETS });

  it('follows its run to the end, by the URL that came with it', async (t) => {
    const { upstream } = gateway();
    upstream.run('a', state('running'));
    const { url, ticket, expiresAt } = await issue(gateway(), 'a');
    assert.equal(url, `/v1/runs/a/stream?ticket=${ticket}`);
    const leftMs = Date.parse(expiresAt) - Date.now();
    assert.ok(leftMs > 14 * 60_000 && leftMs <= 15 * 60_000, expiresAt);
    const stream = await follow(t, gateway(), url);
    await stream.next('progress');
    upstream.run('a', state('completed'));
    await stream.next('complete');
    await assertEnded(stream);
  });

  it('goes upstream as the key did, and costs nothing when it is used at once', async (t) => {
    const { upstream } = gateway();
    upstream.run('same', state('completed'));
    const bearer = { authorization: `Bearer ${KEY}` };
    const answer = await gateway().call('POST', '/v1/runs/same/ticket', bearer, '{}');
    const { data } = JSON.parse(answer.text) as { data: Issued };
    await (await follow(t, gateway(), data.url)).next('complete');
    const asked = upstream.requests.filter(({ runId }) => runId === 'same');
    assert.deepEqual(asked.map(({ headerForm, path }) => [headerForm, path]),
      [['authorization', '/v1/runs/same']]);
  });

  it('comes back with its id after a cut, and is not sent what it has', async (t) => {
    gateway().upstream.run('back', state('running'));
    const { url } = await issue(gateway(), 'back');
    const first = await follow(t, gateway(), url);
    const { id } = await first.next('progress');
    first.destroy();
    const again = await follow(t, gateway(), url, { 'last-event-id': String(id) });
    assert.equal((await again.next(() => true)).event, 'ping');
    gateway().upstream.run('back', state('completed'));
    const end = await again.next('complete');
    const over = await gateway().call('GET', `${url}&lastEventId=${end.id}`);
    assert.equal(over.status, 204);
  });

  it('is good for one look and for a wait', async () => {
    gateway().upstream.run('look', state('completed'));
    const { ticket } = await issue(gateway(), 'look');
    for (const path of ['/v1/runs/look', '/v1/runs/look/wait']) {
      const answer = await gateway().call('GET', `${path}?ticket=${ticket}`);
      assert.equal(answer.status, 200, path);
      assert.match(answer.text, /"status":"completed"/);
    }
  });

  it('is refused for another run, for another ticket, changed, or beside a key', async () => {
    const { upstream } = gateway();
    for (const runId of ['mine', 'other']) upstream.run(runId, state('running'));
    const { ticket } = await issue(gateway(), 'mine');
    const before = upstream.count();
    const changed = (ticket.startsWith('A') ? 'B' : 'A') + ticket.slice(1);
    for (const [path, headers] of [
      [`other/stream?ticket=${ticket}`], [`other?ticket=${ticket}`],
      [`other/wait?ticket=${ticket}`], [`mine/stream?ticket=${changed}`],
      ['mine/stream?ticket='], ['mine/stream?ticket=lma_a'],
      [`mine/stream?ticket=${ticket}&ticket=${ticket}`],
      [`mine/stream?ticket=${ticket}`, { 'x-api-key': KEY }],
      [`mine/stream?ticket=${ticket}`, { authorization: `Bearer ${KEY}` }],
    ] as const) {
      const answer = await gateway().call('GET', `/v1/runs/${path}`, headers);
      assert.equal(codeOf(answer), '401 TICKET_INVALID', path);
      assert.doesNotMatch(answer.text, /lma_/);
      assert.ok(!answer.text.includes(ticket));
    }
    for (const [method, path] of [
      ['POST', 'mine/ticket'], ['PUT', 'mine'], ['POST', 'other/ticket'],
    ] as const) {
      const answer = await gateway().call(method, `/v1/runs/${path}?ticket=${ticket}`);
      assert.ok(['401 AUTH_MISSING_KEY', '405 METHOD_NOT_ALLOWED'].includes(codeOf(answer)), path);
    }
    for (const where of ['x-api-key', 'authorization']) {
      const headers = { [where]: where === 'x-api-key' ? ticket : `Bearer ${ticket}` };
      const answer = await gateway().call('GET', '/v1/runs/mine', headers);
      assert.equal(codeOf(answer), '401 AUTH_INVALID_KEY', where);
    }
    assert.equal(upstream.count(), before, 'none of it reached upstream');
  });

  it('is one for each of several runs, in their order', async (t) => {
    const { upstream } = gateway();
    for (const runId of ['m1', 'm2']) upstream.run(runId, state('running'));
    const [one, two] = [await issue(gateway(), 'm1'), await issue(gateway(), 'm2', 'lma_b')];
    const path = '/v1/runs/stream?runId=m1&runId=m2';
    const stream = await follow(t, gateway(),
      `${path}&ticket=${one.ticket}&ticket=${two.ticket}`);
    for (const runId of ['m1', 'm2']) {
      assert.match((await stream.next(({ data }) => data.includes(runId))).data, /"running"/);
    }
    stream.destroy();
    for (const tickets of [[two, one], [one], [one, two, two]]) {
      const query = tickets.map(({ ticket }) => `&ticket=${ticket}`).join('');
      assert.equal(codeOf(await gateway().call('GET', path + query)), '401 TICKET_INVALID');
    }
  });

  it('that is none is a no to its run, and the others go on', async (t) => {
    const { upstream } = gateway();
    for (const runId of ['g1', 'g2']) upstream.run(runId, state('running'));
    const { ticket } = await issue(gateway(), 'g1');
    const path = `/v1/runs/stream?runId=g1&runId=g2&ticket=${ticket}&ticket=${ticket}`;
    const stream = await follow(t, gateway(), path);
    const told = JSON.parse((await stream.next('error')).data) as Record<string, unknown>;
    assert.deepEqual([told['runId'], told['code'], told['retryable']],
      ['g2', 'TICKET_INVALID', false]);
    upstream.run('g1', state('completed'));
    await stream.next('complete');
    assert.equal(upstream.count('g2'), 0);
  });

  it('is refused to an EventSource with a status, which stops it', async (t) => {
    const stream = await follow(t, gateway(), '/v1/runs/mine/stream?ticket=stale');
    assert.equal(stream.response.status, 401);
  });

  it('passes beside credentials that are for somebody on the way', async () => {
    gateway().upstream.run('proxied', state('completed'));
    const { ticket } = await issue(gateway(), 'proxied');
    for (const authorization of ['Basic bG1hX2E6', 'Bearer of-a-proxy']) {
      const path = `/v1/runs/proxied?ticket=${ticket}`;
      assert.equal((await gateway().call('GET', path, { authorization })).status, 200);
    }
  });

  it('is issued only to a key that upstream shows the run to', async () => {
    const no = refused(403, 'FORBIDDEN');
    gateway().upstream.run('theirs', perKey({ lma_b: state('running') }, no));
    const ask = (headers: Record<string, string>): Promise<Answered> =>
      gateway().call('POST', '/v1/runs/theirs/ticket', headers);
    assert.equal(codeOf(await ask({ 'x-api-key': KEY })), '403 FORBIDDEN');
    assert.equal(codeOf(await ask({})), '401 AUTH_MISSING_KEY');
    assert.equal(codeOf(await ask({ 'x-api-key': 'nope' })), '401 AUTH_INVALID_KEY');
    assert.equal((await ask({ 'x-api-key': 'lma_b' })).status, 200);
  });

  it('does not keep a stream that upstream now refuses the key of', async (t) => {
    gateway().upstream.run('lost', state('running'));
    const { url } = await issue(gateway(), 'lost');
    const stream = await follow(t, gateway(), url);
    await stream.next('progress');
    gateway().upstream.run('lost', refused(401, 'AUTH_INVALID_KEY'));
    assert.match((await stream.next('error')).data, /"code":"AUTH_INVALID_KEY"/);
    await assertEnded(stream);
  });

  it('opens at every replica with the same secret, and at no other', async (t) => {
    const { upstream } = gateway();
    upstream.run('replica', state('completed'));
    const { ticket } = await issue(gateway(), 'replica');
    const path = `/v1/runs/replica?ticket=${ticket}`;
    const ticketSecrets = ['newer'.repeat(4), ...SECRETS];
    const twin = await gatewayFor(t, start, { upstream, ticketSecrets });
    assert.equal((await twin.call('GET', path)).status, 200);
    const stranger = await gatewayFor(t, start, { upstream });
    assert.equal(codeOf(await stranger.call('GET', path)), '401 TICKET_INVALID');
  });

  it('opens at every worker where no secret was given', async (t) => {
    const { upstream } = gateway();
    upstream.run('spread', state('completed'));
    const own = await gatewayFor(t, start, { upstream });
    const { ticket } = await issue(own, 'spread');
    // Each on a connection of its own: the odds that one worker takes all are 2^-20.
    for (let i = 0; i < 20; i++) {
      assert.equal((await own.call('GET', `/v1/runs/spread?ticket=${ticket}`)).status, 200);
    }
  });
}

/** At the most talkative level, over all that a user could collect. */
async function canaryTest(t: TestContext, workers: string): Promise<void> {
  const upstream = await startUpstream();
  t.after(() => upstream.close());
  const secret = 'canary-secret-of-tickets';
  const cli = startCli([
    'serve', '--port', '0', '--upstream', upstream.origin, '--workers', workers,
    '--poll-interval', '40ms', '--allow-origin', 'https://app.example',
    '--drain-timeout', '200ms', '--log-level', 'debug',
    '--ticket-secret', secret,
  ]);
  t.after(() => cli.stop());
  const [, url = ''] = await cli.stdoutLine(/ is at (http:\S+)\/ /, 60_000);
  const key = 'lma_canary';
  upstream.run('r', state('running'));
  const written: string[] = [];
  const ask = async (path: string, init: RequestInit = {}): Promise<string> => {
    const answer = await fetch(url + path, init);
    const text = await answer.text();
    written.push(text, JSON.stringify([...answer.headers]));
    return text;
  };
  const headers = { 'x-api-key': key };
  const issued = await fetch(`${url}/v1/runs/r/ticket`, { method: 'POST', headers });
  const { data: { ticket } } = await issued.json() as { data: Issued };
  const stream = await openStream(`${url}/v1/runs/r/stream?ticket=${ticket}`);
  t.after(() => stream.destroy());
  await stream.next('progress');
  for (const [path, init] of [
    [`/v1/runs/other/stream?ticket=${ticket}`], [`/v1/runs/r/nope?ticket=${ticket}`],
    [`/v1/runs/r?ticket=${ticket}`, { headers }], [`/v1/runs/r?ticket=${ticket}x`],
    [`/v1/runs/a.b?ticket=${ticket}`], [`/v1/runs/r?ticket=${ticket}`, { method: 'DELETE' }],
    [`/v1/runs/r?ticket=${ticket}`, { headers: { 'if-none-match': ticket } }],
  ] as const) await ask(path, init);
  upstream.run('r', refused(500, 'INTERNAL', `no: ${'x'.repeat(20)}`));
  upstream.run('gone', refused(403, 'FORBIDDEN'));
  await ask('/v1/runs/gone', { headers });
  upstream.run('r', state('failed', { error: 'boom' }));
  await stream.next('error');
  await stream.ended;
  written.push(stream.raw.toString());
  for (const path of ['/metrics', '/healthz', '/readyz']) await ask(path);
  assert.equal((await within(20_000, 'the end', cli.stop(10_000))).code, 0);
  const all = [cli.stdout, cli.stderr, ...written].join('\n');
  assert.match(cli.stderr, /"listening"/);
  for (const word of [key, ticket, secret]) assert.ok(!all.includes(word), `${word} in ${all}`);
}

describe('a ticket', () => {
  for (const [name, start] of STARTERS) describe(`over ${name}`, () => useTests(start));
});

describe('neither keys nor tickets nor their secret are written anywhere', () => {
  for (const workers of ['1', '2']) it(`with --workers ${workers}`, (t) => canaryTest(t, workers));
});
