/**
 * The client's side of an examination: asks the probes and notes when each event arrives. What
 * that means is `verdicts.ts`' business. No Node in here: browsers run it too.
 */

import type { Clock } from '../core/clock.ts';
import { reasonOf } from '../core/reason.ts';
import { SseParser } from '../core/sse-parser.ts';
import type { SseEvent } from '../core/sse-parser.ts';
import { MAX_PROBE_SECONDS, PROBE_PATHS, probeHeaders } from './probes.ts';
import type { Facts } from './probes.ts';

/** One event of a probe stream; milliseconds since its first byte was sent, and since we asked. */
export interface Sample {
  readonly sentMs: number;
  readonly arrivedMs: number;
}

/** What came of a probe stream. Header names in lower case. */
export type StreamOutcome =
  | {
    readonly kind: 'streamed';
    readonly head: Readonly<Record<string, string>>;
    readonly samples: readonly Sample[];
    /** `whole`: the last event came; `cut`: it ended before; `stalled`: nothing, and no end. */
    readonly end: 'whole' | 'cut' | 'stalled';
    /** When the head came. 0: none did. Browsers tell of it together with the first event. */
    readonly headMs: number;
    /** When it ended. */
    readonly endedMs: number;
  }
  | { readonly kind: 'refused'; readonly reason: string };

/** All that was seen. */
export type Examination =
  | { readonly kind: 'unreachable'; readonly reason: string }
  | {
    readonly kind: 'examined';
    readonly nonce: string;
    readonly facts: Facts;
    /** Of the answer with the facts. */
    readonly head: Readonly<Record<string, string>>;
    readonly gapMs: number;
    readonly idleMs: number;
    readonly steady: StreamOutcome;
    readonly packed: StreamOutcome;
    readonly idle: StreamOutcome;
    /** A steady one that was to last longer than the idle one did, where that was cut. */
    readonly lasting: StreamOutcome;
  };

/** How to examine. */
export interface ExamineOptions {
  readonly clock: Clock;
  /** Silence to be let through. Default: the gateway's ping interval. At most 120 s. */
  readonly idleMs?: number | undefined;
  /** Of the streams with a steady pace. Default 3000. */
  readonly steadyMs?: number | undefined;
}

const STEADY_MS = 3000;
const GAP_MS = 250;
/** So much longer than silence lasted until it was cut: is it silence that is cut? */
const OUTLAST_MS = 1000;
/** For an answer, on top of the time that a probe takes by itself. */
const PATIENCE_MS = 15_000;
const MAX_EVENT_BYTES = 4096;
/** Facts are much smaller; what is larger is a stranger's. */
const MAX_FACTS_CHARS = 65_536;
/** The longest probe with the shortest pause has fewer. */
const MAX_SAMPLES = 5000;
/** Why nothing is known of such a stream. */
const NO_PROBE = 'the probe was answered with events of another stream, as one that is refused is';
/** Of what a stranger says. */
const MAX_SHOWN = 200;

/** Runs all probes against the gateway at `base`, side by side. Never rejects. */
export async function examine(base: URL, options: ExamineOptions): Promise<Examination> {
  const { clock, steadyMs = STEADY_MS } = options;
  const nonce = newNonce();
  const asked = await ask(base, nonce, clock);
  if (typeof asked === 'string') return { kind: 'unreachable', reason: asked };
  const { facts, head } = asked;
  const idleMs = Math.min(options.idleMs ?? facts.pingIntervalMs, MAX_PROBE_SECONDS * 1000);
  const probe = (gapMs: number, ms: number, isPacked: boolean): Promise<StreamOutcome> => {
    const query = { nonce, gapMs, seconds: Math.round(ms) / 1000, gzip: isPacked ? 1 : 0 };
    return stream(urlOf(base, PROBE_PATHS.stream, query), nonce, ms + PATIENCE_MS, clock);
  };
  const [steady, packed, idle] = await Promise.all([
    probe(GAP_MS, steadyMs, false), probe(GAP_MS, steadyMs, true), probe(idleMs, idleMs, false),
  ]);
  const cutMs = idle.kind === 'streamed' && idle.end === 'cut' ? idle.endedMs : 0;
  const lasting = cutMs < steadyMs ? steady
    : await probe(GAP_MS, Math.min(cutMs + OUTLAST_MS, MAX_PROBE_SECONDS * 1000), false);
  return {
    kind: 'examined', nonce, facts, head, gapMs: GAP_MS, idleMs, steady, packed, idle, lasting,
  };
}

function newNonce(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

function urlOf(base: URL, path: string, query: Record<string, string | number>): URL {
  const folder = base.pathname.endsWith('/') ? base.pathname : `${base.pathname}/`;
  const url = new URL(folder + path, base.origin);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, `${value}`);
  return url;
}

