/**
 * `GET /v1/runs/{runId}/wait`: an answer that is held back until the run is over, or the time is
 * up. While it is, its request follows the run as a stream does. Its connection lives on after it.
 */

import type { Clock } from '../core/clock.ts';
import type { Admitted } from '../core/run-source.ts';
import type { Hub } from '../hub/hub.ts';
import type { Outcome } from '../hub/waiter.ts';
import type { Entrance } from './entrance.ts';
import type { Exchange } from './exchange.ts';
import type { WaitRoute } from './routes.ts';
import { stateBody } from './status.ts';

const stay = (): void => undefined;

/** All waits of this process. */
export class Waits {
  readonly #clock: Clock;
  readonly #hub: Hub;
  readonly #entrance: Entrance;

  constructor(clock: Clock, hub: Hub, entrance: Entrance) {
    this.#clock = clock;
    this.#hub = hub;
    this.#entrance = entrance;
  }

  /** Resolves when it is answered, or its client is gone. */
  async answer(exchange: Exchange, { runId, timeoutMs }: WaitRoute): Promise<void> {
    if (!exchange.isOpen) return;
    const until = this.#clock.now() + timeoutMs;
    const key = this.#entrance.keyOf(exchange, runId);
    if (key === undefined) return;
    const admitted = await this.#entrance.admit(exchange, runId, key, 'follow');
    if (admitted === undefined) return;
    const { snapshot } = admitted;
    if (snapshot.terminal === undefined) {
      await this.#wait(exchange, admitted, until);
      return;
    }
    admitted.leave?.();
    respond(exchange, { kind: 'over', snapshot });
  }

  #wait(exchange: Exchange, admitted: Admitted, until: number): Promise<void> {
    const { request: { socket }, response } = exchange;
    // Nothing is sent for as long as it takes, whatever the server thinks of silence.
    response.on('timeout', stay);
    if (response.socket !== null) socket.setTimeout(0);
    return new Promise((resolve) => {
      const answer = (outcome: Outcome): void => {
        socket.off('close', onClose);
        response.off('timeout', stay);
        if (exchange.isOpen) respond(exchange, outcome);
        resolve();
      };
      const waiter = this.#hub.wait(admitted, { until, answer });
      // Not the response's `close`: one that is queued behind another never has it.
      const onClose = (): void => {
        waiter.onClose();
        resolve();
      };
      socket.once('close', onClose);
    });
  }
}

function respond(exchange: Exchange, outcome: Outcome): void {
  if (outcome.kind === 'refused') exchange.refuse(outcome.refusal);
  else exchange.json(200, stateBody(outcome.snapshot, outcome.kind === 'timeout'));
}
