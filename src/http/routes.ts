/** Method and raw target into a route, as a value. Pure: what to do with it is the handler's. */

import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import { MAX_RUNS, RUN_ID } from '../core/run-id.ts';
import { parseDoctorRoute } from './doctor-routes.ts';
import type { DoctorRoute } from './doctor-routes.ts';
import { parseForward } from './forward-route.ts';
import type { ForwardRoute } from './forward-route.ts';
import { parsePageRoute } from './live-page.ts';
import type { PageRoute } from './live-page.ts';

/** What a request is for. */
export type Route =
  | { readonly kind: 'stream'; readonly runId: string; readonly query: URLSearchParams }
  | {
    readonly kind: 'streams'; readonly runIds: readonly string[]; readonly query: URLSearchParams;
  }
  | { readonly kind: 'wait'; readonly runId: string; readonly timeoutMs: number }
  | { readonly kind: 'status' | 'poke' | 'publish' | 'ticket'; readonly runId: string }
  | { readonly kind: 'webhook' }
  | DoctorRoute
  | PageRoute
  | ForwardRoute
  | { readonly kind: 'live' | 'ready' | 'health' | 'metrics' | 'openapi' }
  | { readonly kind: 'refused'; readonly refusal: Refusal; readonly allow?: string };
/** For a stream of a run. */
export type StreamRoute = Extract<Route, { kind: 'stream' }>;
/** For one stream of several runs. */
export type StreamsRoute = Extract<Route, { kind: 'streams' }>;
/** For the end of a run. */
export type WaitRoute = Extract<Route, { kind: 'wait' }>;

/** Routes that are there only where somebody has set them up. */
export interface Offers {
  readonly publish: boolean;
  readonly webhooks: boolean;
  readonly page: boolean;
  /** To upstream with all else below `/v1`. */
  readonly forward: boolean;
  /** Default: on. Off where they have a port of their own. */
  readonly probes?: boolean;
}

const NONE: Offers = { publish: false, webhooks: false, page: false, forward: false };

/** Alive, whatever upstream does; taking new streams; and alive with the numbers of the moment. */
const PROBES: ReadonlyMap<string, 'live' | 'ready' | 'health' | 'metrics'> = new Map([
  ['/livez', 'live'], ['/readyz', 'ready'], ['/healthz', 'health'],
  ['/metrics', 'metrics'],
]);
/** The path of a stream of several runs, which are named by its query. */
const STREAMS_PATH = '/v1/runs/stream';
/** Characters of a wrong run id that a message shows. */
const MAX_PRINTED = 64;
/** `stream` by itself is no run: that path is for streams of several. */
const RUN_PATH = /^\/v1\/runs\/(?:(.*)\/(stream|wait|poke|ticket)|(?!stream$)([^/]+))$/s;
const METHODS: Readonly<Record<string, readonly string[]>> = {
  stream: ['GET'], wait: ['GET'], status: ['GET', 'HEAD'], poke: ['POST'], ticket: ['POST'],
};

const DEFAULT_WAIT_S = 60;
const MAX_WAIT_S = 120;

/**
 * The target is taken as it was sent: `new URL` would fold `%2e%2e` away and let `//host` swap
 * the host. Absolute-form is accepted, as RFC 9112 (3.2.2) demands; its authority means nothing.
 * `base` is taken off where no proxy or host has done so.
 */
