/**
 * Every error that leaves runcast, in one table. An expected failure inside is a value (a
 * {@link Refusal}); an exception is only for the caller of the library ({@link GatewayError}).
 */

/** code → [HTTP status, whether trying again can help, default text]. */
const TABLE = {
  VALIDATION_ERROR: [400, false, 'The request is not valid'],
  AUTH_MISSING_KEY: [401, false, 'An API key is required: x-api-key or Authorization: Bearer'],
  AUTH_INVALID_KEY: [401, false, 'The API key is not valid'],
  TICKET_INVALID: [401, false, 'The ticket is not valid for this'],
  TICKET_EXPIRED: [401, false, 'The ticket has expired'],
  SIGNATURE_INVALID: [401, false, 'The webhook is not signed as it should be'],
  FORBIDDEN: [403, false, 'This API key may not see this run'],
  NOT_FOUND: [404, false, 'Not found'],
  METHOD_NOT_ALLOWED: [405, false, 'This method is not allowed here'],
  REQUEST_TIMEOUT: [408, true, 'The request was not complete in time'],
  BODY_TOO_LARGE: [413, false, 'The body is too large'],
  RATE_LIMITED: [429, true, 'The run API is limiting requests'],
  HEADERS_TOO_LARGE: [431, false, 'The request head is too large'],
  INTERNAL_ERROR: [500, true, 'Something went wrong in the gateway'],
  UPSTREAM_INVALID: [502, true, 'The run API gave an answer that makes no sense'],
  UPSTREAM_UNAVAILABLE: [502, true, 'The run API cannot be reached'],
  RESOURCE_UNAVAILABLE: [503, true, 'The gateway cannot take this now'],
} as const satisfies Record<string, readonly [status: number, retryable: boolean, text: string]>;

/** A code of the table. */
export type ErrorCode = keyof typeof TABLE;
/** All codes, as they stand in the README. */
export const ERROR_CODES = Object.keys(TABLE) as ErrorCode[];

/** Why a request or a stream is refused, as a value. */
export interface Refusal {
  /** Ours from the table; where upstream refused the key itself, upstream's own code. */
  readonly code: string;
  readonly status: number;
  /** One sentence for people. Never holds a key. */
  readonly error: string;
  readonly retryable: boolean;
  /** Milliseconds until a new try makes sense. Only on retryable ones, where it is known. */
  readonly retryAfterMs?: number;
}

/** A refusal from the table; `over` replaces what this case knows better. */
export function refuse(code: ErrorCode, over: Partial<Omit<Refusal, 'retryable'>> = {}): Refusal {
  const [status, retryable, error] = TABLE[code];
  return { code, status, error, retryable, ...over };
}

/** The JSON envelope of an error body, in the run API's own form. */
export function envelope(refusal: Refusal, requestId: string): string {
  const { error, code, retryable, retryAfterMs } = refusal;
  const retryAfter = retryAfterMs === undefined ? {} : { retryAfter: toSeconds(retryAfterMs) };
  return JSON.stringify({ error, code, retryable, ...retryAfter, requestId });
}

/** Whole seconds, rounded up and at least 1, as `Retry-After` wants them (RFC 9110, 10.2.3). */
export function toSeconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000));
}

/** Thrown to the caller of the library, never to a client of the gateway. */
export class GatewayError extends Error {
  override readonly name = 'GatewayError';
  /** `INVALID_OPTIONS`: see `problems`. `ALREADY_LISTENING`, `CLOSED`: order of calls. */
  readonly code: 'INVALID_OPTIONS' | 'ALREADY_LISTENING' | 'CLOSED';
  /** Every mistake found, one sentence each. */
  readonly problems: readonly string[];

  constructor(code: GatewayError['code'], problems: readonly string[]) {
    super(problems.join('\n'));
    this.code = code;
    this.problems = problems;
  }
}
