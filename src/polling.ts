/** The upstream side of a gateway, put together from its settings: what polls, what is pushed. */

import { systemClock } from './core/clock.ts';
import { mappingOf } from './core/execution.ts';
import type { Forwarder, Toll } from './core/forward.ts';
import type { Intake } from './core/intake.ts';
import type { Logger } from './core/log.ts';
import type { Metrics } from './core/metrics.ts';
import type { RunSource } from './core/run-source.ts';
import type { Settings } from './options.ts';
import { PollDriver } from './source/driver.ts';
import type { Driver, DriverOptions } from './source/driver.ts';
import { UpstreamForwarder } from './source/forward.ts';
import { PushIntake } from './source/intake.ts';
import { ListDriver } from './source/list-driver.ts';
import { PollingSource } from './source/polling-source.ts';
import { RunApi } from './source/run-api.ts';
import { SigningKeys } from './source/signing-keys.ts';
import type { KeyPlace } from './source/signing-keys.ts';
import { StreamDriver } from './source/stream-driver.ts';
import { Upstream } from './source/upstream.ts';
import { WaitDriver } from './source/wait-driver.ts';

/** A source that polls, and the intake of what is pushed to it. */
export function polling(
  settings: Settings, log: Logger, metrics: Metrics,
): { readonly inner: RunSource; readonly intake: Intake; readonly toll: Toll } {
  const { upstreamPath: path, upstreamTimeoutMs: timeoutMs, maxBodyBytes } = settings;
  const url = new URL(settings.upstream ?? '');
  const { pollIntervalMs, upstreamRate: rate } = settings;
  const mapping = mappingOf(settings);
  const shared = { clock: systemClock, random: Math.random, log, metrics };
  const upstream = new Upstream({ url, path, timeoutMs, maxBodyBytes }, systemClock);
  const api = new RunApi({ ...shared, upstream, mapping, rate });
  const driver = driverFor(settings, { api, clock: systemClock, pollIntervalMs });
  const inner = new PollingSource({ ...shared, api, driver, pollIntervalMs });
  const place = keyPlace(settings);
  const keys = place && new SigningKeys({ place, api, clock: systemClock, log });
  return { inner, toll: api, intake: new PushIntake({ source: inner, mapping, keys, metrics }) };
}

/** Who passes requests on, where that is wanted and there is an upstream to pass them to. */
export function forwarding(
  settings: Settings, metrics: Metrics, toll: Toll | undefined,
): Forwarder | undefined {
  const { forward, upstream: url, upstreamPath: path, maxBodyBytes } = settings;
  if (!forward || url === undefined || toll === undefined) return undefined;
  const headMs = settings.upstreamTimeoutMs;
  const bounds = { timeoutMs: headMs, maxBodyBytes };
  const upstream = new Upstream({ url: new URL(url), path, ...bounds }, systemClock);
  return new UpstreamForwarder({ upstream, toll, clock: systemClock, metrics, headMs });
}

/** Where the keys of webhooks are, if they are anywhere. */
function keyPlace(settings: Settings): KeyPlace | undefined {
  const { upstream, webhookJwks: given, upstreamKey, maxBodyBytes } = settings;
  const bounds = { timeoutMs: settings.upstreamTimeoutMs, maxBodyBytes };
  const api = new URL(upstream ?? '');
  if (given === undefined) {
    if (upstreamKey === undefined) return undefined;
    const path = '/v1/webhooks/signing-key';
    const key = { value: upstreamKey, header: 'x-api-key' } as const;
    const upstreamOf = new Upstream({ url: api, path, ...bounds }, systemClock);
    return { kind: 'http', upstream: upstreamOf, key, isBudgeted: true };
  }
  if (!/^https?:/i.test(given)) return { kind: 'file', path: given };
  const { origin, pathname, search } = new URL(given);
  const at = { url: new URL(origin), path: pathname + search, ...bounds };
  const isBudgeted = origin === api.origin;
  return { kind: 'http', upstream: new Upstream(at, systemClock), key: undefined, isBudgeted };
}

function driverFor({ sourceKind }: Settings, options: DriverOptions): Driver {
  switch (sourceKind) {
    case 'wait':
      return new WaitDriver(options);
    case 'stream':
      return new StreamDriver(options, Math.random);
    case 'list':
      return new ListDriver(options, Math.random);
    case 'poll':
      return new PollDriver(options);
  }
}
