/**
 * The composition root: source, hub and handler put together, and the server around them. Knows
 * no process and no command line.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';

import type { Address } from './core/address.ts';
import { systemClock } from './core/clock.ts';
import { GatewayError } from './core/errors.ts';
import type { Forwarder, Toll } from './core/forward.ts';
import type { Intake } from './core/intake.ts';
import type { Logger } from './core/log.ts';
import type { Machine, Stats } from './core/machine.ts';
import { Metrics, mergeSamples, renderMetrics } from './core/metrics.ts';
import type { RunSource } from './core/run-source.ts';
import { Doorkeeper } from './http/doorkeeper.ts';
import { Handler } from './http/handler.ts';
import { Hosts } from './http/hosts.ts';
import { Listener } from './http/listener.ts';
import { Hub } from './hub/hub.ts';
import { LoopDelay } from './loop-delay.ts';
import type { Settings } from './options.ts';
import { forwarding, polling } from './polling.ts';
import { GuardedSource } from './source/guarded-source.ts';
import { LimitedSource } from './source/limited-source.ts';

export { MAX_FORWARDS } from './http/forwards.ts';

/** The parts of a whole machine's gateway: its source polls, unless one is given. */
export function machineParts(
  settings: Settings, log: Logger, given?: RunSource,
): Parts & { readonly source: LimitedSource } {
  const metrics = new Metrics();
  const { inner, intake, toll } = given === undefined ? polling(settings, log, metrics)
    : { inner: new GuardedSource(given, log), intake: undefined, toll: undefined };
  const source = new LimitedSource(inner, settings, metrics, systemClock);
  const machine: Machine = {
    stats: () => source.size,
    metrics: () => renderMetrics(mergeSamples(metrics.samples())),
  };
  return { settings, source, intake, toll, log, metrics, machine };
}

/** What a gateway is put together from. */
export interface Parts {
  readonly settings: Settings;
  /** Sees to the limits itself. */
  readonly source: RunSource;
  /** Where pushed news go. None: nobody takes them. */
  readonly intake: Intake | undefined;
  /** The budget that forwarded requests go through. None: nothing is passed on. */
  readonly toll: Toll | undefined;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly machine: Machine;
  /** Client connections that this process can afford. Default: not bounded. */
  readonly maxSockets?: number;
  /** Hears when these are nearly used up, and when they no longer are. */
  readonly onRoom?: (hasRoom: boolean) => void;
}

/** From so many streams on a drain takes all its time; fewer need less to come back gently. */
const FULL_DRAIN_STREAMS = 50;
/** Of the time for a drain, what is left to readers that are slow to take their last event. */
const DRAIN_RESERVE = 0.2;
const MIN_DRAIN_MS = 100;
/** Connections to the admin port, beside those that are cut later: who reads it is soon gone. */
const ADMIN_SOCKETS = 8;

type State =
  | { readonly kind: 'idle' }
  | { readonly kind: 'listening'; readonly listening: Promise<Address> }
  | { readonly kind: 'closing'; readonly closed: Promise<void> };

/** A gateway from its parts: what a worker and the program make of themselves. */
export class ComposedGateway {
  /** See {@link Gateway.handler}. */
  readonly handler: (request: IncomingMessage, response: ServerResponse) => void;
  readonly #settings: Settings;
  readonly #source: RunSource;
  readonly #intake: Intake | undefined;
  readonly #forwarder: Forwarder | undefined;
  readonly #log: Logger;
  readonly #hub: Hub;
  readonly #http: Handler;
  readonly #listener: Listener;
  readonly #admin: Listener;
  readonly #hosts = new Hosts(systemClock, () => void this.close());
  readonly #loopDelay: LoopDelay;
  #state: State = { kind: 'idle' };

  constructor(parts: Parts) {
    const { settings, source, intake, toll, log, metrics, maxSockets = Infinity, onRoom } = parts;
    this.#settings = settings;
    this.#source = source;
    this.#intake = intake;
    this.#log = log;
    this.#loopDelay = new LoopDelay(systemClock, metrics);
    const shared = { ...settings, clock: systemClock, random: Math.random };
    const hub = new Hub(source, shared, metrics);
    this.#hub = hub;
    const hasWebhookKeys = (settings.webhookJwks ?? settings.upstreamKey) !== undefined;
    const forwarder = forwarding(settings, metrics, toll);
    this.#forwarder = forwarder;
    this.#http = new Handler({ ...parts, ...shared, hub, hasWebhookKeys, forwarder });
    this.handler = this.#hosts.mounted(this.#http.handle);
    const door = new Doorkeeper(maxSockets, log, metrics, onRoom);
    const listening = { clock: systemClock, log, metrics, takesUploads: forwarder !== undefined };
    this.#listener = new Listener(this.#http, door, listening);
    this.#admin = new Listener({
      handleOwn: (request, response) => this.#http.handleAdmin(request, response),
      isHeld: () => false,
    }, new Doorkeeper(ADMIN_SOCKETS, log, metrics), { ...listening, takesUploads: false });
  }

  stats(): Stats {
    return this.#hub.size;
  }

  async listen(): Promise<Address> {
    const { kind } = this.#state;
    if (kind === 'closing') throw new GatewayError('CLOSED', ['The gateway is closed']);
    if (kind !== 'idle') throw new GatewayError('ALREADY_LISTENING', ['listen() comes once']);
    const listening = this.#listen();
    this.#state = { kind: 'listening', listening };
    return listening;
  }

  /** See {@link Listener.accept}. */
  accept(isOn: boolean, onListening: () => void): void {
    if (this.#state.kind === 'listening') this.#listener.accept(isOn, onListening);
  }

  close(drainTimeoutMs = this.#settings.drainTimeoutMs): Promise<void> {
    if (this.#state.kind === 'closing') return this.#state.closed;
    const listening = this.#state.kind === 'listening' ? this.#state.listening : undefined;
    const closed = this.#close(drainTimeoutMs, listening);
    this.#state = { kind: 'closing', closed };
    return closed;
  }

  async #listen(): Promise<Address> {
    const { host, port, adminPort } = this.#settings;
    if (adminPort !== undefined) await this.#admin.listen(host, adminPort);
    try {
      return await this.#listener.listen(host, port);
    } catch (error) {
      await this.#admin.close();
      throw error;
    }
  }

  async #close(drainTimeoutMs: number, listening: Promise<unknown> | undefined): Promise<void> {
    // A server that is about to listen would outlive its end.
    await listening?.catch(() => undefined);
    const { streams } = this.#hub.size;
    this.#log.info('closing', { streams });
    const passed = this.#http.drain();
    this.#hosts.stop();
    const share = Math.min(1, streams / FULL_DRAIN_STREAMS);
    const drained = this.#hub.drain(drainTimeoutMs * (1 - DRAIN_RESERVE) * share);
    const cut = systemClock.setTimeout(() => {
      this.#hub.destroy();
      this.#http.destroy();
    }, Math.max(drainTimeoutMs, MIN_DRAIN_MS));
    await Promise.all([drained, passed]);
    systemClock.clearTimeout(cut);
    this.#loopDelay.stop();
    this.#intake?.close();
    this.#source.close();
    this.#forwarder?.close();
    await Promise.all([this.#listener.close(), this.#admin.close()]);
  }
}
