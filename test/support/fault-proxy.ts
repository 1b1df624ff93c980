/**
 * What networks do to answers, done at a byte that the test names: a TCP proxy in front of the
 * scripted upstream. Places are counted from the first byte of an answer's head, whatever came
 * before it on the same connection. Requests pass untouched.
 */

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { resetNow } from './answers.ts';
import { until } from './wait.ts';

/** What happens once `at` bytes of an answer have passed. */
export type Fault =
  /** The rest comes `ms` later. */
  | { readonly kind: 'delay'; readonly at: number; readonly ms: number }
  /** The rest comes a byte at a time. */
  | { readonly kind: 'drip'; readonly at: number; readonly everyMs: number }
  /** FIN in place of the rest. */
  | { readonly kind: 'cut'; readonly at: number }
  /** RST in place of the rest. */
  | { readonly kind: 'reset'; readonly at: number }
  /** The next byte has these bits of it turned over. */
  | { readonly kind: 'corrupt'; readonly at: number; readonly mask: number };

/** One answer on its way. */
export interface Passing {
  /** As it was asked for, query included. */
  readonly path: string;
  /** Bytes so far, as they came from upstream. */
  bytes: number;
  /** Where its body begins, once its head is through; it comes in one piece. */
  bodyAt: number;
  fault: Fault | undefined;
  isHit: boolean;
}

/** Time for bytes to be read: libuv takes an RST that comes with unread ones for a FIN. */
const BEFORE_RESET_MS = 50;

/** A listening proxy. Whoever starts one closes it. */
export async function startFaultProxy(origin: string): Promise<FaultProxy> {
  const proxy = new FaultProxy(Number(new URL(origin).port));
  await proxy.listen();
  return proxy;
}

export class FaultProxy {
  /** Answers that have begun, in order. */
  readonly answers: Passing[] = [];
  readonly #server: Server;
  readonly #links = new Set<Link>();
  #choose: (path: string) => Fault | undefined = () => undefined;

  /** `port` on 127.0.0.1 is where upstream is. */
  constructor(port: number) {
    this.#server = createServer((client) => {
      const link = new Link(client, connect({ port, host: '127.0.0.1' }), (path) => {
        const passing = { path, bytes: 0, bodyAt: 0, fault: this.#choose(path), isHit: false };
        this.answers.push(passing);
        return passing;
      });
      this.#links.add(link);
      client.once('close', () => this.#links.delete(link));
    });
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async listen(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  /** From now on: the fault of each answer that begins, by what was asked for. */
  choose(by: (path: string) => Fault | undefined): void {
    this.#choose = by;
  }

  /** Answers pass untouched from now on, and so does what is left of those on their way. */
  mend(): void {
    this.#choose = () => undefined;
    for (const answer of this.answers) answer.fault = undefined;
  }

  /** The answer that began last to a request whose path has `part` in it. */
  last(part: string): Passing | undefined {
    return this.answers.findLast(({ path }) => path.includes(part));
  }

  /** How many answers a fault has met. */
  get hits(): number {
    return this.answers.filter(({ isHit }) => isHit).length;
  }

  untilHit(hits = 1): Promise<void> {
    return until(`${hits} answers with a fault`, () => this.hits >= hits, 30_000);
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const link of this.#links) link.close();
    await closed;
  }
}

/** One connection, and the one to upstream behind it. */
class Link {
  readonly #client: Socket;
  readonly #upstream: Socket;
  readonly #begin: (path: string) => Passing;
  #answer: Passing | undefined;
  /** What is kept back until its timer is due. */
  #timer: NodeJS.Timeout | undefined;

  constructor(client: Socket, upstream: Socket, begin: (path: string) => Passing) {
    this.#client = client;
    this.#upstream = upstream;
    this.#begin = begin;
    client.setNoDelay(true);
    upstream.setNoDelay(true);
    client.on('data', (bytes) => this.#onRequest(bytes));
    client.on('drain', () => this.#resume());
    client.on('end', () => upstream.end());
    client.on('error', () => undefined);
    client.once('close', () => this.close());
    upstream.on('data', (bytes) => this.#onAnswer(bytes));
    upstream.on('end', () => client.end());
    upstream.on('error', () => resetNow(client));
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#client.destroy();
    this.#upstream.destroy();
  }

  /** A head comes in one piece, and nothing else comes: requests here have no bodies. */
  #onRequest(bytes: Buffer): void {
    const [, path] = /^[A-Z]+ (\S+) HTTP/.exec(bytes.toString('latin1')) ?? [];
    if (path !== undefined) this.#answer = this.#begin(path);
    this.#upstream.write(bytes);
  }

  #onAnswer(bytes: Buffer): void {
    const answer = this.#answer;
    if (answer === undefined) return this.#pass(bytes);
    const from = answer.bytes;
    if (from === 0) answer.bodyAt = bytes.indexOf('\r\n\r\n') + 4;
    answer.bytes += bytes.length;
    const { fault } = answer;
    if (fault === undefined || fault.at > answer.bytes) return this.#pass(bytes);
    const head = bytes.subarray(0, Math.max(0, fault.at - from));
    const rest = bytes.subarray(head.length);
    this.#pass(head);
    // What happens to the next byte waits for it.
    if (rest.length === 0 && fault.kind !== 'cut' && fault.kind !== 'reset') return undefined;
    answer.isHit = true;
    return this.#act(fault, rest, answer);
  }

  #act(fault: Fault, rest: Buffer, answer: Passing): void {
    switch (fault.kind) {
      case 'delay':
        answer.fault = undefined;
        return this.#later(fault.ms, () => this.#release(rest));
      case 'drip':
        return this.#drip(fault.everyMs, rest);
      case 'cut':
        this.#upstream.destroy();
        this.#client.end();
        return undefined;
      case 'reset':
        this.#upstream.destroy();
        if (fault.at === 0) return resetNow(this.#client);
        return this.#later(BEFORE_RESET_MS, () => resetNow(this.#client));
      case 'corrupt': {
        answer.fault = undefined;
        const turned = Buffer.from(rest);
        turned[0] = (turned[0] ?? 0) ^ fault.mask;
        return this.#pass(turned);
      }
    }
  }

  /** Until the answer is over, or mended. */
  #drip(everyMs: number, rest: Buffer): void {
    if (this.#answer?.fault === undefined || rest.length === 0) return this.#release(rest);
    this.#pass(rest.subarray(0, 1));
    return this.#later(everyMs, () => this.#drip(everyMs, rest.subarray(1)));
  }

  #release(rest: Buffer): void {
    this.#pass(rest);
    this.#resume();
  }

  #later(ms: number, act: () => void): void {
    this.#upstream.pause();
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      act();
    }, ms);
  }

  #resume(): void {
    if (this.#timer === undefined) this.#upstream.resume();
  }

  #pass(bytes: Buffer): void {
    if (bytes.length > 0 && !this.#client.write(bytes)) this.#upstream.pause();
  }
}
