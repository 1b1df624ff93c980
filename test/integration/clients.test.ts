/**
 * EventSource implementations that nobody here wrote, as their users use them: each goes from the
 * first event to the end of the run and then rests, comes back to where it was after a cut, and
 * survives a refusal that passes. What reaches the gateway is counted on the wire, in front of it.
 * Beside them, because it takes as long: clients that connect and never get to a request.
 */

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { after, before, describe, it, mock } from 'node:test';
import type { TestContext } from 'node:test';
import { KEY, STARTERS, gatewayFor, useGateway } from '../support/gateway.ts';
import type { StartGateway, TestGateway } from '../support/gateway.ts';
import { CLIENT_NAMES, publicClients } from '../support/public-clients.ts';
import type { ClientName, PublicClients } from '../support/public-clients.ts';
import { openRaw } from '../support/sse-client.ts';
import { SseParser } from '../support/sse-parser.ts';
import { execution, refused, state } from '../support/upstream.ts';
import { until, within } from '../support/wait.ts';

const EVENTS = ['progress', 'complete', 'error', 'timeout', 'ping'];
const HEADERS = { 'x-api-key': KEY };
/** Longer than any `retry:` of a stream that is to come back, in polls of 100 ms. */
const REST_POLLS = 56;

/** A TCP relay in front of the gateway: it counts requests and can cut connections. */
class Wire {
  /** Heads as they came, in order. */
  readonly requests: string[] = [];
  readonly #sockets = new Map<Socket, { head: string }>();
  readonly #server = createServer((socket) => this.#onConnection(socket));
  readonly #port: number;

  constructor(port: number) {
    this.#port = port;
  }

