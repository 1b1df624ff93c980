/**
 * What the demo run API can do, one method for each path. Keys and limits have been seen to
 * before; whether a run may be seen by a workspace is decided here, in one place.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';

import type { Clock } from '../core/clock.ts';
import { refuse, type Refusal } from '../core/errors.ts';
import { executionAt, endsAtMs, placeholder, summaryAt, type Run } from './run.ts';
import type { RunStore } from './run-store.ts';
import type { WaitRoom } from './wait-room.ts';

/** A request whose key is good. */
export interface Call {
  /** The id in the path, of an app or of a run; '' where the path has none. */
  readonly id: string;
  readonly query: URLSearchParams;
  readonly workspace: string;
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
}

/** An answer that is not a refusal; `body` is sent as JSON. */
export interface Reply {
  readonly status: number;
  readonly body: unknown;
}

type Handle = (call: Call) => Reply | Refusal | Promise<Reply | Refusal>;

const MAX_BODY_BYTES = 64 * 1024;
const MAX_WAIT_SECONDS = 120;
const MAX_PAGE = 100;

/** The paths, and what each of them does. */
export class Endpoints {
  readonly #clock: Clock;
  readonly #runs: RunStore;
  readonly #waits: WaitRoom;
  readonly #textBytes: number;

  readonly #routes: readonly (readonly [path: RegExp, method: string, handle: Handle])[] = [
    [/^\/v1\/apps\/([A-Za-z0-9_-]{1,128})\/runs$/, 'POST', (call) => this.#create(call)],
    [/^\/v1\/runs$/, 'GET', (call) => this.#list(call)],
    [/^\/v1\/runs\/([A-Za-z0-9_-]{1,128})$/, 'GET', (call) => this.#status(call)],
    [/^\/v1\/runs\/([A-Za-z0-9_-]{1,128})\/wait$/, 'GET', (call) => this.#wait(call)],
    [/^\/v1\/runs\/([A-Za-z0-9_-]{1,128})\/cancel$/, 'POST', (call) => this.#cancel(call)],
  ];

  /** `textBytes`: the size of all text outputs of a run together. */
  constructor(clock: Clock, runs: RunStore, waits: WaitRoom, textBytes: number) {
    this.#clock = clock;
    this.#runs = runs;
    this.#waits = waits;
    this.#textBytes = textBytes;
  }

  /** The endpoint at a raw path, with the one method it takes and the id it names. */
  find(path: string): { id: string; method: string; handle: Handle } | undefined {
    for (const [pattern, method, handle] of this.#routes) {
      const match = pattern.exec(path);
      if (match !== null) return { id: match[1] ?? '', method, handle };
    }
    return undefined;
  }

  /** The app may have any name. `{"inputs":{"fail":true}}` makes a run that fails. */
  async #create({ id, workspace, req }: Call): Promise<Reply | Refusal> {
    const text = await readBody(req);
    if (text === undefined) {
      return invalid(`The body is larger than ${MAX_BODY_BYTES} bytes`, 413);
    }
    const inputs = inputsOf(text);
    if (inputs === undefined) return invalid('The body must be JSON: {"inputs":{…}}');
    const run = this.#runs.create(workspace, id, inputs['fail'] === true);
    const { runId, workflowId, plan } = run;
    const outputs = plan.outputs.map(placeholder);
    return { status: 202, body: { data: { runId, workflowId, status: 'queued', outputs } } };
  }

  /** Newest first: a page of `limit` (1 to 100, default 25) from `offset` on. */
  #list({ query, workspace }: Call): Reply | Refusal {
    const limit = integer(query.get('limit') ?? '25');
    if (!(limit >= 1 && limit <= MAX_PAGE)) return invalid(`limit must be 1 to ${MAX_PAGE}`);
    const offset = integer(query.get('offset') ?? '0');
    if (Number.isNaN(offset)) return invalid('offset must be a whole number');
    const nowMs = this.#clock.now();
    const runs = this.#runs.list(workspace, query.get('status') || null);
    const data = runs.slice(offset, offset + limit).map((run) => summaryAt(run, nowMs));
    return { status: 200, body: { data, pagination: { total: runs.length, limit, offset } } };
  }

  #status(call: Call): Reply | Refusal {
    const run = this.#visible(call, this.#runs.findOrStart(call.id, call.workspace));
    return 'code' in run ? run : this.#show(run);
  }

  /** Answers when the run is over, or with the state there is when the time is up. */
  #wait(call: Call): Reply | Refusal | Promise<Reply> {
    const seconds = integer(call.query.get('timeout') ?? '60');
    if (!(seconds >= 1 && seconds <= MAX_WAIT_SECONDS)) {
      return invalid(`timeout must be 1 to ${MAX_WAIT_SECONDS} seconds`);
    }
    const run = this.#visible(call, this.#runs.findOrStart(call.id, call.workspace));
    if ('code' in run) return run;
    return new Promise((resolve) => {
      const leave = this.#waits.hang(run, seconds * 1000, () => {
        resolve(this.#show(run, endsAtMs(run) > this.#clock.now() ? { timeout: true } : {}));
      });
      call.res.once('close', leave);
    });
  }

  /** Ends the run here and now, and shows it; a run that is over stays what it is. */
  #cancel(call: Call): Reply | Refusal {
    const run = this.#visible(call, this.#runs.find(call.id));
    if ('code' in run) return run;
    const nowMs = this.#clock.now();
    if (nowMs < endsAtMs(run)) {
      run.cancelledAtMs = nowMs;
      this.#waits.wake();
    }
    return this.#show(run);
  }

  #visible({ workspace }: Call, run: Run | undefined): Run | Refusal {
    if (run === undefined) return refuse('NOT_FOUND', { error: 'There is no such run' });
    return run.workspace === workspace ? run : refuse('FORBIDDEN');
  }

  #show(run: Run, more: { timeout?: true } = {}): Reply {
    const data = executionAt(run, this.#clock.now(), this.#textBytes);
    return { status: 200, body: { data, ...more } };
  }
}

function invalid(error: string, status = 400): Refusal {
  return refuse('VALIDATION_ERROR', { error, status });
}

/** Decimal digits and nothing else; NaN otherwise. */
function integer(text: string): number {
  return /^\d{1,9}$/.test(text) ? Number(text) : NaN;
}

/** The whole body, or undefined if it is too large: then it is read to its end, but not kept. */
async function readBody(req: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of req as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes <= MAX_BODY_BYTES) chunks.push(chunk);
  }
  return bytes <= MAX_BODY_BYTES ? Buffer.concat(chunks).toString() : undefined;
}

function inputsOf(text: string): Record<string, unknown> | undefined {
  try {
    const body: unknown = JSON.parse(text);
    const inputs = isObject(body) ? body['inputs'] ?? {} : undefined;
    return isObject(inputs) ? inputs : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
