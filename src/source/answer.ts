/**
 * What an answer of the run API means, as a value: a state, a refusal of this key, or trouble
 * that will pass. Pure: no sockets, no timers.
 */

import { hash } from 'node:crypto';

import { parseRetryAfter } from '../core/backoff.ts';
import { refuse } from '../core/errors.ts';
import type { ErrorCode, Refusal } from '../core/errors.ts';
import { parseExecution } from '../core/execution.ts';
import type { Snapshot, StatusMapping } from '../core/execution.ts';
import type { ApiKey } from '../core/run-source.ts';
import type { Exchange } from './exchange.ts';

/** A state as it was read, and which bytes it came from: the same bytes are the same state. */
export interface Reading {
  /** Of the whole body. Undefined where only the state was kept. */
  readonly bodyDigest: string | undefined;
  /** Upstream's tag for it, and the key that it was given to: another's may mean another run. */
  readonly etag?: { readonly value: string; readonly key: string };
  readonly snapshot: Snapshot;
}

/** A reading of a run, the key it was shown to, and when (monotonic ms) it was asked for. */
export interface Shown {
  readonly runId: string;
  readonly key: ApiKey;
  readonly reading: Reading;
  readonly askedAt: number;
  /** When upstream read it, where it held its answer back: the later read is the newer state. */
  readonly readAt?: number;
}

/** What upstream said. */
export type Answer =
  | { readonly kind: 'state'; readonly reading: Reading; readonly readAt?: number }
  /** 401, 403, 404, 410: upstream's word to this key. */
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  /** Anything that a later try may mend; the refusal is for those who are still waiting. */
  | { readonly kind: 'trouble'; readonly refusal: Refusal; readonly why: string };

/** Upstream's trouble. */
export type Trouble = Extract<Answer, { kind: 'trouble' }>;

/** A state as an answer to `key`, asked for at `askedAt`. */
export function shownIn(
  { reading, readAt }: Extract<Answer, { kind: 'state' }>, runId: string, key: ApiKey,
  askedAt: number,
): Shown {
  return { runId, key, reading, askedAt, ...(readAt !== undefined && { readAt }) };
}

/** Which of two states is the newer one. */
export const readAtOf = ({ askedAt, readAt }: Shown): number => readAt ?? askedAt;

/** What was asked, and what was known then. */
export interface Question {
  readonly runId: string;
  readonly key: ApiKey;
  /** The newest reading known, if any. */
  readonly known: Reading | undefined;
  readonly mapping: StatusMapping;
  readonly wallNow: number;
}

/** An exchange into its meaning. Never throws. */
export function readAnswer(exchange: Exchange, question: Question): Answer {
  switch (exchange.kind) {
    case 'answer':
      return readComplete(exchange, question);
    case 'late':
      return trouble('UPSTREAM_UNAVAILABLE', 'no whole answer in time', { status: 504 });
    case 'too-large':
      return trouble('UPSTREAM_INVALID', 'body over the limit');
    case 'broken':
      return trouble('UPSTREAM_UNAVAILABLE', exchange.why);
  }
}

type Complete = Extract<Exchange, { kind: 'answer' }>;

function readComplete(answer: Complete, question: Question): Answer {
  const { status, headers } = answer;
  if (status === 304 && question.known?.etag?.key === question.key.value) {
    return { kind: 'state', reading: question.known };
  }
  if (status >= 200 && status < 300 && status !== 206) return readState(answer, question);
  const { wallNow } = question;
  const retryAfterMs = parseRetryAfter(headers['retry-after'], headers.date, wallNow);
  const again = retryAfterMs === undefined ? {} : { retryAfterMs };
  const why = `status ${status}`;
  switch (status) {
    case 401:
      return readRefusal('AUTH_INVALID_KEY', answer, question);
    case 403:
      return readRefusal('FORBIDDEN', answer, question);
    case 404: case 410:
      return readRefusal('NOT_FOUND', answer, question);
    case 429:
      return trouble('RATE_LIMITED', why, again);
    case 408: case 425:
      return trouble('UPSTREAM_UNAVAILABLE', why, again);
    default: // Redirects among them: following one would send the key somewhere else.
      return trouble(status >= 500 ? 'UPSTREAM_UNAVAILABLE' : 'UPSTREAM_INVALID', why, again);
  }
}

function readState(answer: Complete, { runId, key, known, mapping }: Question): Answer {
  const { body, headers } = answer;
  const bodyDigest = digestOf(body);
  if (known?.bodyDigest === bodyDigest) return { kind: 'state', reading: known };
  const encoding = headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity') return trouble('UPSTREAM_INVALID', `encoded as ${encoding}`);
  const parsed = parseExecution(runId, body, mapping);
  return parsed.kind === 'snapshot'
    ? { kind: 'state', reading: { bodyDigest, snapshot: parsed.snapshot, ...tagOf(headers, key) } }
    : trouble('UPSTREAM_INVALID', parsed.why);
}

/** A tag that can be sent back as it came. */
function tagOf({ etag }: Complete['headers'], key: ApiKey): Pick<Reading, 'etag'> | undefined {
  const isPlain = etag !== undefined && /^(?:W\/)?"[\x21\x23-\x7e]{0,256}"$/.test(etag);
  return isPlain ? { etag: { value: etag, key: key.value } } : undefined;
}

/** Kept in place of the bytes, which would be half of what a run takes. */
export function digestOf(body: Buffer): string {
  return hash('sha256', body, 'base64');
}

const CODE = /^[A-Z][A-Z0-9_]{0,63}$/;

/** Upstream's own words, where its body has the envelope and they do not repeat the key. */
function readRefusal(code: ErrorCode, { status, body }: Complete, { key }: Question): Answer {
  const ours = refuse(code);
  const theirs = readEnvelope(body);
  const { error: text, code: name } = theirs ?? {};
  const isGone = status === 410; // its code may be anything; here it is missing all the same
  const isPlain = (said: unknown): said is string =>
    typeof said === 'string' && !said.includes(key.value);
  const refusal = {
    ...ours,
    ...(isPlain(text) && { error: text.slice(0, 300) }),
    ...(isPlain(name) && CODE.test(name) && !isGone && { code: name }),
  };
  return { kind: 'refused', refusal };
}

function readEnvelope(body: Buffer): { error?: unknown; code?: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

/** 404 and other answers that a run API gives to a path that it does not know. */
export function isNoRoute(answer: Answer): boolean {
  if (answer.kind === 'refused') return answer.refusal.status === 404;
  return answer.kind === 'trouble' && /^status (?:4(?!08|25|29)\d\d|501)$/.test(answer.why);
}

/** Not what was asked for, but it may be yet. */
export function trouble(code: ErrorCode, why: string, over: Partial<Refusal> = {}): Trouble {
  return { kind: 'trouble', refusal: refuse(code, over), why };
}