  async listen(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  requestsFor(runId: string): string[] {
    return this.requests.filter((head) => head.includes(`/v1/runs/${runId}/stream`));
  }

  /** In the middle of whatever was going on. */
  cut(runId: string): void {
    for (const [socket, { head }] of this.#sockets) {
      if (head.includes(`/v1/runs/${runId}/`)) socket.destroy();
    }
  }

  close(): void {
    for (const socket of this.#sockets.keys()) socket.destroy();
    this.#server.close();
  }

  #onConnection(socket: Socket): void {
    const seen = { head: '' };
    const onward = connect(this.#port, '127.0.0.1');
    this.#sockets.set(socket, seen);
    socket.on('data', (data) => {
      const heads = String(data).split(/^(?=GET )/m).filter((text) => text.startsWith('GET '));
      this.requests.push(...heads);
      seen.head += String(data);
    });
    socket.pipe(onward).pipe(socket);
    for (const side of [socket, onward]) {
      side.on('error', () => undefined);
      side.on('close', () => {
        this.#sockets.delete(socket);
        socket.destroy();
        onward.destroy();
      });
    }
  }
}

interface Seen {
  readonly event: string;
  readonly data: string;
  readonly id: string;
}

interface Client {
  readonly seen: readonly Seen[];
  close(): void;
}

type Connect = (url: string) => Promise<Client>;

type Source = EventTarget & { close(): void };
type SourceClass = new (url: string, options: object) => Source;
type Dispatch = (options: { readonly headers: object }, handler: unknown) => unknown;
type Compose = (interceptor: (dispatch: Dispatch) => Dispatch) => unknown;
interface Modules {
  readonly 'eventsource2': { readonly default: SourceClass };
  readonly 'eventsource5': { readonly EventSource: SourceClass };
  readonly 'undici': {
    readonly EventSource: SourceClass;
    readonly Agent: new () => { readonly compose: Compose; destroy(): Promise<void> };
  };
  readonly 'eventsource-client': {
    readonly createEventSource: (options: object) => { close(): void };
  };
}

function listening(source: Source, onClose = (): void => undefined): Client {
  const seen: Seen[] = [];
  for (const name of EVENTS) {
    source.addEventListener(name, (event) => {
      const { data, lastEventId: id } = event as Event & { data?: string; lastEventId: string };
      // Without data an error event is the connection's and not the run's.
      if (data !== undefined) seen.push({ event: name, data, id });
    });
  }
  return {
    seen,
    close: () => {
      source.close();
      onClose();
    },
  };
}

function connectors(clients: PublicClients): Record<ClientName, Connect> {
  const load = async <N extends ClientName>(name: N): Promise<Modules[N]> =>
    await import(clients.resolve(name)) as Modules[N];
  const withKey: typeof fetch = (input, init) =>
    fetch(input, { ...init, headers: { ...init?.headers as object, ...HEADERS } });
  return {
    async 'eventsource2'(url) {
      const { default: EventSource } = await load('eventsource2');
      return listening(new EventSource(url, { headers: HEADERS }));
    },
    async 'eventsource5'(url) {
      const { EventSource } = await load('eventsource5');
      return listening(new EventSource(url, { fetch: withKey }));
    },
    async 'undici'(url) {
      const { EventSource, Agent } = await load('undici');
      const agent = new Agent();
      const dispatcher = agent.compose((dispatch) => (options, handler) =>
        dispatch({ ...options, headers: { ...options.headers, ...HEADERS } }, handler));
      const source = new EventSource(url, { node: { dispatcher } });
      return listening(source, () => void agent.destroy());
    },
    async 'eventsource-client'(url) {
      const { createEventSource } = await load('eventsource-client');
      const seen: Seen[] = [];
      const onMessage = ({ event = 'message', data = '', id = '' }: Partial<Seen>): void => {
        seen.push({ event, data, id });
      };
      const source = createEventSource({ url, headers: HEADERS, onMessage });
      return { seen, close: () => source.close() };
    },
  };
}

const eventsOf = ({ seen }: Client): string[] =>
  seen.map(({ event }) => event).filter((event) => event !== 'ping');

const untilSeen = (client: Client, event: string, ms = 12_000): Promise<void> =>
  until(event, () => client.seen.some((each) => each.event === event), ms);

/**
 * eventsource 2 and undici wait for their day-long `retry:` with a timer that nothing clears, not
 * even `close()`: without this it would be this process that stays for a day.
 */
function letLongTimersGo(): void {
  const { setTimeout: set } = globalThis;
  type Callback = (...args: unknown[]) => void;
  const patient = (fn: Callback, ms = 0, ...args: unknown[]): NodeJS.Timeout => {
    const timer = set(fn, ms, ...args);
    return ms > 3_600_000 ? timer.unref() : timer;
  };
  mock.method(globalThis, 'setTimeout', patient);
}

interface Scene {
  readonly gateway: TestGateway;
  readonly wire: Wire;
  readonly open: (runId: string, query?: string) => Promise<Client>;
}

type SceneFor = (t: TestContext) => Promise<Scene>;

function restTests(name: string, scene: SceneFor): void {
  for (const [status, event] of [['completed', 'complete'], ['failed', 'error']] as const) {
    it(`${name} goes from the first event to ${event}, and rests`, async (t) => {
      const { gateway: { upstream }, wire, open, gateway } = await scene(t);
      const runId = `${name}-${status}`;
      upstream.run(runId, state('running'));
      const client = await open(runId);
      await untilSeen(client, 'progress');
      await untilSeen(client, 'ping');
      upstream.run(runId, state(status));
      await untilSeen(client, event);
      assert.equal(client.seen.at(-1)?.data, JSON.stringify(execution(runId, status)));
      await gateway.ticks(REST_POLLS);
      assert.equal(wire.requestsFor(runId).length, 1);
      assert.deepEqual(eventsOf(client), ['progress', event]);
    });
  }

  it(`${name} stops for good when it has seen the end before`, async (t) => {
    const { gateway, wire, open } = await scene(t);
    const runId = `${name}-seen`;
    gateway.upstream.run(runId, state('completed'));
    const { id } = await (await gateway.join(runId)).next('complete');
    const client = await open(runId, `?lastEventId=${id}`);
    await gateway.ticks(REST_POLLS);
    assert.equal(wire.requestsFor(runId).length, 1);
    assert.deepEqual(client.seen, []);
  });
}

function returnTests(name: string, scene: SceneFor): void {
  it(`${name} comes back to where it was when it is cut off`, async (t) => {
    const { gateway: { upstream }, wire, open } = await scene(t);
    const runId = `${name}-cut`;
    upstream.run(runId, state('running'));
    const client = await open(runId);
    await untilSeen(client, 'progress');
    const [{ id = '' } = {}] = client.seen;
    wire.cut(runId);
    await until('a second request', () => wire.requestsFor(runId).length === 2, 12_000);
    const second = wire.requestsFor(runId)[1] ?? '';
    assert.match(second, new RegExp(`^last-event-id: ${id}\r$`, 'im'));
    upstream.run(runId, state('completed'));
    await untilSeen(client, 'complete');
    assert.deepEqual(eventsOf(client), ['progress', 'complete'], 'no state twice');
  });

  it(`${name} comes back after a refusal that passes`, async (t) => {
    const { gateway: { upstream }, wire, open } = await scene(t);
    const runId = `${name}-refused`;
    upstream.run(runId, refused(503, 'RESOURCE_UNAVAILABLE'));
    const client = await open(runId);
    await untilSeen(client, 'ping');
    upstream.run(runId, state('running'));
    await untilSeen(client, 'progress');
    assert.equal(wire.requestsFor(runId).length, 2, 'one refusal, one stream');
    upstream.run(runId, state('completed'));
    await untilSeen(client, 'complete');
    assert.deepEqual(eventsOf(client), ['progress', 'complete']);
  });
}

export function clientTests(start: StartGateway, clients: PublicClients): void {
  const gateway = useGateway(start, { pollIntervalMs: 100 });
  let wire: Wire | undefined;
  let origin = '';
  before(async () => {
    wire = new Wire(gateway().port);
    origin = await wire.listen();
  });
  after(() => wire?.close());
  const connectBy = connectors(clients);
  letLongTimersGo();
  for (const name of CLIENT_NAMES) {
    const scene: SceneFor = async (t) => {
      assert.ok(wire !== undefined);
      const open = async (runId: string, query = ''): Promise<Client> => {
        const client = await connectBy[name](`${origin}/v1/runs/${runId}/stream${query}`);
        t.after(() => client.close());
        return client;
      };
      return { gateway: gateway(), wire, open };
    };
    restTests(name, scene);
    returnTests(name, scene);
  }
}

/** As the README prints it. */
export function curlTests(start: StartGateway): void {
  const gateway = useGateway(start);

  it('curl -N shows each event as it comes and exits with the end', async (t) => {
    const { upstream } = gateway();
    upstream.run('curl', state('queued'));
    const child = spawn('curl', ['-sSN', '-H', `x-api-key: ${KEY}`, gateway().url('curl')]);
    t.after(() => child.kill());
    const parser = new SseParser();
    const seen: Seen[] = [];
    child.stdout.on('data', (bytes: Buffer) => seen.push(...parser.push(bytes)));
    const client: Client = { seen, close: () => child.kill() };
    await untilSeen(client, 'progress');
    await untilSeen(client, 'ping');
    upstream.run('curl', state('completed'));
    const [code] = await within(5_000, 'the end of curl', once(child, 'close')) as [number];
    assert.equal(code, 0);
    assert.deepEqual(eventsOf(client), ['progress', 'complete']);
  });
}

const HEAD = `GET /v1/runs/r1/stream HTTP/1.1\r\nhost: x\r\nx-api-key: ${KEY}\r\n`;

/** Connections that never get as far as a request: they take as long as the limits are. */
export function silenceTests(start: StartGateway): void {
  const gateway = useGateway(start);
  const silences: readonly (readonly [string, string])[] = [
    ['a connection that says nothing', ''],
    ['half a request line', 'GET /v1/ru'],
    ['half a head', HEAD],
  ];
  for (const [what, bytes] of silences) {
    it(`${what} is closed in time`, async () => {
      const client = openRaw(gateway().port, bytes);
      assert.notEqual(await within(20_000, 'a close', client.closed), 'local');
      assert.doesNotMatch(client.received().toString(), /^HTTP\/1\.1 (?!408)/);
      assert.equal(gateway().upstream.count(), 0);
    });
  }

  it('a head that comes a byte at a time is closed in time', async () => {
    const { port, upstream } = gateway();
    const client = openRaw(port, '');
    const bytes = `${HEAD}x-b: ${'x'.repeat(10_000)}`;
    let sent = 0;
    const timer = setInterval(() => client.socket.write(bytes.charAt(sent++)), 50);
    await within(20_000, 'a close', client.closed).finally(() => clearInterval(timer));
    assert.ok(sent < bytes.length);
    assert.equal(upstream.count(), 0);
  });

  it('a stream is not touched by the limits for heads', async (t) => {
    const own = await gatewayFor(t, start, { pingIntervalMs: 1_000 });
    own.upstream.run('long', state('running'));
    const stream = await own.join('long');
    for (let i = 0; i < 11; i++) await stream.next('ping');
    own.upstream.run('long', state('completed'));
    await stream.next('complete');
  });
}

function hasCurl(): boolean {
  try {
    return execFileSync('curl', ['--version']).length > 0;
  } catch {
    return false;
  }
}

const clients = await publicClients();
const noClients = clients === undefined && 'the npm registry is out of reach';
const noCurl = !hasCurl() && 'there is no curl here';

describe('clients', { concurrency: true }, () => {
  for (const [name, start] of STARTERS) {
    describe(`from npm over ${name}`, { skip: noClients }, () => {
      if (clients !== undefined) clientTests(start, clients);
    });
    describe(`from the system over ${name}`, { skip: noCurl }, () => curlTests(start));
    describe(`that never say what they want over ${name}`, () => silenceTests(start));
  }
});
