/**
 * A server of event streams that does what a test says, one answer a request: bytes as they are,
 * cut where the test wants it. It remembers what it was asked.
 */

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { resetNow } from './upstream.ts';

export type Reply = (response: ServerResponse, request: IncomingMessage) => void;

export const STREAM = { 'content-type': 'text/event-stream', 'x-request-id': 'r-1' };

/** A stream of these bytes that ends as it should. */
export const stream = (bytes: string | Buffer, headers: object = {}): Reply => (response) =>
  void response.writeHead(200, { ...STREAM, ...headers }).end(bytes);

/** A stream of these bytes that is reset once they have left. */
export const cut = (bytes: string | Buffer): Reply => (response) => {
  response.writeHead(200, STREAM).flushHeaders();
  if (bytes.length === 0) response.socket?.destroySoon();
  else response.write(bytes, () => response.socket?.destroySoon());
};

/** A stream of these bytes after which nothing comes. */
export const stall = (bytes: string): Reply => (response) =>
  void response.writeHead(200, STREAM).write(bytes);

export const refusal = (status: number, body: object | string, headers: object = {}): Reply =>
  (response) => void response.writeHead(status, { ...headers })
    .end(typeof body === 'string' ? body : JSON.stringify(body));

export const reset: Reply = (response) => resetNow(response.socket);

export interface Scripted {
  readonly origin: string;
  /** The run `r`'s stream. */
  readonly url: string;
  readonly asked: readonly IncomingMessage[];
  /** Connections whose answer is not over. */
  open(): number;
}

/** The last reply counts for all further requests. */
export async function scripted(t: TestContext, ...replies: Reply[]): Promise<Scripted> {
  const asked: IncomingMessage[] = [];
  let open = 0;
  const server = createServer((request, response) => {
    const reply = replies[Math.min(asked.length, replies.length - 1)];
    asked.push(request);
    open++;
    response.on('close', () => open--);
    reply?.(response, request);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { origin, url: `${origin}/v1/runs/r/stream`, asked, open: () => open };
}

/** An event's bytes. */
export function event(type: string, id: string, data: unknown, retryMs?: number): string {
  const retry = retryMs === undefined ? '' : `retry: ${retryMs}\n`;
  const text = typeof data === 'string' ? data : JSON.stringify(data);
  return `${retry}event: ${type}\nid: ${id}\ndata: ${text}\n\n`;
}
