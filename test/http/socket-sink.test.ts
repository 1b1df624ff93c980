/**
 * A sink over real sockets: what reaches a reader that is slow, late or gone, and what becomes of
 * descriptors. A piece too large for the kernel's buffers is what makes a reader behind.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { gunzipSync } from 'node:zlib';

import { Piece } from '../../src/core/piece.ts';
import { SendQueues } from '../../src/http/send-queues.ts';
import { SocketSink } from '../../src/http/socket-sink.ts';
import type { Framing } from '../../src/http/socket-sink.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { until, within } from '../support/wait.ts';

const HUGE = 'x'.repeat(8_000_000);
const piece = (text: string): Piece => new Piece(text);

/** Both ends of a connection, with a sink over the server's. */
class Line {
  readonly client: Socket;
  readonly socket: Socket;
  readonly sink: SocketSink;
  readonly told: string[] = [];
  readonly sent = { events: 0, identity: 0, gzip: 0 };

  constructor(client: Socket, socket: Socket, framing: Framing) {
    this.client = client;
    this.socket = socket;
    const queues = new SendQueues(new FakeClock());
    socket.cork(); // as behind a head
    this.sink = new SocketSink({ socket, response: undefined, framing, queues, sent: this.sent });
    this.sink.listen({
      onDrain: () => this.told.push('drain'),
      onProgress: () => undefined,
      onClose: () => this.told.push('close'),
    });
    this.sink.write(piece('first '));
    socket.uncork();
  }

  static async open(t: TestContext, framing: Framing = 'plain'): Promise<Line> {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
    client.on('error', () => undefined);
    const [socket] = await once(server, 'connection') as [Socket];
    t.after(() => {
      client.destroy();
      socket.destroy();
      server.close();
    });
    return new Line(client, socket, framing);
  }

  /** All that the client gets until the end. */
  async received(): Promise<Buffer> {
    return within(5_000, 'the end of a stream', buffer(this.client));
  }

  async until(word: string): Promise<void> {
    await until(word, () => this.told.includes(word));
  }
}

describe('a sink over a socket', () => {
  it('writes pieces in order, whole, also behind one that the kernel takes in parts', async (t) => {
    const line = await Line.open(t);
    await until('the first is taken', () => line.socket.writableLength === 0);
    assert.equal(line.sink.write(piece('second ')), true);
    assert.equal(line.sink.write(piece(HUGE)), false, 'more than fits');
    assert.equal(line.sink.write(piece(' last')), false, 'behind it');
    const received = line.received();
    await line.until('drain');
    line.sink.end();
    assert.equal((await received).toString(), `first second ${HUGE} last`);
    await line.until('close');
  });

  it('frames a body as HTTP/1.1 does, and as one gzip stream in that', async (t) => {
    const chunked = await Line.open(t, 'chunked');
    chunked.sink.write(piece('x'.repeat(16)));
    chunked.sink.end();
    assert.equal((await chunked.received()).toString(),
      `6\r\nfirst \r\n10\r\n${'x'.repeat(16)}\r\n0\r\n\r\n`);

    const gzip = await Line.open(t, 'gzip');
    gzip.sink.write(piece('y'.repeat(5_000)));
    gzip.sink.end();
    const parts: Buffer[] = [];
    let rest = await gzip.received();
    for (;;) {
      const lineEnd = rest.indexOf('\r\n');
      const size = parseInt(rest.toString('latin1', 0, lineEnd), 16);
      if (size === 0) break;
      parts.push(rest.subarray(lineEnd + 2, lineEnd + 2 + size));
      rest = rest.subarray(lineEnd + 4 + size);
    }
    assert.equal(gunzipSync(Buffer.concat(parts)).toString(), `first ${'y'.repeat(5_000)}`);
  });

  it('counts events as they are and as they are sent', async (t) => {
    const text = 'z'.repeat(1_000);
    const sizes = { plain: 1_006, chunked: 3 + 6 + 2 + 5 + 1_000 + 2 };
    for (const framing of ['plain', 'chunked'] as const) {
      const { sink, sent } = await Line.open(t, framing);
      sink.write(piece(text));
      assert.deepEqual(sent, { events: 1_006, identity: sizes[framing], gzip: 0 });
    }
    const { sink, sent } = await Line.open(t, 'gzip');
    sink.write(piece(text));
    assert.deepEqual([sent.events, sent.identity], [1_006, 0]);
    assert.ok(sent.gzip > 20 && sent.gzip < 100, `${sent.gzip} bytes`);
  });

  it('takes a client that says more, or that it is done, for gone', async (t) => {
    for (const leave of [(client: Socket) => client.write('x'), (client: Socket) => client.end()]) {
      const line = await Line.open(t);
      line.client.resume();
      leave(line.client);
      await line.until('close');
    }
  });
});

describe('a sink that is cut', () => {
  it('while its reader is behind resets the connection: nothing of it stays', async (t) => {
    const line = await Line.open(t);
    await until('the first is taken', () => line.socket.writableLength === 0);
    line.sink.write(piece(HUGE));
    const failed = once(line.client, 'error');
    line.client.pause();
    line.sink.destroy();
    await line.until('close');
    line.client.resume();
    const [error] = await within(2_000, 'a reset', failed) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
  });

  it('closes in every state: open, ended, ended behind a reader, twice', async (t) => {
    const ways: readonly ((sink: SocketSink) => void)[] = [
      () => undefined,
      (sink) => sink.end(),
      (sink) => void sink.write(piece(HUGE)),
      (sink) => {
        sink.write(piece(HUGE));
        sink.end();
      },
      (sink) => sink.destroy(),
    ];
    for (const [i, way] of ways.entries()) {
      const line = await Line.open(t);
      await until('the first is taken', () => line.socket.writableLength === 0);
      way(line.sink);
      line.sink.destroy();
      await line.until('close');
      assert.equal(line.told.filter((word) => word === 'close').length, 1, `way ${i}`);
    }
  });

  it('writes nothing into a connection that has its descriptor next', async (t) => {
    const lines = await Promise.all(Array.from({ length: 8 }, () => Line.open(t)));
    for (const line of lines) {
      await until('the first is taken', () => line.socket.writableLength === 0);
      line.socket.destroy();
    }
    // Descriptors are given out again from the lowest on.
    const heirs = await Promise.all(Array.from({ length: 16 }, () => Line.open(t)));
    for (const { sink } of lines) sink.write(piece('of another client'));
    for (const heir of heirs) {
      const received = heir.received();
      heir.sink.end();
      assert.equal((await received).toString(), 'first ');
    }
  });
});
