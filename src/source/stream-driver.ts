/**
 * `--source stream`: relays upstream's own event streams, those of another runcast say, one for
 * each run. A run whose stream is not to be had just now is polled.
 */

import type { Answer } from './answer.ts';
import { PollDriver } from './driver.ts';
import type { DriverOptions, Tell } from './driver.ts';
import type { Poller } from './poller.ts';
import { RunStream } from './run-stream.ts';
import type { Link, RunStreamPolicy } from './run-stream.ts';

/** Streams of upstream's at once; further runs are polled. */
export const MAX_STREAMS = 8192;

/** Upstream without streams is asked for one again after so long. */
const WITHOUT_MS = 600_000;
/** And one more than there may be. */
const CROWDED_MS = 30_000;

/** Follows each run by a stream. */
export class StreamDriver extends PollDriver {
  readonly #streams = new Map<Poller, RunStream>();
  readonly #links = new Set<Link>();
  readonly #policy: RunStreamPolicy;
  readonly #maxStreams: number;
  #isMissingUntil = -Infinity;

  constructor(options: DriverOptions, random: () => number, maxStreams = MAX_STREAMS) {
    super(options);
    this.#maxStreams = maxStreams;
    this.#policy = {
      ...options, random, links: this.#links,
      pauseMs: () => this.#pauseMs(),
      onMissing: () => this.#onMissing(),
    };
  }

  override restMs(poller: Poller, askedAt: number, answer: Answer): number {
    // A key that is refused for the first time is not left in doubt for a minute.
    const restMs = answer.kind === 'state' ? this.#streams.get(poller)?.restMs : undefined;
    const pollMs = super.restMs(poller, askedAt, answer);
    // With many keys their proofs would come faster than polls.
    return restMs === undefined ? pollMs : Math.max(restMs, pollMs);
  }

  override provedKey(poller: Poller): string | undefined {
    return this.#streams.get(poller)?.liveKey?.value;
  }

  override onStarted(poller: Poller, tell: Tell): void {
    this.#streams.set(poller, new RunStream(poller, tell, this.#policy));
  }

  override onKeys(poller: Poller): void {
    this.#streams.get(poller)?.onKeys();
  }

  override onEnded(poller: Poller): void {
    this.#streams.get(poller)?.end();
    this.#streams.delete(poller);
  }

  override close(): void {
    for (const poller of [...this.#streams.keys()]) this.onEnded(poller);
  }

  #pauseMs(): number {
    const restMs = this.#isMissingUntil - this.options.clock.now();
    return restMs <= 0 && this.#links.size >= this.#maxStreams ? CROWDED_MS : restMs;
  }

  /** One run without a stream says nothing of the others where there are streams. */
  #onMissing(): void {
    for (const stream of this.#streams.values()) if (stream.liveKey !== undefined) return;
    this.#isMissingUntil = this.options.clock.now() + WITHOUT_MS;
  }
}
