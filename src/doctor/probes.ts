/**
 * What both sides of the doctor agree on: where its probes are, what they may ask for and what
 * comes back. No Node in here: browsers run it too.
 */

/** Below the gateway's own address. */
export const PROBE_PATHS = { facts: 'doctor.json', stream: 'doctor/stream' } as const;

/** Of a probe stream; what is asked beyond them is refused. */
export const MAX_PROBE_SECONDS = 120;
/** The same, in milliseconds, for the pause between two events. */
export const MIN_GAP_MS = 50;
/** Streams of the doctor at once, in each process; more are refused with a 503. */
export const MAX_PROBES = 16;

/** What the answer with the facts carries for no other reason than to be looked for. */
export function sampleHeaders(nonce: string): Record<string, string> {
  return { 'etag': `"${nonce}"`, 'retry-after': '1', 'x-runcast-refused': '200 PROBE' };
}

/** What a client makes up for one examination: whether it comes back tells what was changed. */
export const NONCE = /^[a-z0-9]{8,64}$/;
/** Every answer to a probe carries the nonce in this header. */
export const NONCE_HEADER = 'x-runcast-doctor';

/** Request headers that the gateway's clients depend on. */
export const WATCHED_HEADERS = [
  'x-api-key', 'authorization', 'last-event-id', 'accept', 'accept-encoding',
] as const;
/** One of them. */
export type WatchedHeader = (typeof WATCHED_HEADERS)[number];

/** Request headers that only something on the way adds. */
export const PROXY_HEADERS = [
  'x-forwarded-for', 'x-forwarded-proto', 'forwarded', 'x-real-ip', 'via', 'x-amzn-trace-id',
  'cf-ray', 'cf-connecting-ip', 'x-envoy-external-address', 'fastly-client-ip', 'x-azure-ref',
  'x-amz-cf-id', 'x-vercel-id', 'fly-client-ip',
] as const;

/** How a header came to the gateway. Never its value. */
export type Arrival = 'whole' | 'changed' | 'missing';

/** `GET doctor.json?nonce=…`: the request as the gateway saw it, and what a stream here is like. */
export interface Facts {
  /** Null where the query did not arrive. */
  readonly nonce: string | null;
  /** Of the last hop. */
  readonly httpVersion: string;
  readonly requestHeaders: Readonly<Record<WatchedHeader, Arrival>>;
  /** Names of what {@link sampleHeaders} are with this answer. Older gateways have none. */
  readonly responseHeaders?: readonly string[];
  /** Names only, of {@link PROXY_HEADERS}. */
  readonly proxyHeaders: readonly string[];
  /** The longest silence there is in a stream. */
  readonly pingIntervalMs: number;
  readonly compress: boolean;
}

/** What a probe sends in the watched headers; a browser sends the last one by itself. */
export function probeHeaders(nonce: string): Record<WatchedHeader, string> {
  return {
    'x-api-key': `doctor-${nonce}`,
    'authorization': `Bearer doctor-${nonce}`,
    'last-event-id': nonce,
    'accept': 'text/event-stream',
    'accept-encoding': 'gzip',
  };
}
