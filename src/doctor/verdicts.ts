/** What was seen on the way into verdicts, in words. Pure; no Node in here. */

import { ANY_PROXY, adviseOn, guessProxies } from './advice.ts';
import type { Change, Fault, Proxy } from './advice.ts';
import { NONCE_HEADER, WATCHED_HEADERS, sampleHeaders } from './probes.ts';
import type { Examination, Sample, StreamOutcome } from './prober.ts';

/** One thing that was looked at. */
export interface Check {
  readonly name: string;
  /** `unknown`: what was seen tells nothing either way. */
  readonly verdict: 'ok' | 'problem' | 'unknown';
  /** What was seen, one sentence. */
  readonly finding: string;
  /** What to change for it. */
  readonly changes: readonly Change[];
}

/** The outcome as a whole. */
export type Report =
  | { readonly kind: 'unreachable'; readonly reason: string }
  | {
    readonly kind: 'report';
    /** Known to be on the way; there may be more. */
    readonly proxies: readonly Proxy[];
    /** Is anything on the way at all, as far as can be told? */
    readonly isProxied: boolean;
    readonly checks: readonly Check[];
  };

type Examined = Extract<Examination, { kind: 'examined' }>;
type Streamed = Extract<StreamOutcome, { kind: 'streamed' }>;

/** Lateness, in gaps, that a line or a busy machine may well have. */
const USUAL_GAPS = 4;
/** From the head to the first event, which is sent at once. */
const USUAL_DELAY_MS = 500;
/** Between the cuts of two streams that have the same reason. */
const SAME_CUT_MS = 500;
/** What a setting should have to spare over the silence that was cut. */
const SPARE = 4;

/** The same samples give the same report. */
export function judge(examination: Examination): Report {
  if (examination.kind === 'unreachable') return examination;
  const { facts, head, steady } = examination;
  const heads = steady.kind === 'streamed' ? { ...head, ...steady.head } : head;
  const proxies = guessProxies(heads, facts.proxyHeaders);
  const isProxied = proxies.length > 0 || facts.proxyHeaders.length > 0 || 'via' in heads
    || facts.httpVersion === '1.0';
  const judges = [onRequest, onResponse, onHttp, onPace, onPacked, onIdle];
  const checks = judges.map((each) => each(examination, proxies));
  return { kind: 'report', proxies, isProxied, checks };
}

/** How far the latest event was behind the promptest one, in milliseconds. */
export function lagOf(samples: readonly Sample[]): number {
  const lags = samples.map(({ sentMs, arrivedMs }) => arrivedMs - sentMs);
  return samples.length === 0 ? 0 : Math.max(...lags) - Math.min(...lags);
}

function onRequest({ facts, nonce }: Examined, proxies: readonly Proxy[]): Check {
  const name = 'request headers';
  if (facts.nonce !== nonce) {
    const finding = 'the query does not arrive, or the answer comes from a cache';
    return problem(name, finding, [{ kind: 'query' }], proxies);
  }
  const arrivals = WATCHED_HEADERS.map((header) =>
    [header, facts.requestHeaders[header]] as const);
  // Without it streams are larger, and nothing else.
  const harmed = arrivals.filter(([header, how]) =>
    how !== 'whole' && header !== 'accept-encoding');
  if (harmed.length > 0) {
    const finding = harmed.map(([header, how]) => `${header} is ${how} on arrival`).join('; ');
    const faults = harmed.map(([header]) => ({ kind: 'requestHeader', name: header }) as const);
    return problem(name, finding, faults, proxies);
  }
  const isPlain = facts.requestHeaders['accept-encoding'] !== 'whole';
  const rest = isPlain ? '; accept-encoding does not: runcast compresses nothing' : '';
  return ok(name, `keys, Last-Event-ID and Accept arrive as they were sent${rest}`);
}

