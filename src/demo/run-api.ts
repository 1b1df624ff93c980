/**
 * The embedded demo run API: what `runcast serve` stands in front of when it is told of no other,
 * and an upstream for load tests. It has the run API's surface but for `/stream`, webhooks and
 * what is not about runs.
 */

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import { systemClock } from '../core/clock.ts';
import { envelope, refuse, toSeconds, type Refusal } from '../core/errors.ts';
import { RunStore } from './run-store.ts';
import { executionAt, placeholder, PLAN_DEFAULTS, summaryAt, type Run } from './run.ts';

const DEFAULTS = {
  ...PLAN_DEFAULTS,
  /** On 127.0.0.1; 0: one that is free, which the system picks. */
  port: 0,
  /** Key → the workspace it belongs to. */
  keys: { lma_demo: 'demo' } as Readonly<Record<string, string>>,
  /** For each client address over all of `/v1`; above it 429. */
  requestsPerMinute: 6_000,
  /** Above it the oldest finished run is forgotten, else the oldest. */
  maxRuns: 1_000,
  /** Bytes of all text outputs together, and so about those of a state; 0: sentences. */
  outputTextBytes: 0,
  clock: systemClock,
};
type Settings = Readonly<typeof DEFAULTS>;
/** What is left out is as in {@link DEFAULTS}. */
export type DemoOptions = Partial<Settings>;

