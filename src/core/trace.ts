/**
 * Whose request makes us ask upstream: what its logs and ours are matched by. Only a proof has one
 * such request; a poll is for all of a run's watchers and carries no trace.
 */

/** What a request is known by on its way. */
export interface Trace {
  /** As in `x-request-id`. */
  readonly requestId: string;
  /** What is known of the trace that it is part of, where its `traceparent` is one. */
  readonly parent?: {
    /** 32 hexadecimal digits. */
    readonly traceId: string;
    /** Two of them. */
    readonly flags: string;
    /** As it came. */
    readonly tracestate: string | undefined;
  };
}

type Headers = Readonly<Record<string, string | readonly string[] | undefined>>;

/** Version, trace id, parent id, flags (W3C Trace Context, 3.2); later ones may go on behind. */
const TRACEPARENT = new RegExp([
  /^(?:00(?=.{53}$)|(?!00|ff)[0-9a-f]{2})/, /(?!0{32})([0-9a-f]{32})/, /(?!0{16})[0-9a-f]{16}/,
  /([0-9a-f]{2})(?:-|$)/,
].map(({ source }) => source).join('-'));
/** A longer `tracestate` may be dropped whole (W3C Trace Context, 3.3.1.5). */
const MAX_STATE_CHARS = 512;

/** A request's trace. What is no `traceparent` counts as none, and `tracestate` with it. */
export function traceOf({ traceparent, tracestate }: Headers, requestId: string): Trace {
  const [, traceId, flags] = TRACEPARENT.exec(String(traceparent)) ?? [];
  if (traceId === undefined || flags === undefined) return { requestId };
  const isKept = typeof tracestate === 'string' && tracestate.length <= MAX_STATE_CHARS;
  const parent = { traceId, flags, tracestate: isKept ? tracestate : undefined };
  return { requestId, parent };
}

/**
 * The headers that carry it on; `parentId`, 16 hexadecimal digits, is this hop's. Of a later
 * version we pass on what we know of it, as our own (W3C Trace Context, 3.2.4).
 */
export function onwardTrace({ requestId, parent }: Trace, parentId: string): Headers {
  return {
    'x-request-id': requestId,
    ...parent && { traceparent: `00-${parent.traceId}-${parentId}-${parent.flags}` },
    ...parent?.tracestate !== undefined && { tracestate: parent.tracestate },
  };
}

/** As facts for a line of the log. */
export function traceFacts({ requestId, parent }: Trace): Readonly<Record<string, string>> {
  return { requestId, ...parent && { traceId: parent.traceId } };
}