function onResponse(examination: Examined, proxies: readonly Proxy[]): Check {
  const { steady, nonce, facts, head: factsHead } = examination;
  const name = 'response headers';
  if (steady.kind === 'refused') return unknown(name, steady.reason);
  const { head } = steady;
  if (Object.keys(head).length === 0) return unknown(name, `no head came: it was ${steady.end}`);
  const kept: readonly (readonly [header: string, isKept: boolean])[] = [
    ['content-type', /^text\/event-stream\b/i.test(head['content-type'] ?? '')],
    // nginx takes x-accel-buffering for itself, as it should, and so that is not looked for.
    ['cache-control', /no-store.*no-transform|no-transform.*no-store/i
      .test(head['cache-control'] ?? '')],
    ['x-request-id', head['x-request-id'] !== undefined],
    [NONCE_HEADER, head[NONCE_HEADER] === nonce],
    ...Object.entries(sampleHeaders(nonce))
      .filter(([header]) => facts.responseHeaders?.includes(header))
      // Who compresses weakens a tag, which is as good.
      .map(([header, sent]) => [header, factsHead[header]?.replace(/^W\//, '') === sent] as const),
  ];
  const harmed = kept.filter(([, isKept]) => !isKept).map(([header]) => header);
  if (harmed.length === 0) {
    return ok(name, `${kept.map(([header]) => header).join(', ')} come back as they were sent`);
  }
  const faults = harmed.map((header) => ({ kind: 'responseHeader', name: header }) as const);
  return problem(name, `changed or missing on return: ${harmed.join(', ')}`, faults, proxies);
}

function onHttp({ facts }: Examined, proxies: readonly Proxy[]): Check {
  const name = 'protocol';
  const finding = `the last hop speaks HTTP/${facts.httpVersion}`;
  if (facts.httpVersion !== '1.0') return ok(name, finding);
  const changes = adviseOn({ kind: 'oldHttp' }, proxies);
  return { ...ok(name, `${finding}: it works, but runcast compresses nothing`), changes };
}

function onPace({ steady, gapMs }: Examined, proxies: readonly Proxy[]): Check {
  const name = 'buffering';
  if (steady.kind === 'refused') return unknown(name, steady.reason);
  const coding = steady.head['content-encoding'];
  const by = coding === undefined ? '' : `; compressed with ${coding} on the way`;
  const faults: readonly Fault[] =
    [{ kind: 'buffers' }, ...coding === undefined ? [] : [{ kind: 'compresses' } as const]];
  return onLag(name, steady, gapMs, by, faults, proxies);
}

function onPacked({ packed, steady, gapMs, facts }: Examined, proxies: readonly Proxy[]): Check {
  const name = 'compression';
  if (!facts.compress) return ok(name, 'off at runcast');
  if (packed.kind === 'refused') return unknown(name, packed.reason);
  const isPacked = packed.head['content-encoding'] !== undefined;
  const isAsked = facts.requestHeaders['accept-encoding'] === 'whole'
    && facts.httpVersion !== '1.0';
  const by = !isPacked ? '; not compressed' : isAsked ? '; compressed' : '; compressed on the way';
  if (steady.kind === 'streamed' && isHeldBack(steady, gapMs) && isHeldBack(packed, gapMs)) {
    return unknown(name, 'held back, as streams are that are not compressed');
  }
  const faults = [{ kind: 'buffers' }, { kind: 'compresses' }] as const;
  return onLag(name, packed, gapMs, by, faults, proxies);
}

function onLag(
  name: string, outcome: Streamed, gapMs: number, addition: string, faults: readonly Fault[],
  proxies: readonly Proxy[],
): Check {
  const { samples, end } = outcome;
  const lagMs = lagOf(samples);
  const late = `events come up to ${seconds(lagMs)} late${addition}`;
  // Held back until it was cut, none may have come at all.
  if (samples.length === 0) {
    return problem(name, `no event came before the stream was ${end}`, faults, proxies);
  }
  if (isHeldBack(outcome, gapMs)) {
    return problem(name, `${late}: something holds them back`, faults, proxies);
  }
  if (end !== 'whole') {
    return unknown(name, `the stream was ${end} after ${seconds(outcome.endedMs)}`);
  }
  if (lagMs > gapMs * USUAL_GAPS) return unknown(name, `${late}: a slow line, or a small buffer`);
  const delayMs = delayOf(outcome);
  if (delayMs > USUAL_DELAY_MS) {
    const finding = `every event comes ${seconds(delayMs)} late, behind a head that does not`;
    return problem(name, finding + addition, faults, proxies);
  }
  return ok(name, `each event comes by itself, at most ${seconds(lagMs)} late${addition}`);
}

/** What all events are late by: the promptest of them, behind the head. */
function delayOf({ samples, headMs }: Streamed): number {
  return Math.min(...samples.map(({ sentMs, arrivedMs }) => arrivedMs - sentMs)) - headMs;
}

/** A stall delays a few events; what is held back is late by much of the stream's length. */
function isHeldBack({ samples }: Streamed, gapMs: number): boolean {
  const lagMs = lagOf(samples);
  return lagMs > gapMs * USUAL_GAPS && lagMs >= (samples.at(-1)?.sentMs ?? 0) / 2;
}

/** Were streams cut at the same time, whether events came in them or not? */
function isTimeCut({ lasting, packed, idle }: Examined): boolean {
  const cutMs = cutMsOf(lasting);
  return lasting.kind === 'streamed' && lasting.samples.length > 1
    && [packed, idle].some((other) => Math.abs(cutMsOf(other) - cutMs) < SAME_CUT_MS);
}

/** NaN where it was not cut. */
function cutMsOf(outcome: StreamOutcome): number {
  return outcome.kind === 'streamed' && outcome.end === 'cut' ? outcome.endedMs : NaN;
}

function onIdle(examination: Examined, proxies: readonly Proxy[]): Check {
  const { idle, idleMs, lasting } = examination;
  const name = 'silence';
  if (isTimeCut(examination)) {
    const finding = `responses are cut after ${seconds(cutMsOf(lasting))}, whatever comes in them`;
    return problem(name, finding, [{ kind: 'ends' }], alsoAny(proxies));
  }
  if (idle.kind === 'refused') return unknown(name, idle.reason);
  const { samples, end, endedMs } = idle;
  if (end === 'whole') return ok(name, `${seconds(idleMs)} without an event are let through`);
  const afterMs = endedMs - (samples.at(-1)?.arrivedMs ?? 0);
  const idleSeconds = Math.ceil(idleMs / 1000) * SPARE;
  const how = end === 'cut' ? 'the connection is cut' : 'nothing comes any more';
  const finding = `${how} after ${seconds(afterMs)} of ${seconds(idleMs)} without an event`;
  const pingMs = Math.floor(afterMs / 2);
  const fault = { kind: 'cuts', idleSeconds, pingMs } as const;
  return problem(name, finding, [fault], alsoAny(proxies));
}

/** The one that is known need not be the one that cuts. */
const alsoAny = (proxies: readonly Proxy[]): readonly Proxy[] =>
  proxies.length > 0 ? [...proxies, ANY_PROXY] : [];

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

const ok = (name: string, finding: string): Check =>
  ({ name, verdict: 'ok', finding, changes: [] });

const unknown = (name: string, finding: string): Check =>
  ({ name, verdict: 'unknown', finding, changes: [] });

function problem(
  name: string, finding: string, faults: readonly Fault[], proxies: readonly Proxy[],
): Check {
  const changes = faults.flatMap((fault) => adviseOn(fault, proxies));
  return { name, verdict: 'problem', finding, changes };
}
