/**
 * What the configurations of `test/fleet` do with single requests, as the real HAProxy, nginx and
 * Caddy read them, in front of servers that answer, hang or die as they are told: where a run
 * goes however it is spelled, what is sent twice, and how long anybody waits.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, request } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';

import { BALANCERS, startBalancer } from '../support/balancers.ts';
import type { Balancer } from '../support/balancers.ts';
import { without } from '../support/programs.ts';
import { openStream } from '../support/sse-client.ts';
import { within } from '../support/wait.ts';

const MS = 60_000;
/** The times without a byte in the files, 30 s and 45 s, are made so much shorter. */
const SHORTER = 15;
const SILENCE_MS = 30_000 / SHORTER;
/** As many that a hash which ignores the run is right about all of them once in 3^11 times. */
const RUNS = Array.from({ length: 12 }, (_, i) => `run-${i}`);

type Mood = 'answers' | 'hangs' | 'hangs up';

/** Says which of them it is, and remembers what came. Its probes are good whatever its mood. */
class Replica {
  mood: Mood = 'answers';
  readonly seen: string[] = [];
  readonly #server: Server;
  readonly #index: number;

  constructor(index: number) {
    this.#index = index;
    this.#server = createServer((req, res) => void this.#onRequest(req, res));
  }

  async listen(): Promise<number> {
    await once(this.#server.listen(0, '127.0.0.1'), 'listening');
    return (this.#server.address() as AddressInfo).port;
  }

  /** Dead from now on. */
  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #onRequest(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { url = '', method = '' } = req;
    if (url === '/readyz') return void res.end();
    const body = await buffer(req).catch(() => Buffer.alloc(0));
    this.seen.push(method);
    if (this.mood === 'hangs') return;
    if (this.mood === 'hangs up') return void req.socket.destroy();
    res.setHeader('x-replica', this.#index);
    if (url.endsWith('/wait')) return void setTimeout(() => res.end('late'), 1.5 * SILENCE_MS);
    if (!url.endsWith('/stream')) return void res.end(`${body.length}`);
    // Longer than a replica may be silent, but never silent.
    res.writeHead(200, { 'content-type': 'text/event-stream' });
    const send = (left: number): void => {
      res.write('event: ping\nid: a\ndata: 1\n\n');
      if (left === 0) res.end();
      else setTimeout(send, SILENCE_MS / 4, left - 1);
    };
    send(6);
  }
}

interface Fleet {
  readonly origin: string;
  readonly replicas: readonly Replica[];
}

async function fleet(t: TestContext, balancer: Balancer): Promise<Fleet> {
  const replicas = [0, 1, 2].map((index) => new Replica(index));
  const ports = await Promise.all(replicas.map((each) => each.listen()));
  t.after(() => replicas.forEach((each) => each.close()));
  const origin = await startBalancer(t, balancer, ports, (text) => {
    assert.match(text, /\b30s\b/, 'it says how long a replica may be silent');
    return text.replaceAll(/\b(30|45)s\b/g, (time) => `${parseInt(time, 10) / SHORTER}s`);
  });
  return { origin, replicas };
}

interface Answered {
  readonly status: number;
  readonly replica: string | undefined;
  readonly text: string;
}

/** The target goes out as it is spelled here. */
async function ask(origin: string, path: string, method = 'GET', body = ''): Promise<Answered> {
  const { hostname, port } = new URL(origin);
  const req = request({ hostname, port, path, method, agent: false });
  req.end(body);
  const [res] = await within(MS, `${method} ${path}`, once(req, 'response')) as [IncomingMessage];
  const replica = res.headers['x-replica']?.toString();
  return { status: res.statusCode ?? 0, replica, text: (await buffer(res)).toString() };
}

const escaped = (runId: string): string => runId.replaceAll('-', '%2d');

function balancerTests(name: string, balancer: Balancer): void {
  it('sends all that is asked of a run to one replica, however it is spelled', async (t) => {
    const { origin } = await fleet(t, balancer);
    const seen = new Set<string | undefined>();
    for (const [i, runId] of RUNS.entries()) {
      const { replica } = await ask(origin, `/v1/runs/${runId}`);
      seen.add(replica);
      const other = RUNS[(i + 1) % RUNS.length] ?? '';
      const paths = [
        `/v1/runs/${escaped(runId)}`, `/v1/runs/${runId}?runId=${other}`,
        `/v1/runs/stream?runId=${runId}`, `/v1/runs/stream?runId=${runId}&runId=${other}`,
        `/v1/runs/stream?ticket=a&runId=${runId}&runId=${other}&x=1`,
        // It has nothing that decodes a query.
        ...(name === 'nginx' ? [] : [`/v1/runs/stream?runId=${escaped(runId)}&runId=${other}`]),
      ];
      for (const path of paths) assert.equal((await ask(origin, path)).replica, replica, path);
    }
    assert.ok(seen.size > 1, 'runs are spread');
  });

  it('sends nothing twice that changes something, when a replica dies of it', async (t) => {
    for (const method of ['PUT', 'DELETE', 'POST', 'PATCH']) {
      const { origin, replicas } = await fleet(t, balancer);
      for (const each of replicas) each.mood = 'hangs up';
      const { status } = await ask(origin, '/v1/runs/a', method, method === 'DELETE' ? '' : 'x');
      assert.ok(status >= 502 && status <= 504, `${method}: ${status}`);
      assert.deepEqual(replicas.flatMap(({ seen }) => seen), [method]);
    }
  });

  it('asks the next replica where one hangs, and cuts nothing that lives', async (t) => {
    const { origin, replicas } = await fleet(t, balancer);
    const [runId = ''] = RUNS;
    const path = `${origin}/v1/runs/${runId}/stream`;
    const wait = ask(origin, `/v1/runs/${runId}/wait`);
    const stream = await openStream(path);
    assert.equal(await stream.ended, 'end');
    assert.equal(stream.events.length, 7, 'longer than it may be silent');
    assert.equal((await wait).text, 'late');

    const home = replicas[Number(stream.response.headers['x-replica'])] ?? assert.fail();
    home.mood = 'hangs';
    const moved = await openStream(path);
    assert.equal(moved.response.status, 200);
    assert.notEqual(moved.response.headers['x-replica'], stream.response.headers['x-replica']);
    await moved.next('ping');
    moved.destroy();
  });

  it('tells an EventSource to come back where all hang', async (t) => {
    const { origin, replicas } = await fleet(t, balancer);
    for (const each of replicas) each.mood = 'hangs';
    await assertToldToComeBack(origin);
  });

  it('tells an EventSource to come back where all have just died', async (t) => {
    const { origin, replicas } = await fleet(t, balancer);
    for (const each of replicas) each.close();
    await assertToldToComeBack(origin);
  });

  it('passes bodies on that the gateway may take', async (t) => {
    const { origin } = await fleet(t, balancer);
    for (const [method, path] of [['PUT', '/v1/runs/a'], ['POST', '/v1/webhooks/runs']] as const) {
      const body = 'x'.repeat(3 * 1024 * 1024);
      const { status, text } = await ask(origin, path, method, body);
      assert.deepEqual([status, text], [200, `${body.length}`], method);
    }
  });
}

/** By the first answer; whoever is no EventSource is told the truth. */
async function assertToldToComeBack(origin: string): Promise<void> {
  const path = '/v1/runs/a/stream';
  const [stream, other] = await Promise.all([
    openStream(`${origin}${path}`, { headers: { 'last-event-id': 'an-id' } }),
    ask(origin, path),
  ]);
  assert.equal(stream.response.status, 200);
  assert.match(stream.response.headers['content-type'] ?? '', /^text\/event-stream/);
  const { id, retry = 0 } = await stream.next('ping');
  assert.equal(id, 'an-id');
  assert.ok(retry >= 2_000 && retry <= 5_000, `retry: ${retry}`);
  assert.deepEqual([await stream.ended, stream.events.length], ['end', 1]);
  assert.ok(other.status === 503 || other.status === 504 || other.status === 502);
}

describe('the balancers of a fleet', { concurrency: 2 }, () => {
  for (const [name, balancer] of Object.entries(BALANCERS)) {
    const skip = without([balancer.program], balancer.program);
    describe(name, { skip, timeout: 4 * MS }, () => balancerTests(name, balancer));
  }
});
