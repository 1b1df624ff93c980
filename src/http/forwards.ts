/**
 * Every other request below `/v1`, passed to upstream and back as it comes, so that a client
 * changes its base URL and nothing else. Bounded in number and in silence, not in size. What may
 * be sent, and how, is the forwarder's.
 */


import type { Clock, Timer } from '../core/clock.ts';
import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import type { Forwarded, Forwarder } from '../core/forward.ts';
import { MAX_HOPS, homeward, hopsOf, onward, valuesOf } from '../core/hop-headers.ts';
import type { Intake } from '../core/intake.ts';
import type { Metrics } from '../core/metrics.ts';
import { RUN_ID } from '../core/run-id.ts';
import type { Exchange } from './exchange.ts';
import type { ForwardRoute } from './forward-route.ts';
import { hasBody } from './headers.ts';

/** What forwarding is put together from. */
export interface ForwardsOptions {
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** Undefined: nothing is passed on. */
  readonly forwarder: Forwarder | undefined;
  readonly intake: Intake | undefined;
  /** While bodies go either way: without a byte for so long it is over. */
  readonly slowTimeoutMs: number;
}

/** Requests under way at once in a process; more are refused until some end. */
export const MAX_FORWARDS = 256;

/** Passes requests on. */
export class Forwards {
  readonly #options: ForwardsOptions;
  readonly #underway = new Set<Exchange>();
  #isDraining = false;
  #onEmpty: () => void = () => undefined;

  constructor(options: ForwardsOptions) {
    this.#options = options;
  }

  /** Is anything passed on at all? */
  get isOn(): boolean {
    return this.#options.forwarder !== undefined;
  }

  /** Takes no more; resolves when those under way are done, or were cut. */
  drain(): Promise<void> {
    this.#isDraining = true;
    if (this.#underway.size === 0) return Promise.resolve();
    return new Promise((resolve) => (this.#onEmpty = resolve));
  }

  /** Ends those under way now. */
  destroy(): void {
    for (const { request } of this.#underway) request.socket.destroy();
  }

  /** Resolves when it is answered, or its client is gone. */
  async answer(exchange: Exchange, { target }: ForwardRoute): Promise<void> {
    const { forwarder } = this.#options;
    if (!exchange.isOpen || forwarder === undefined) return;
    if (exchange.place === 'spare') return exchange.refuseFull();
    const refusal = this.#refusalFor(exchange);
    if (refusal !== undefined) return exchange.refuse(refusal);
    this.#underway.add(exchange);
    await this.#pass(exchange, target, forwarder).finally(() => {
      this.#underway.delete(exchange);
      if (this.#underway.size === 0) this.#onEmpty();
    });
  }

  #refusalFor({ request }: Exchange): Refusal | undefined {
    const { rawHeaders, method } = request;
    const wrong = (error: string): Refusal => refuse('VALIDATION_ERROR', { error });
    if (valuesOf(rawHeaders, 'host').length > 1) return wrong('A request has one Host');
    const coding = request.headers['transfer-encoding']?.toLowerCase() ?? 'chunked';
    if (coding !== 'chunked') return wrong('The only transfer coding is chunked');
    if (/^(GET|HEAD)$/.test(method ?? '') && hasBody(request)) return wrong('A GET has no body');
    if (hopsOf(rawHeaders) >= MAX_HOPS) return wrong('The request goes round in a circle');
    const busy = (error: string): Refusal => refuse('RESOURCE_UNAVAILABLE', { error });
    if (this.#isDraining) return busy('The gateway is shutting down');
    if (this.#underway.size < MAX_FORWARDS) return undefined;
    this.#options.metrics.count('runcast_limit_total', 'forwards');
    return busy('Too many requests are passed on');
  }

  async #pass(exchange: Exchange, target: string, forwarder: Forwarder): Promise<void> {
    const { request, response } = exchange;
    const { method = '', rawHeaders, socket } = request;
    const abort = new AbortController();
    const onGone = (): void => abort.abort();
    // One that is queued behind another never has a `close` of its own.
    socket.once('close', onGone);
    const silence = new Silence(this.#options, exchange, () => {
      this.#onSilence(exchange);
      abort.abort();
    });
    const headers = onward(rawHeaders, {
      httpVersion: request.httpVersion, requestId: exchange.requestId,
      address: socket.remoteAddress ?? '', isEncrypted: 'encrypted' in socket,
    }, lengthOf(exchange));
    const body = hasBody(request) ? request : undefined;
    const answer = await forwarder.send({ method, target, headers, body }, abort.signal);
    if ('code' in answer) {
      if (exchange.isOpen) exchange.refuse(answer);
    } else {
      await this.#respond(exchange, answer);
      this.#poke(method, target, answer.status);
    }
    silence.stop();
    socket.off('close', onGone);
    abort.abort();
    if (!response.writableEnded) socket.destroy();
  }

  /** Resolves when the last byte has left, or the client is gone. */
  #respond(exchange: Exchange, { status, headers, body }: Forwarded): Promise<void> {
    const { request, response } = exchange;
    // What is left of a request that is answered early must not become the next one.
    const close = hasBody(request) && !request.complete ? ['connection', 'close'] : [];
    body.on('error', () => undefined); // its `close` follows
    if (!exchange.isOpen || status < 200 || status > 599) {
      body.destroy();
      if (exchange.isOpen) exchange.refuse(refuse('UPSTREAM_INVALID'));
      return Promise.resolve();
    }
    const head = homeward([...headers], status, exchange.requestId);
    response.writeHead(status, [...shared(head, exchange.head({})), ...close]);
    response.flushHeaders();
    return new Promise((resolve) => {
      response.once('close', resolve);
      request.socket.once('close', resolve);
      // An answer that breaks off must not look like a whole one.
      body.once('close', () => {
        if (!response.writableEnded) request.socket.destroy();
      });
      body.pipe(response);
    });
  }

  #onSilence(exchange: Exchange): void {
    const { request, response } = exchange;
    if (response.headersSent || request.complete) request.socket.destroy();
    // A client whose body is held up by upstream is not the one that is slow.
    else exchange.refuse(request.readableFlowing === true
      ? refuse('REQUEST_TIMEOUT') : refuse('UPSTREAM_UNAVAILABLE', { status: 504 }));
  }

