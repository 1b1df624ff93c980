/**
 * One origin with a page and a gateway behind it, for a browser that cannot send a key: the site
 * adds it. There are two, because a gateway in a host's server leaves its connections to
 * node:http, and one that listens itself takes them from there. Each remembers what was asked of
 * the gateway and how it was answered, and can cut what is under way.
 */

import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { createGateway } from '../../src/index.ts';
import type { Gateway, GatewayOptions } from '../../src/index.ts';
import { KEY } from '../support/gateway.ts';
import { resetNow, startUpstream } from '../support/upstream.ts';
import type { Upstream } from '../support/upstream.ts';
import { within } from '../support/wait.ts';

/** A request for `url`, and what came of it. Names of headers are in lower case. */
export interface Asked {
  readonly url: string;
  readonly headers: Readonly<Record<string, unknown>>;
  /** Undefined as long as there is no answer. */
  status: number | undefined;
  answer: Readonly<Record<string, unknown>>;
}

/** How a connection ends before its time; `half`: with the first half of what comes next. */
export type Cut = 'fin' | 'reset' | 'half';

/** Under way. */
interface Exchange {
  readonly asked: Asked;
  readonly socket: Socket;
  /** What is yet to be done to it. */
  cut: Cut | undefined;
}

export type StartSite = (html: string, options?: GatewayOptions) => Promise<Site>;

/** No ping comes to the help of an event that is stuck behind something. */
const QUIET = { pollIntervalMs: 40, pingIntervalMs: 60_000, drainTimeoutMs: 200, port: 0 };

const HEAD_END = '\r\n\r\n';
const HTML_TYPE = 'text/html; charset=utf-8';

export abstract class Site {
  /** Of the page, at `/`, and of the gateway. */
  origin = '';
  readonly upstream: Upstream;
  readonly gateway: Gateway;
  protected readonly html: string;
  readonly #exchanges: Exchange[] = [];
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;

  constructor(html: string, upstream: Upstream, options: GatewayOptions) {
    this.html = html;
    this.upstream = upstream;
    this.gateway = createGateway({ ...QUIET, ...options, upstream: upstream.origin });
  }

  /** For this run, in order. */
  asked(runId: string): Asked[] {
    return this.#of(runId).map(({ asked }) => asked);
  }

  /** The run's streams that are open; `half` only where bytes pass through the site. */
  cut(runId: string, how: Cut): void {
    for (const exchange of this.#of(runId)) {
      if (exchange.socket.destroyed) continue;
      exchange.cut = how;
      if (how === 'reset') resetNow(exchange.socket);
      else if (how === 'fin') exchange.socket.destroy();
    }
  }

  async close(): Promise<void> {
    this.#server?.close();
    for (const socket of this.#sockets) socket.destroy();
    await this.upstream.close();
    await within(10_000, 'the end of the gateway', this.gateway.close());
  }

  protected async listen(server: Server): Promise<void> {
    this.#server = server;
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    this.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  protected begin(url: string, headers: Asked['headers'], socket: Socket): Exchange {
    const asked: Asked = { url, headers: { ...headers }, status: undefined, answer: {} };
    const exchange = { asked, socket, cut: undefined };
    this.#exchanges.push(exchange);
    return exchange;
  }

  #of(runId: string): Exchange[] {
    return this.#exchanges.filter(({ asked }) => asked.url.includes(`/v1/runs/${runId}/`));
  }
}

/** The gateway's handler in a server of somebody else's. */
export const startMounted: StartSite = async (html, options = {}) => {
  const site = new MountedSite(html, await startUpstream(), options);
  await site.start();
  return site;
};

class MountedSite extends Site {
  start(): Promise<void> {
    return this.listen(createHttpServer((request, response) => {
      if (request.url?.startsWith('/v1/')) this.#onAsked(request.url, request, response);
      else response.writeHead(200, { 'content-type': HTML_TYPE }).end(this.html);
    }));
  }

  #onAsked(url: string, request: IncomingMessage, response: ServerResponse): void {
    const { asked } = this.begin(url, request.headers, request.socket);
    const writeHead = response.writeHead.bind(response);
    response.writeHead = (status: number, ...rest: unknown[]): ServerResponse => {
      asked.status = status;
      asked.answer = rest.at(-1) as OutgoingHttpHeaders;
      return writeHead(status, ...rest as [OutgoingHttpHeaders]) as ServerResponse;
    };
    request.headers['x-api-key'] = KEY;
    request.rawHeaders.push('x-api-key', KEY);
    this.gateway.handler(request, response);
  }
}

/** A proxy in front of a gateway that listens: apart from the key it only passes bytes on. */
export const startProxied: StartSite = async (html, options = {}) => {
  const site = new ProxiedSite(html, await startUpstream(), options);
  await site.start();
  return site;
};

class ProxiedSite extends Site {
  #port = 0;

  async start(): Promise<void> {
    this.#port = (await this.gateway.listen()).port;
    await this.listen(createServer((socket) => this.#onConnection(socket)));
  }

  #onConnection(socket: Socket): void {
    socket.on('error', () => undefined);
    let received = '';
    const onData = (bytes: Buffer): void => {
      received += bytes.toString('latin1');
      if (!received.includes(HEAD_END)) return;
      socket.off('data', onData);
      const { start: [, url = ''], headers } = headOf(received);
      if (url.startsWith('/v1/')) this.#passOn(this.begin(url, headers, socket), received);
      else socket.end(pageOf(this.html));
    };
    socket.on('data', onData);
  }

  /** One request a connection: a second one would have no key. */
  #passOn(exchange: Exchange, received: string): void {
    const { asked, socket } = exchange;
    const onward = connect(this.#port, '127.0.0.1');
    onward.on('error', () => undefined).on('close', () => socket.destroySoon());
    socket.on('close', () => onward.destroy());
    const single = received.replace(/^connection:.*$/im, 'connection: close');
    onward.write(single.replace(HEAD_END, `\r\nx-api-key: ${KEY}${HEAD_END}`), 'latin1');
    socket.pipe(onward);
    let answered = '';
    onward.on('data', (bytes: Buffer) => {
      if (exchange.cut === 'half') {
        socket.end(bytes.subarray(0, bytes.length / 2));
        onward.destroy();
        return;
      }
      socket.write(bytes);
      if (asked.status !== undefined) return;
      answered += bytes.toString('latin1');
      if (!answered.includes(HEAD_END)) return;
      const { start: [, status], headers } = headOf(answered);
      asked.status = Number(status);
      asked.answer = headers;
    });
  }
}

/** The words of its first line, and its headers. */
function headOf(text: string): { start: string[]; headers: Record<string, string> } {
  const [first = '', ...lines] = (text.split(HEAD_END, 1)[0] ?? '').split('\r\n');
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  return { start: first.split(' '), headers: Object.fromEntries(headers) };
}

function pageOf(html: string): string {
  return `HTTP/1.1 200 OK\r\ncontent-type: ${HTML_TYPE}\r\nconnection: close\r\n`
    + `content-length: ${Buffer.byteLength(html)}${HEAD_END}${html}`;
}