export function parseRoute(method: string, target: string, offers = NONE, base = ''): Route {
  const local = localOf(target);
  const [whole = '', ...rest] = local.split('?');
  const path = whole.startsWith(`${base}/`) ? whole.slice(base.length) : whole;
  const probe = offers.probes === false ? undefined : probeRoute(method, path);
  if (probe !== undefined) return probe;
  if (path === '/openapi.json') return allow(method, ['GET', 'HEAD']) ?? { kind: 'openapi' };
  const query = new URLSearchParams(rest.join('?'));
  const consulted = parseDoctorRoute(path, query);
  if (consulted !== undefined) {
    const methods = consulted.kind === 'doctor-stream' ? ['GET'] : ['GET', 'HEAD'];
    return allow(method, methods) ?? consulted;
  }
  const onPage = offers.page ? parsePageRoute(path) : undefined;
  if (onPage !== undefined) return allow(method, ['GET', 'HEAD']) ?? onPage;
  if (path === '/v1/webhooks/runs' && offers.webhooks) {
    return allow(method, ['POST']) ?? { kind: 'webhook' };
  }
  if (path === STREAMS_PATH) return allow(method, ['GET']) ?? streamsRoute(query);
  const [isRun, parent, name = 'status', id] = RUN_PATH.exec(path) ?? [];
  const methods = [...METHODS[name] ?? [], ...name === 'status' && offers.publish ? ['PUT'] : []];
  const isOurs = isRun !== undefined && parent?.includes('/') !== true
    && (name !== 'status' || methods.includes(method));
  const forwarded = isOurs || !offers.forward
    ? undefined : parseForward(method, local.slice(whole.length - path.length));
  if (forwarded !== undefined) return forwarded;
  if (isRun === undefined) return nothingHere();
  const runId = decodeOnce(parent ?? id ?? '');
  return allow(method, methods) ?? routeOf(method === 'PUT' ? 'publish' : name, runId, query);
}

/** The same on a port that has nothing but probes and metrics. */
export function parseAdminRoute(method: string, target: string): Route {
  return probeRoute(method, localOf(target).split('?')[0] ?? '') ?? nothingHere();
}

function probeRoute(method: string, path: string): Route | undefined {
  const kind = PROBES.get(path);
  return kind && (allow(method, ['GET', 'HEAD']) ?? { kind });
}

const localOf = (target: string): string => target.replace(/^https?:\/\/[^/?#]*/i, '');

const nothingHere = (): Route => refused(refuse('NOT_FOUND', { error: 'There is nothing here' }));

function routeOf(kind: string, runId: string | undefined, query: URLSearchParams): Route {
  if (runId === undefined || !RUN_ID.test(runId)) {
    return refused(refuse('VALIDATION_ERROR', { error: `runId must match ${RUN_ID.source}` }));
  }
  switch (kind) {
    case 'stream':
      return { kind, runId, query };
    case 'wait': {
      const timeoutMs = readTimeout(query);
      const error = `timeout is whole seconds from 1 to ${MAX_WAIT_S}`;
      return timeoutMs === undefined
        ? refused(refuse('VALIDATION_ERROR', { error })) : { kind, runId, timeoutMs };
    }
    case 'poke': case 'publish': case 'ticket':
      return { kind, runId };
    default:
      return { kind: 'status', runId };
  }
}

/** A run that is named twice is followed once. */
function streamsRoute(query: URLSearchParams): Route {
  const runIds = [...new Set(query.getAll('runId'))];
  const bad = runIds.filter((runId) => !RUN_ID.test(runId));
  if (bad.length > 0) {
    const named = bad.map((runId) => JSON.stringify(runId.slice(0, MAX_PRINTED))).join(', ');
    const error = `runId must match ${RUN_ID.source}, not ${named}`;
    return refused(refuse('VALIDATION_ERROR', { error }));
  }
  if (runIds.length >= 1 && runIds.length <= MAX_RUNS) {
    return { kind: 'streams', runIds, query };
  }
  const error = `1 to ${MAX_RUNS} runs are named by ?runId=…&runId=…, not ${runIds.length}`;
  return refused(refuse('VALIDATION_ERROR', { error }));
}

/** Milliseconds. */
function readTimeout(query: URLSearchParams): number | undefined {
  const [given = String(DEFAULT_WAIT_S), another] = query.getAll('timeout');
  const seconds = /^[1-9]\d{0,2}$/.test(given) ? Number(given) : Infinity;
  return another === undefined && seconds <= MAX_WAIT_S ? seconds * 1000 : undefined;
}

function allow(method: string, methods: readonly string[]): Route | undefined {
  if (methods.includes(method)) return undefined;
  return { kind: 'refused', refusal: refuse('METHOD_NOT_ALLOWED'), allow: methods.join(', ') };
}

const refused = (refusal: Refusal): Route => ({ kind: 'refused', refusal });

function decodeOnce(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}
