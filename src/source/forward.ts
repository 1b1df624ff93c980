/**
 * Requests that go to upstream as they came: each takes its place in the budget, and then has a
 * socket of its own. So what its bytes might do to a connection is done to nobody else's request,
 * and none is ever sent twice, as it might be over a connection that has gone stale.
 */

import type { Clock } from '../core/clock.ts';
import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import type { Forward, Forwarded, Forwarder, Pass, Toll } from '../core/forward.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Upstream } from './upstream.ts';

/** What forwarding takes. */
export interface ForwardOptions {
  readonly upstream: Upstream;
  readonly toll: Toll;
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** From the end of a request to the head of its answer. */
  readonly headMs: number;
}

const GONE = refuse('UPSTREAM_UNAVAILABLE', { error: 'The client is gone' });

/** Sends them. How long bodies may take is up to who has the client. */
export class UpstreamForwarder implements Forwarder {
  readonly #options: ForwardOptions;

  constructor(options: ForwardOptions) {
    this.#options = options;
  }

  async send(forward: Forward, signal: AbortSignal): Promise<Forwarded | Refusal> {
    const pass = await this.#enter(signal);
    if (pass === GONE) return this.#count('gone', pass);
    if (typeof pass !== 'function') return this.#count('over budget', pass);
    if (!signal.aborted) return this.#exchange(forward, signal, pass);
    pass();
    return this.#count('gone', GONE);
  }

  close(): void {
    this.#options.upstream.close();
  }

  /** Who is gone waits no longer; a place that comes then is given back. */
  #enter(signal: AbortSignal): Promise<Pass | Refusal> {
    return new Promise((resolve) => {
      signal.addEventListener('abort', () => resolve(GONE), { once: true });
      void this.#options.toll.enter().then((pass) => {
        if (signal.aborted && typeof pass === 'function') pass();
        resolve(pass);
      });
    });
  }

  #exchange(
    forward: Forward, signal: AbortSignal, pass: Pass,
  ): Promise<Forwarded | Refusal> {
    const { clock, headMs } = this.#options;
    const { body } = forward;
    return new Promise((resolve) => {
      const sent = this.#open(forward, signal);
      if (sent === undefined) {
        pass();
        return resolve(this.#count('broken', refuse('VALIDATION_ERROR')));
      }
      let isSettled = false;
      const settle = (name: string, outcome: Forwarded | Refusal): void => {
        isSettled = true;
        clock.clearTimeout(timer);
        resolve(this.#count(name, outcome));
      };
      const fail = (name: string, over: Partial<Refusal>): void => {
        if (isSettled) return;
        pass();
        settle(name, refuse('UPSTREAM_UNAVAILABLE', over));
        sent.destroy();
      };
      const wait = (): ReturnType<Clock['setTimeout']> => clock.setTimeout(() => {
        fail('late', { status: 504, error: 'The run API is too slow' });
      }, headMs);
      let timer = wait();
      sent.on('error', () => fail(signal.aborted ? 'gone' : 'broken', {}));
      sent.on('close', () => fail('broken', {}));
      sent.on('response', (response) => {
        if (isSettled) return;
        const { statusCode: status = 0, headers: said, rawHeaders } = response;
        pass({ status, headers: said });
        settle(`${Math.floor(status / 100)}xx`, { status, headers: rawHeaders, body: response });
      });
      if (body === undefined) return void sent.end();
      // As long as the body comes, its client's pace counts, and not upstream's.
      clock.clearTimeout(timer);
      body.once('end', () => {
        if (!isSettled) timer = wait();
      });
      sent.flushHeaders();
      body.pipe(sent);
      return undefined;
    });
  }

  /** Undefined: Node would not send such a head. */
  #open(
    { method, target, headers }: Forward, signal: AbortSignal,
  ): ReturnType<Upstream['forward']> | undefined {
    try {
      return this.#options.upstream.forward(method, target, headers, signal);
    } catch {
      return undefined;
    }
  }

  #count<T>(result: string, outcome: T): T {
    this.#options.metrics.count('runcast_forwarded_total', result);
    return outcome;
  }
}
