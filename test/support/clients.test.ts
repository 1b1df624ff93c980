/** The clients of the other tests, and the command line's starter, held against real sockets. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { pathToFileURL } from 'node:url';
import { startNode } from './cli.ts';
import { publicClients } from './public-clients.ts';
import type { ClientName } from './public-clients.ts';
import { openRaw, openStream, rawRequest } from './sse-client.ts';
import { endless, raw, resetNow, startUpstream } from './upstream.ts';
import { until, within } from './wait.ts';

const KEY = { 'x-api-key': 'lma_a' };
const HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n';

/** A peer that does with each socket what the test says; gives its port. */
async function peer(t: TestContext, onSocket: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    t.after(() => socket.destroy());
    onSocket(socket);
  });
  t.after(() => server.close());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** True once `read` has given the same value for 150 ms: the only way to see that nothing moves. */
function steady(read: () => number): () => boolean {
  let last = -1;
  let since = 0;
  return () => {
    if (read() !== last) [last, since] = [read(), performance.now()];
    return performance.now() - since > 150;
  };
}

describe('event stream client', () => {
  test('hands out events in order and says how the stream ended', async (t) => {
    const body = 'id: 1\nevent: a\ndata: 1\n\nid: 2\nevent: b\ndata: 2\n\n';
    const chunk = `${body.length.toString(16)}\r\n${body}\r\n`;
    const ends = { end: '0\r\n\r\n', aborted: '', error: 'no chunk\r\n' } as const;
    for (const end of ['end', 'aborted', 'error'] as const) {
      const port = await peer(t, (socket) => {
        socket.end(`${HEAD}transfer-encoding: chunked\r\n\r\n${chunk}${ends[end]}`);
      });
      const stream = await openStream(`http://127.0.0.1:${port}/`);
      assert.equal((await stream.next('b')).data, '2');
      await assert.rejects(stream.next('a', 60_000), /after \[a, b\]/);
      assert.deepEqual([await stream.ended, stream.endedCleanly], [end, end === 'end']);
      assert.equal(stream.raw.toString(), body);
      assert.equal(stream.response.headers['content-type'], 'text/event-stream');
    }
  });

  test('a late next takes no event away from the one after it', async (t) => {
    let write = (_text: string): void => undefined;
    const port = await peer(t, (socket) => {
      socket.write(`${HEAD}\r\n`);
      write = (text) => socket.write(text);
    });
    const stream = await openStream(`http://127.0.0.1:${port}/`, { localAddress: '127.0.0.1' });
    await assert.rejects(stream.next('a', 1), /event a: not within 1 ms/);
    write('event: a\ndata: 1\n\n');
    assert.equal((await stream.next((event) => event.data === '1')).event, 'a');
    stream.destroy();
    assert.equal(await stream.ended, 'aborted');
  });

  test('a paused one makes the sender wait, and loses nothing', async (t) => {
    let sender: Socket | undefined;
    const port = await peer(t, (socket) => {
      sender = socket;
      const pump = (): void => {
        while (socket.writable && socket.write(Buffer.alloc(65_536, 'a')));
      };
      socket.on('drain', pump).write(`${HEAD}\r\n`);
      pump();
    });
    const stream = await openStream(`http://127.0.0.1:${port}/`);
    await until('a flow', () => stream.rawBytes > 1_000_000);
    stream.pause();
    const written = (): number => sender?.bytesWritten ?? 0;
    await until('a sender at a stand', steady(written));
    const stoodAt = written();
    assert.ok(sender !== undefined && sender.writableLength > 0);
    stream.resume();
    await until('all that was held back', () => stream.rawBytes >= stoodAt - 1_000);
    stream.destroy();
  });

  test('an answer without end goes on until its reader leaves', async (t) => {
    const upstream = await startUpstream();
    t.after(() => upstream.close());
    upstream.run('r1', endless());
    const stream = await openStream(`${upstream.origin}/v1/runs/r1`, { headers: KEY });
    await until('more than any cap', () => stream.rawBytes > 8 * 2 ** 20);
    stream.destroy();
    await until('nothing in flight', () => upstream.inFlight === 0);
  });
});

