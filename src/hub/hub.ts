/** All channels of this process, every client in them, and the one wheel that wakes them. */

import { stateFrame } from '../core/frame.ts';
import type { EventName } from '../core/frame.ts';
import type { Metrics } from '../core/metrics.ts';
import { MultiMap } from '../core/multimap.ts';
import type { Admitted, RunSource } from '../core/run-source.ts';
import { Bundle } from './bundle.ts';
import { Channel } from './channel.ts';
import type { CloseReason, Follower, FollowerOwner } from './follower.ts';
import type { Client } from './sink.ts';
import type { Place, Wanted } from './strand.ts';
import type { StreamPolicy } from './stream.ts';
import { Subscriber } from './subscriber.ts';
import { Waiter } from './waiter.ts';
import type { WaitingClient } from './waiter.ts';
import { Wheel } from './wheel.ts';

/** All streams and waits of this process. */
export class Hub {
  readonly #source: RunSource;
  readonly #policy: StreamPolicy;
  readonly #metrics: Metrics;
  readonly #wheel: Wheel;
  /** Mostly one a run; more when its id means different runs to different keys. */
  readonly #channels = new MultiMap<string, Channel>();
  /** Until their connections are gone, also those that have had their last event. */
  readonly #followers = new Set<Follower>();
  readonly #bundles = new Set<Bundle>();
  readonly #onEmpty: (() => void)[] = [];

  constructor(source: RunSource, policy: Omit<StreamPolicy, 'tally'>, metrics: Metrics) {
    const tally = { progress: 0, complete: 0, error: 0, timeout: 0, ping: 0, skipped: 0 };
    this.#source = source;
    this.#policy = { ...policy, tally };
    this.#metrics = metrics;
    const { skipped: _, ...events } = tally;
    for (const event of Object.keys(events) as EventName[]) {
      metrics.read('runcast_events_total', () => tally[event], event);
    }
    metrics.read('runcast_states_skipped_total', () => tally.skipped);
    metrics.read('runcast_streams', () => this.#followers.size);
    metrics.read('runcast_runs', () => this.#channels.size);
    this.#wheel = new Wheel(policy.clock);
  }

  /** Open streams and waits, each run of a bundle by itself, and runs followed by them. */
  get size(): { streams: number; runs: number } {
    return { streams: this.#followers.size, runs: this.#channels.size };
  }

  /** Streams the run to `client`: what is current at once, or only the end if it is over. */
  subscribe(admitted: Admitted, client: Client): void {
    const isOver = admitted.snapshot.terminal !== undefined;
    const channel = isOver ? undefined : this.#channel(admitted);
    const owner = this.#owner(admitted, channel);
    const { key } = admitted;
    const subscriber = new Subscriber(key.value, client, this.#policy, this.#wheel, owner);
    this.#enter(subscriber);
    if (channel === undefined) return subscriber.finish(stateFrame(admitted.snapshot));
    channel.join(admitted, subscriber);
    return subscriber.start(channel.frame, client.lastEventId);
  }

  /** Streams several runs to `client`, each as soon as it may be had. */
  bundle(wanted: readonly Wanted[], client: Client): void {
    const { clock, random } = this.#policy;
    const bundle = new Bundle(wanted, client, this.#policy, {
      clock, random, wheel: this.#wheel,
      join: (admitted, strand) => this.#place(admitted, strand),
      onClosed: (closed) => {
        this.#bundles.delete(closed);
        this.#tellIfEmpty();
      },
    });
    this.#bundles.add(bundle);
    bundle.start();
  }

  /** Waits for the end of the run, which is not over; answers at once in no case. */
  wait(admitted: Admitted, client: WaitingClient): Waiter {
    const channel = this.#channel(admitted);
    const { clock, random } = this.#policy;
    const parts = { clock, random, wheel: this.#wheel, newest: () => channel.snapshot };
    const owner = this.#owner(admitted, channel);
    const waiter = new Waiter(admitted.key.value, client, { ...parts, owner });
    this.#enter(waiter);
    channel.join(admitted, waiter);
    return waiter;
  }

  /**
   * Ends every stream without a verdict, at random moments within `windowMs`, so that the
   * clients do not come back all at once. Resolves when the last connection is gone.
   */
  async drain(windowMs: number): Promise<void> {
    for (const each of [...this.#followers, ...this.#bundles]) each.drain(windowMs);
    if (this.#isEmpty) return;
    await new Promise<void>((resolve) => this.#onEmpty.push(resolve));
  }

  /** Cuts every connection now. */
  destroy(): void {
    for (const each of [...this.#followers, ...this.#bundles]) each.destroy();
  }

  get #isEmpty(): boolean {
    return this.#followers.size + this.#bundles.size === 0;
  }

  /** For a run of a bundle. */
  #place(admitted: Admitted, strand: Follower): Place {
    const isOver = admitted.snapshot.terminal !== undefined;
    const channel = isOver ? undefined : this.#channel(admitted);
    const owner = this.#owner(admitted, channel);
    this.#enter(strand);
    channel?.join(admitted, strand);
    return { owner, isOver, frame: channel?.frame ?? stateFrame(admitted.snapshot) };
  }

  /** Throws what an embedder's own source may throw, with nothing left behind. */
  #channel(admitted: Admitted): Channel {
    const { runId } = admitted;
    for (const channel of this.#channels.get(runId)) if (channel.serves(admitted)) return channel;
    try {
      const channel = new Channel(admitted, this.#source, (closed) => {
        this.#channels.delete(runId, closed);
      });
      this.#channels.add(runId, channel);
      return channel;
    } catch (error) {
      admitted.leave?.();
      throw error;
    }
  }

  #owner(admitted: Admitted, channel: Channel | undefined): FollowerOwner {
    return {
      onLeave: (each) => channel?.leave(each),
      onClosed: (each, reason) => {
        admitted.leave?.();
        this.#onClosed(each, reason);
      },
    };
  }

  #enter(follower: Follower): void {
    this.#followers.add(follower);
    this.#metrics.count('runcast_streams_opened_total');
  }

  #onClosed(follower: Follower, reason: CloseReason): void {
    this.#metrics.count('runcast_streams_closed_total', reason);
    const isFinished = reason === 'complete' || reason === 'error';
    if (!isFinished) this.#metrics.count('runcast_streams_unfinished_total');
    this.#followers.delete(follower);
    this.#tellIfEmpty();
  }

  #tellIfEmpty(): void {
    if (!this.#isEmpty) return;
    for (const resolve of this.#onEmpty.splice(0)) resolve();
  }
}