/** The facts, or why there are none. */
async function ask(
  base: URL, nonce: string, clock: Clock,
): Promise<{ readonly facts: Facts; readonly head: Record<string, string> } | string> {
  const limit = new Limit(clock, PATIENCE_MS);
  const url = urlOf(base, PROBE_PATHS.facts, { nonce });
  try {
    const response = await fetch(url, initOf(nonce, limit.signal));
    const facts = factsIn(await startOf(response));
    if (facts !== undefined) return { facts, head: headOf(response) };
    const elsewhere = response.headers.get('location');
    const to = elsewhere === null ? '' : ` (go to ${elsewhere.slice(0, MAX_SHOWN)})`;
    return `${url.origin}${url.pathname} answers ${response.status}${to}, and not as runcast does`;
  } catch (error) {
    return limit.isOver ? `no answer within ${PATIENCE_MS / 1000} s` : reasonOf(error);
  } finally {
    limit.clear();
  }
}

/** A redirect is not followed: to another origin some headers would not come along. */
function initOf(nonce: string, signal: AbortSignal) {
  return { headers: probeHeaders(nonce), signal, cache: 'no-store', redirect: 'manual' } as const;
}

/** Its body, and hardly more than may be in there. */
async function startOf({ body }: Response): Promise<string> {
  const decoder = new TextDecoder();
  const reader = body?.getReader();
  let text = '';
  while (text.length <= MAX_FACTS_CHARS) {
    const part = await reader?.read();
    if (part?.value === undefined) break;
    text += decoder.decode(part.value as Uint8Array, { stream: true });
  }
  return text;
}

function factsIn(text: string): Facts | undefined {
  if (text.length > MAX_FACTS_CHARS) return undefined;
  try {
    const body: unknown = JSON.parse(text);
    return isFacts(body) ? body : undefined;
  } catch {
    return undefined;
  }
}

function isFacts(body: unknown): body is Facts {
  const { httpVersion, requestHeaders, responseHeaders = [], proxyHeaders, pingIntervalMs } =
    (body ?? {}) as Partial<Facts>;
  return typeof httpVersion === 'string' && typeof requestHeaders === 'object'
    && requestHeaders !== null && Object.values(requestHeaders).every((how) => isText(how))
    && Array.isArray(responseHeaders) && Array.isArray(proxyHeaders)
    && Number.isFinite(pingIntervalMs);
}

const isText = (value: unknown): boolean => typeof value === 'string';

async function stream(
  url: URL, nonce: string, patienceMs: number, clock: Clock,
): Promise<StreamOutcome> {
  const limit = new Limit(clock, patienceMs);
  const startedMs = clock.now();
  const samples: Sample[] = [];
  let head: Record<string, string> = {};
  let headMs = 0;
  const over = (end: 'whole' | 'cut' | 'stalled'): StreamOutcome =>
    ({ kind: 'streamed', head, samples, end, headMs, endedMs: clock.now() - startedMs });
  try {
    const response = await fetch(url, initOf(nonce, limit.signal));
    headMs = clock.now() - startedMs;
    head = headOf(response);
    const refused = head['x-runcast-refused'] ?? (response.status === 200 ? '' : response.status);
    if (refused !== '' || response.body === null) {
      void response.body?.cancel();
      return { kind: 'refused', reason: `the probe was answered with ${refused}` };
    }
    const parser = new SseParser(MAX_EVENT_BYTES);
    const reader = response.body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const arrivedMs = clock.now() - startedMs;
      for (const event of parser.push(part.value as Uint8Array)) {
        const sentMs = sentMsOf(event);
        // A refusal too, whose header was lost on the way: one ping, and nothing else.
        const isProbe = sentMs !== undefined && samples.length < MAX_SAMPLES;
        if (!isProbe) return { kind: 'refused', reason: NO_PROBE };
        samples.push({ sentMs, arrivedMs });
        if (event.type === 'done') return over('whole');
      }
    }
    return over('cut');
  } catch {
    // Browsers tell of a head only once something of the body has come.
    return over(limit.isOver ? 'stalled' : 'cut');
  } finally {
    limit.clear();
  }
}

/** Undefined: it is no event of a probe. */
function sentMsOf({ type, data }: SseEvent): number | undefined {
  if (type !== 'tick' && type !== 'done') return undefined;
  const { sentMs } = JSON.parse(data) as { readonly sentMs?: unknown };
  return typeof sentMs === 'number' && Number.isFinite(sentMs) ? sentMs : undefined;
}

function headOf({ headers }: Response): Record<string, string> {
  const head: Record<string, string> = {};
  headers.forEach((value, name) => (head[name] = value));
  return head;
}

/** A deadline that is gone with its request. */
class Limit {
  readonly #aborter = new AbortController();
  readonly #clock: Clock;
  readonly #timer: ReturnType<Clock['setTimeout']>;

  constructor(clock: Clock, ms: number) {
    this.#clock = clock;
    this.#timer = clock.setTimeout(() => this.#aborter.abort(), ms);
  }

  get signal(): AbortSignal {
    return this.#aborter.signal;
  }

  get isOver(): boolean {
    return this.#aborter.signal.aborted;
  }

  clear(): void {
    this.#clock.clearTimeout(this.#timer);
    // What was not read is not waited for.
    if (!this.isOver) this.#aborter.abort();
  }
}
