/**
 * A run of the scripted upstream that has a stream of its own: what is sent to it reaches all who
 * have it open, byte for byte as a run API would send it, ids left out as the contract has it.
 */

import type { ServerResponse } from 'node:http';
import { act, execution, resetNow, state } from './answers.ts';
import type { Answer, Asked } from './answers.ts';
import type { Upstream } from './upstream.ts';
import { until } from './wait.ts';

type Fields = Readonly<Record<string, unknown>>;

export class EventFeed {
  readonly runId: string;
  /** What each connection asked for, in order; those that are gone too. */
  readonly asked: Asked[] = [];
  readonly #open = new Map<ServerResponse, Asked>();
  readonly #upstream: Upstream;
  #now: { readonly status: string; readonly over: Fields } = { status: 'queued', over: {} };

  /** Serves the run by its status route and by its stream. */
  constructor(upstream: Upstream, runId: string) {
    this.runId = runId;
    this.#upstream = upstream;
    upstream.run(`/v1/runs/${runId}/stream`, this.answer);
    upstream.run(runId, () => state(this.#now.status, this.#now.over));
  }

  /** The stream: its state at once, then what is sent. */
  get answer(): Answer {
    return act((res, asked) => {
      this.asked.push(asked);
      this.#open.set(res, asked);
      res.once('close', () => this.#open.delete(res));
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.write(this.#event());
    });
  }

  /** Connections that are open. */
  get size(): number {
    return this.#open.size;
  }

  untilOpen(size = 1): Promise<void> {
    return until(`${size} streams of ${this.runId} at upstream`, () => this.size === size);
  }

  /** The run changes; `isSilent`: its streams are not told. */
  to(status: string, over: Fields = {}, isSilent = false): void {
    this.#now = { status, over };
    if (!isSilent) this.send(this.#event());
  }

  /** To all, or to those with that key. */
  send(bytes: string | Buffer, key?: string): void {
    for (const [res, asked] of this.#open) {
      if (key === undefined || asked.key === key) res.write(bytes);
    }
  }

  end(): void {
    for (const res of this.#open.keys()) res.end();
  }

  /** Resets all connections; `isForGood`: there is no stream to come back to. */
  cut(isForGood = false): void {
    if (isForGood) this.#upstream.run(`/v1/runs/${this.runId}/stream`, act(cutOff));
    for (const res of this.#open.keys()) cutOff(res);
  }

  #event(): string {
    const { status, over } = this.#now;
    const type = status === 'completed' ? 'complete' : status === 'failed' ? 'error' : 'progress';
    return `event: ${type}\ndata: ${JSON.stringify(execution(this.runId, status, over))}\n\n`;
  }
}

const cutOff = (res: ServerResponse): void => resetNow(res.socket);
