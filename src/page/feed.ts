/**
 * Runs that are followed with one key, on one connection: one that is added has it opened anew
 * with all that are not over, from where they stand.
 */

import { watchRuns } from '../client/watch-run.ts';
import { WatchError } from '../client/events.ts';
import type { Opened, Reconnect, RunEvent } from '../client/events.ts';

/** Of a run that nothing was told of yet. */
const NO_ID = 'none';

/** Who hears what comes. */
export interface FeedListener {
  onEvent(event: RunEvent): void;
  onOpen(opened: Opened): void;
  onReconnect(reconnect: Reconnect): void;
  onPing(): void;
  /** None of the runs can be followed. */
  onFailed(runIds: readonly string[], error: WatchError): void;
  /** The last of them is over. */
  onDone(): void;
}

/** One connection, for as long as there is something to follow. */
export class Feed {
  readonly #base: URL;
  readonly #apiKey: string;
  readonly #listener: FeedListener;
  /** Runs that are followed, and the id of the state that was told last. */
  readonly #lastIds = new Map<string, string>();
  #abort = new AbortController();

  constructor(base: URL, apiKey: string, listener: FeedListener) {
    this.#base = base;
    this.#apiKey = apiKey;
    this.#listener = listener;
  }

  add(runId: string): void {
    if (this.#lastIds.has(runId)) return;
    this.#lastIds.set(runId, NO_ID);
    this.#restart();
  }

  remove(runId: string): void {
    if (this.#lastIds.delete(runId)) this.#restart();
  }

  #restart(): void {
    this.#abort.abort();
    this.#abort = new AbortController();
    if (this.#lastIds.size > 0) void this.#follow(this.#abort.signal);
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const runIds = [...this.#lastIds.keys()];
    const { onOpen, onReconnect, onPing } = this.#listener;
    const lastEventId = [...this.#lastIds.values()].join('.');
    const isKnown = [...this.#lastIds.values()].some((id) => id !== NO_ID);
    const options = {
      apiKey: this.#apiKey, signal, onOpen, onReconnect, onPing,
      ...isKnown && { lastEventId },
    };
    try {
      for await (const event of watchRuns(this.#base, runIds, options)) {
        const ids = event.id.split('.');
        for (const [i, runId] of runIds.entries()) {
          if (this.#lastIds.has(runId)) this.#lastIds.set(runId, ids[i] ?? NO_ID);
        }
        if (event.type !== 'progress') this.#lastIds.delete(event.runId);
        this.#listener.onEvent({ ...event, id: ids[runIds.indexOf(event.runId)] ?? event.id });
      }
      if (!signal.aborted) this.#listener.onDone();
    } catch (error) {
      if (!(error instanceof WatchError) || signal.aborted) throw error;
      for (const runId of runIds) this.#lastIds.delete(runId);
      this.#listener.onFailed(runIds, error);
    }
  }
}
