/**
 * Runs that are followed with one key, on one connection: one that is added has it opened anew
 * with all that are not over, from where they stand.
 */

import { watchRuns } from '../client/watch-run.ts';
import { WatchError } from '../client/events.ts';
import type { LostEvent, Opened, Reconnect, RunEvent } from '../client/events.ts';
import { NO_ID, joinIds, splitId } from '../core/event-id.ts';

/**
 * How a connection stands. `resting`: it was let go of, and will be opened again. `failed`: by a
 * mistake of the page's own.
 */
export type FeedState =
  | { readonly kind: 'idle' | 'live' | 'refused' | 'resting' | 'failed' }
  | { readonly kind: 'joining'; readonly sinceMs: number }
  /** `untilMs`: when it is opened again, by this page's wall clock. */
  | { readonly kind: 'waiting'; readonly untilMs: number };

/** Why runs cannot be followed. */
export type Why = Pick<LostEvent, 'code' | 'errorMessage'>;

/** Who hears what comes. */
export interface FeedListener {
  onEvent(event: RunEvent): void;
  onOpen(opened: Opened): void;
  onReconnect(reconnect: Reconnect): void;
  onPing(): void;
  /** None of the runs that are not over can be followed. */
  onFailed(runIds: readonly string[], why: Why): void;
  /** Its connection stands differently now. */
  onState(): void;
}

/** One connection, for as long as there is something to follow. */
export class Feed {
  readonly #base: URL;
  readonly #apiKey: string;
  readonly #listener: FeedListener;
  /** Runs that are followed, and the id of the state that was told last. */
  readonly #lastIds = new Map<string, string>();
  #abort = new AbortController();
  #isResting = false;
  #state: FeedState = { kind: 'idle' };

  constructor(base: URL, apiKey: string, listener: FeedListener) {
    this.#base = base;
    this.#apiKey = apiKey;
    this.#listener = listener;
  }

  get state(): FeedState {
    return this.#state;
  }

  add(runId: string): void {
    if (this.#lastIds.has(runId)) return;
    this.#lastIds.set(runId, NO_ID);
    this.#restart();
  }

  remove(runId: string): void {
    if (this.#lastIds.delete(runId)) this.#restart();
  }

  /** Nothing is lost by a rest: a state is complete in itself, the newest one comes after it. */
  rest(isResting: boolean): void {
    if (this.#isResting === isResting) return;
    this.#isResting = isResting;
    if (this.#lastIds.size > 0) this.#restart();
  }

  #become(state: FeedState): void {
    this.#state = state;
    this.#listener.onState();
  }

  #restart(): void {
    this.#abort.abort();
    this.#abort = new AbortController();
    if (this.#lastIds.size === 0) return this.#become({ kind: 'idle' });
    if (this.#isResting) return this.#become({ kind: 'resting' });
    this.#become({ kind: 'joining', sinceMs: Date.now() });
    void this.#follow(this.#abort.signal);
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const runIds = [...this.#lastIds.keys()];
    const lastEventId = joinIds([...this.#lastIds.values()]);
    const isKnown = [...this.#lastIds.values()].some((id) => id !== NO_ID);
    const options = { ...this.#options(signal), ...isKnown && { lastEventId } };
    try {
      for await (const event of watchRuns(this.#base, runIds, options)) {
        if (!signal.aborted) this.#onEvent(event, runIds);
      }
      if (!signal.aborted) this.#become({ kind: 'idle' });
    } catch (error) {
      // What another connection has replaced has nothing more to say.
      if (signal.aborted) return;
      const lost = [...this.#lastIds.keys()];
      this.#lastIds.clear();
      this.#listener.onFailed(lost, whyOf(error));
      this.#become({ kind: error instanceof WatchError ? 'refused' : 'failed' });
    }
  }

  #options(signal: AbortSignal) {
    const listener = this.#listener;
    return {
      apiKey: this.#apiKey, signal, onPing: () => listener.onPing(),
      onOpen: (opened: Opened): void => {
        if (signal.aborted) return;
        this.#become({ kind: 'live' });
        listener.onOpen(opened);
      },
      onReconnect: (reconnect: Reconnect): void => {
        if (signal.aborted) return;
        this.#become({ kind: 'waiting', untilMs: Date.now() + reconnect.delayMs });
        listener.onReconnect(reconnect);
      },
    };
  }

  #onEvent(event: RunEvent, runIds: readonly string[]): void {
    const ids = splitId(event.id, runIds.length);
    for (const [i, runId] of runIds.entries()) {
      if (this.#lastIds.has(runId)) this.#lastIds.set(runId, ids[i] ?? NO_ID);
    }
    this.#listener.onEvent({ ...event, id: ids[runIds.indexOf(event.runId)] ?? event.id });
    if (event.type !== 'progress') this.#lastIds.delete(event.runId);
  }
}

/** Anything else than a refusal is a mistake in here, which must show: nothing follows. */
function whyOf(error: unknown): Why {
  if (error instanceof WatchError) return { code: error.code, errorMessage: error.message };
  const detail = error instanceof Error ? error.message : 'no reason is known';
  return { code: 'PAGE_FAILED', errorMessage: `This page has made a mistake: ${detail}` };
}
