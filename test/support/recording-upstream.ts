/**
 * An upstream that is a bare TCP server: what reaches it is kept byte for byte, which no HTTP
 * library would show, and each connection is answered with the bytes that the test says.
 */

import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { until } from './wait.ts';

/** What to do with a connection on which a whole head has come. */
export type Act = (socket: Socket, head: string) => void;

export interface RecordingUpstream {
  readonly origin: string;
  /** All that came, by connection. */
  readonly received: string[];
  answer: string | Act;
  /** Connections that are open. */
  readonly open: () => number;
  /** The `n`th connection has sent something that `text` is in. */
  has(n: number, text: string): Promise<string>;
  close(): Promise<void>;
}

export const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';

export async function startRecording(): Promise<RecordingUpstream> {
  const received: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    const index = received.push('') - 1;
    let isAnswered = false;
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (bytes) => {
      const text = `${received[index] ?? ''}${bytes.toString('latin1')}`;
      received[index] = text;
      if (isAnswered || !text.includes('\r\n\r\n')) return;
      isAnswered = true;
      if (typeof upstream.answer === 'string') socket.write(upstream.answer, 'latin1');
      else upstream.answer(socket, text);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const upstream: RecordingUpstream = {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    answer: OK,
    open: () => sockets.size,
    async has(n, text) {
      await until(`${JSON.stringify(text)} at upstream`, () =>
        received[n]?.includes(text) === true, 20_000);
      return received[n] ?? '';
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
  return upstream;
}