  /** What has changed something below a run may have changed the run. */
  #poke(method: string, target: string, status: number): void {
    const [, runId] = /^\/v1\/runs\/([^/?]+)/.exec(target) ?? [];
    const isChange = method !== 'GET' && method !== 'HEAD' && status < 300;
    if (runId !== undefined && isChange && RUN_ID.test(runId)) this.#options.intake?.poke(runId);
  }
}

/** Of what was parsed: never a header's word for it. */
function lengthOf({ request }: Exchange): number | 'chunked' | undefined {
  if (request.headers['transfer-encoding'] !== undefined) return 'chunked';
  const length = request.headers['content-length'];
  if (length !== undefined && Number(length) > 0) return Number(length);
  return /^P/.test(request.method ?? '') ? 0 : undefined;
}

/** Tells when the client's connection has moved no byte for too long, while it is to move some. */
class Silence {
  readonly #options: Pick<ForwardsOptions, 'clock' | 'slowTimeoutMs'>;
  readonly #exchange: Exchange;
  readonly #onSilence: () => void;
  #moved = 0;
  #movedAt: number;
  #timer: Timer;

  constructor(
    options: Pick<ForwardsOptions, 'clock' | 'slowTimeoutMs'>, exchange: Exchange,
    onSilence: () => void,
  ) {
    this.#options = options;
    this.#exchange = exchange;
    this.#onSilence = onSilence;
    this.#movedAt = options.clock.now();
    this.#timer = options.clock.setTimeout(() => this.#check(), options.slowTimeoutMs / 4);
  }

  stop(): void {
    this.#options.clock.clearTimeout(this.#timer);
  }

  /** A few times in each limit: each byte moves the aim, and not the timer. */
  #check(): void {
    const { clock, slowTimeoutMs } = this.#options;
    const { request, response } = this.#exchange;
    const { bytesRead, bytesWritten } = request.socket;
    // Until the head comes its deadline counts, and before its turn, or its place, nothing does.
    const isWaiting = response.socket === null
      || (request.complete ? !response.headersSent : request.readableFlowing === null);
    if (isWaiting || bytesRead + bytesWritten !== this.#moved) this.#movedAt = clock.now();
    this.#moved = bytesRead + bytesWritten;
    const restMs = this.#movedAt + slowTimeoutMs - clock.now();
    if (restMs <= 0) return this.#onSilence();
    this.#timer = clock.setTimeout(() => this.#check(), Math.min(restMs, slowTimeoutMs / 4));
    return undefined;
  }
}

/** Which pages may read an answer is ours to say, where it was said at all. */
function shared(head: readonly string[], granted: Readonly<Record<string, string>>): string[] {
  const ours = Object.entries(granted);
  if (ours.length === 0) return [...head];
  const theirs = head.filter((_, i) => !/^access-control-/i.test(head[i - i % 2] ?? ''));
  return [...theirs, ...ours.flat()];
}
