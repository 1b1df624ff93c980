/**
 * The places in the budget that one worker has for requests that it passes on: taken here, in the
 * primary, for the whole machine. A worker that dies gives its own back.
 */

import { refuse } from '../core/errors.ts';
import type { Pass, Settled, Toll } from '../core/forward.ts';
import type { FromPrimary, FromWorker } from './messages.ts';

/** Those of one worker. */
export class Passes {
  readonly #send: (message: FromPrimary) => void;
  readonly #toll: Toll | undefined;
  readonly #passes = new Map<number, Pass>();
  #isClosed = false;

  constructor(send: (message: FromPrimary) => void, toll: Toll | undefined) {
    this.#send = send;
    this.#toll = toll;
  }

  /** False: it is none of ours. */
  onMessage(message: FromWorker): boolean {
    if (message.kind === 'enter') void this.#onEnter(message.n);
    else if (message.kind === 'passed') this.#onPassed(message.n, message.settled);
    else return false;
    return true;
  }

  /** The worker is gone. */
  close(): void {
    this.#isClosed = true;
    for (const n of [...this.#passes.keys()]) this.#onPassed(n);
  }

  async #onEnter(n: number): Promise<void> {
    const pass = await this.#toll?.enter() ?? refuse('RESOURCE_UNAVAILABLE');
    if (typeof pass !== 'function') this.#send({ kind: 'entered', n, refusal: pass });
    else if (this.#isClosed) pass();
    else {
      this.#passes.set(n, pass);
      this.#send({ kind: 'entered', n });
    }
  }

  #onPassed(n: number, settled?: Settled): void {
    this.#passes.get(n)?.(settled);
    this.#passes.delete(n);
  }
}