/** Starts the demo run API. Rejects where it cannot listen. */
export async function startDemoApi(options: DemoOptions = {}) {
  const settings = { ...DEFAULTS, ...options };
  const api = new Api(settings);
  // All set, because the defaults differ between Node lines. None of them ends a hanging wait.
  const timeouts = { headersTimeout: 10_000, requestTimeout: 30_000, keepAliveTimeout: 75_000 };
  const server = createServer(timeouts, (_, res) => void api.onRequest(res));
  server.listen(settings.port, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  let closed: Promise<unknown> | undefined;
  return {
    /** Without a slash at its end. */
    origin: `http://127.0.0.1:${port}`,
    /** Every key it knows, the one for people to try first. */
    keys: Object.keys(settings.keys),
    /** Ends hanging waits and open connections too; no timer is left. Idempotent. */
    async close(): Promise<void> {
      closed ??= once(server.close(), 'close');
      api.runs.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** A running demo run API. */
export type DemoApi = Awaited<ReturnType<typeof startDemoApi>>;

/** `body` is sent as JSON. */
type Reply = { readonly status: number; readonly body: object } | Refusal;

/** A request whose key is good; `id` is that in its path, of an app or of a run. */
interface Call {
  readonly id: string;
  readonly query: URLSearchParams;
  readonly workspace: string;
  readonly res: ServerResponse;
}
type Handle = (call: Call) => Reply | Promise<Reply>;
type Route = readonly [path: RegExp, method: string, handle: Handle];

const MAX_BODY_BYTES = 64 * 1024;

class Api {
  readonly #settings: Settings;
  readonly runs: RunStore;
  /** Requests by client address, in one minute for all of them. */
  readonly #counts = new Map<string, number>();
  #minuteEndsAtMs = 0;

  readonly #routes: readonly Route[] = [
    [/^\/v1\/apps\/([\w-]{1,128})\/runs$/, 'POST', (call) => this.#create(call)],
    [/^\/v1\/runs$/, 'GET', (call) => this.#list(call)],
    [/^\/v1\/runs\/([\w-]{1,128})$/, 'GET', (call) => this.#show(this.#find(call, true))],
    [/^\/v1\/runs\/([\w-]{1,128})\/wait$/, 'GET', (call) => this.#wait(call)],
    [/^\/v1\/runs\/([\w-]{1,128})\/cancel$/, 'POST', (call) => this.#cancel(call)],
  ];

  constructor(settings: Settings) {
    this.#settings = settings;
    this.runs = new RunStore(settings);
  }

  async onRequest(res: ServerResponse): Promise<void> {
    const reply = await this.#answer(res).catch(() =>
      // Only a body that broke off gets here, and then nobody is left to read this.
      refuse('INTERNAL_ERROR', { error: 'Something went wrong in the demo run API' }));
    const requestId = randomUUID();
    const body = 'code' in reply ? envelope(reply, requestId) : JSON.stringify(reply.body);
    res.writeHead(reply.status, {
      'content-type': 'application/json; charset=utf-8',
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
      'x-request-id': requestId,
    });
    res.end(body);
  }

  async #answer(res: ServerResponse): Promise<Reply> {
    const { method, url, headers } = res.req;
    const [path = '', search] = (url ?? '').split('?', 2);
    const refusal = path.startsWith('/v1/') ? this.#count(res) : undefined;
    if (refusal !== undefined) return refusal;
    const route = this.#routes.find(([pattern]) => pattern.test(path));
    if (route === undefined) return refuse('NOT_FOUND');
    const [pattern, allowed, handle] = route;
    if (method !== allowed) {
      res.setHeader('allow', allowed);
      return refuse('METHOD_NOT_ALLOWED');
    }
    const bearer = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
    const key = headers['x-api-key'] ?? bearer;
    if (typeof key !== 'string' || key === '') return refuse('AUTH_MISSING_KEY');
    const { keys } = this.#settings;
    const workspace = Object.hasOwn(keys, key) ? keys[key] : undefined;
    if (workspace === undefined) return refuse('AUTH_INVALID_KEY');
    const id = pattern.exec(path)?.[1] ?? '';
    return handle({ id, query: new URLSearchParams(search), workspace, res });
  }

  /** Counts a request against its client's limit, and says so in the headers. */
  #count(res: ServerResponse): Refusal | undefined {
    const { clock, requestsPerMinute } = this.#settings;
    const nowMs = clock.now();
    if (nowMs >= this.#minuteEndsAtMs) {
      this.#counts.clear();
      this.#minuteEndsAtMs = nowMs + 60_000;
    }
    const client = res.req.socket.remoteAddress ?? '';
    const count = (this.#counts.get(client) ?? 0) + 1;
    this.#counts.set(client, count);
    const retryAfterMs = this.#minuteEndsAtMs - nowMs;
    res.setHeader('ratelimit-limit', requestsPerMinute);
    res.setHeader('ratelimit-remaining', Math.max(0, requestsPerMinute - count));
    res.setHeader('ratelimit-reset', toSeconds(retryAfterMs));
    if (count <= requestsPerMinute) return undefined;
    res.setHeader('retry-after', toSeconds(retryAfterMs));
    const error = `No more than ${requestsPerMinute} requests a minute`;
    return refuse('RATE_LIMITED', { error, retryAfterMs });
  }

  /** The app may have any name. `{"inputs":{"fail":true}}` makes a run that fails. */
  async #create({ id, workspace, res }: Call): Promise<Reply> {
    let body = Buffer.alloc(0);
    // One that is too large is read to its end too, but not kept.
    for await (const chunk of res.req as AsyncIterable<Buffer>) {
      if (body.length <= MAX_BODY_BYTES) body = Buffer.concat([body, chunk]);
    }
    if (body.length > MAX_BODY_BYTES) {
      return invalid(`The body is larger than ${MAX_BODY_BYTES} bytes`, 413);
    }
    const inputs = inputsOf(body.toString());
    if (inputs === undefined) return invalid('The body must be JSON: {"inputs":{…}}');
    const { runId, workflowId, plan } =
      this.runs.create(workspace, id, inputs['fail'] === true || undefined);
    const outputs = plan.outputs.map(placeholder);
    return { status: 202, body: { data: { runId, workflowId, status: 'queued', outputs } } };
  }

  /** Newest first. */
  #list({ query, workspace }: Call): Reply {
    const limit = integer(query.get('limit') ?? '25');
    if (!(limit >= 1 && limit <= 100)) return invalid('limit must be 1 to 100');
    const offset = integer(query.get('offset') ?? '0');
    if (Number.isNaN(offset)) return invalid('offset must be a whole number');
    const nowMs = this.#settings.clock.now();
    const wanted = query.get('status') || null;
    const runs = this.runs.list(workspace).map((run) => summaryAt(run, nowMs))
      .filter(({ status }) => wanted === null || status === wanted);
    const pagination = { total: runs.length, limit, offset };
    return { status: 200, body: { data: runs.slice(offset, offset + limit), pagination } };
  }

  /** Answers when the run is over, or with the state there is when the time is up. */
  #wait(call: Call): Reply | Promise<Reply> {
    const seconds = integer(call.query.get('timeout') ?? '60');
    if (!(seconds >= 1 && seconds <= 120)) return invalid('timeout must be 1 to 120 seconds');
    const run = this.#find(call, true);
    if ('code' in run) return run;
    return new Promise((resolve) => {
      const leave = this.runs.wait(run, seconds * 1000, (over) => {
        resolve(this.#show(run, over ? {} : { timeout: true }));
      });
      call.res.once('close', leave);
    });
  }

  #cancel(call: Call): Reply {
    const run = this.#find(call, false);
    if (!('code' in run)) this.runs.cancel(run);
    return this.#show(run);
  }

  /** Whether a run may be seen by a workspace is decided here, in one place. */
  #find({ id, workspace }: Call, start: boolean): Run | Refusal {
    const run = this.runs.find(id, start ? workspace : undefined);
    if (run === undefined) return refuse('NOT_FOUND', { error: 'There is no such run' });
    return run.workspace === workspace ? run : refuse('FORBIDDEN');
  }

  #show(run: Run | Refusal, more: { timeout?: true } = {}): Reply {
    if ('code' in run) return run;
    const { clock, outputTextBytes } = this.#settings;
    return { status: 200, body: { data: executionAt(run, clock.now(), outputTextBytes), ...more } };
  }
}

function invalid(error: string, status = 400): Refusal {
  return refuse('VALIDATION_ERROR', { error, status });
}

/** Decimal digits and nothing else; NaN otherwise. */
function integer(text: string): number {
  return /^\d{1,9}$/.test(text) ? Number(text) : NaN;
}

/** The `inputs` of a body, undefined where one of the two is no JSON object. */
function inputsOf(text: string): Record<string, unknown> | undefined {
  try {
    const body = asObject(JSON.parse(text));
    return body && asObject(body['inputs'] ?? {});
  } catch {
    return undefined;
  }
}

function asObject(value: unknown): Record<string, unknown> | undefined {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject ? value as Record<string, unknown> : undefined;
}