describe('raw client', () => {
  test('tells FIN, RST, silence and refusal apart', async (t) => {
    const port = await peer(t, (socket) => {
      socket.on('data', (data) => {
        if (String(data) === 'fin') socket.end('bye');
        if (String(data) === 'rst') resetNow(socket);
      });
      socket.on('end', () => socket.end('heard your end'));
    });
    const ask = async (bytes: string, options = {}): Promise<string[]> => {
      const { received, closed } = await rawRequest(port, bytes, options);
      return [closed, received.toString()];
    };
    assert.deepEqual(await ask('fin'), ['fin', 'bye']);
    assert.deepEqual(await ask('rst'), ['reset', '']);
    assert.deepEqual(await ask('quiet', { ms: 20 }), ['open', '']);
    assert.deepEqual(await ask('half', { halfClose: true }), ['fin', 'heard your end']);
    const gone = await peer(t, () => undefined);
    const { socket, closed, until: seen } = openRaw(gone, 'x');
    const hope = seen('never');
    socket.destroy();
    await assert.rejects(hope, /local after/);
    assert.equal(await closed, 'local');
    const nobody = createServer().listen(0, '127.0.0.1');
    await once(nobody, 'listening');
    const { port: free } = nobody.address() as AddressInfo;
    await once(nobody.close(), 'close');
    assert.equal((await rawRequest(free, 'x')).closed, 'refused');
  });

  test('waits for text across packets', async (t) => {
    const port = await peer(t, (socket) => {
      socket.write('one t');
      socket.on('data', () => socket.write('wo'));
    });
    const live = openRaw(port, '');
    t.after(() => live.socket.destroy());
    await live.until('one t');
    live.socket.write('go on');
    assert.equal(await live.until(/two$/), 'one two');
  });
});

test('a child process: its lines, its environment, its end, from any folder', async (t) => {
  const cwd = await mkdtemp(join(tmpdir(), 'runcast-cli-'));
  t.after(() => rm(cwd, { recursive: true }));
  const script = pathToFileURL(join(cwd, 'script.mjs'));
  await writeFile(script, `
    const { RUNCAST_PORT, RUNCAST_HOST } = process.env;
    process.on('SIGTERM', () => console.error('not now'));
    process.on('SIGINT', () => process.exit(3));
    setInterval(() => undefined, 1_000);
    console.log(JSON.stringify([process.argv.slice(2), RUNCAST_PORT, RUNCAST_HOST]));
  `);
  process.env['RUNCAST_HOST'] = 'from outside';
  t.after(() => delete process.env['RUNCAST_HOST']);
  const start = () => startNode(script, ['--a', 'b'], { cwd, env: { RUNCAST_PORT: '1' } });
  const polite = start();
  const line = await polite.stdoutLine(/^\[(.*)\]$/);
  assert.equal(line[0], '[["--a","b"],"1",null]');
  polite.kill('SIGINT');
  assert.deepEqual(await polite.exited, { code: 3, signal: null });
  await assert.rejects(polite.stdoutLine(/never/, 60_000), /no line matched.*\n.*ended/);
  const stubborn = start();
  await stubborn.stdoutLine(/./);
  assert.deepEqual(await stubborn.stop(50), { code: null, signal: 'SIGKILL' });
  assert.match(stubborn.stderr, /not now/);
});

type Source = new (url: string, options: object) => EventTarget & { close(): void };
interface Module {
  readonly default: Source;
  readonly EventSource: Source;
  readonly createEventSource: (options: object) =>
    AsyncIterable<{ data: string }> & { close(): void };
  readonly Agent: new () => { compose(interceptor: Interceptor): unknown };
}
type Dispatch = (options: { headers: object }, handler: unknown) => unknown;
type Interceptor = (dispatch: Dispatch) => Dispatch;

test('public clients import and carry a key', { timeout: 180_000 }, async (t) => {
  const clients = await publicClients();
  if (clients === undefined) return t.skip('no registry');
  const upstream = await startUpstream();
  t.after(() => upstream.close());
  const headers = { 'content-type': 'text/event-stream' };
  upstream.run('r1', raw('id: 1\nevent: progress\ndata: hello\n\n', { headers }));
  const url = `${upstream.origin}/v1/runs/r1`;
  const load = async (name: ClientName) => await import(clients.resolve(name)) as Module;
  const first = (source: EventTarget & { close(): void }) => new Promise<string>((resolve) => {
    source.addEventListener('progress', (event) => {
      source.close();
      resolve((event as Event & { data: string }).data);
    });
  });
  const withKey: typeof fetch = (input, init) =>
    fetch(input, { ...init, headers: { ...init?.headers as object, ...KEY } });
  const { Agent, EventSource } = await load('undici');
  const dispatcher = new Agent().compose((dispatch) => (options, handler) =>
    dispatch({ ...options, headers: { ...options.headers, ...KEY } }, handler));
  const answers = [
    first(new (await load('eventsource2')).default(url, { headers: KEY })),
    first(new (await load('eventsource5')).EventSource(url, { fetch: withKey })),
    first(new EventSource(url, { node: { dispatcher } })),
    (async () => {
      const { createEventSource } = await load('eventsource-client');
      const source = createEventSource({ url, headers: KEY });
      for await (const { data } of source) {
        // Leaving the loop is not enough: it would reconnect for ever.
        source.close();
        return data;
      }
      return '';
    })(),
  ];
  const all = await within(10_000, 'an event for each client', Promise.all(answers));
  assert.deepEqual(all, Array(4).fill('hello'));
  assert.ok(upstream.requests.every(({ key }) => key === KEY['x-api-key']));
});
