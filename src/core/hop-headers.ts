/**
 * Headers on their way through, in both directions: what belongs to one hop stays on it (RFC 9110,
 * 7.6.1), what tells of the way is added. Pure functions over names and values in turn.
 */

/** Who asks, as far as its connection tells. */
export interface Hop {
  /** As in `1.1`. */
  readonly httpVersion: string;
  readonly address: string;
  readonly isEncrypted: boolean;
  readonly requestId: string;
}

const HOP_BY_HOP = [
  'connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization',
  'proxy-authentication-info', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'http2-settings',
];
/** Made anew for the next hop. `Expect` is met by the server itself. */
const OURS = ['host', 'content-length', 'expect', 'x-request-id', 'via',
  'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'forwarded'];
const NAME = 'runcast';
/** A chain of so many gateways is taken for a circle. */
export const MAX_HOPS = 8;

/**
 * A request's headers for upstream, without `Host`. The framing is told by what was parsed, never
 * copied: `length` of the body, `chunked` where it shows as it comes, undefined without one.
 * What the client says of the way before it is kept, and its own address stands at the end.
 */
export function onward(
  raw: readonly string[], hop: Hop, length: number | 'chunked' | undefined,
): string[] {
  const { httpVersion, address, isEncrypted, requestId } = hop;
  const came = (name: string): string | undefined => valuesOf(raw, name).join(', ') || undefined;
  const append = (name: string, value: string): string =>
    [...valuesOf(raw, name), value].join(', ');
  const host = came('x-forwarded-host') ?? came('host');
  const forwarded = came('forwarded') === undefined ? []
    : ['forwarded', append('forwarded', `for=${quoted(address)}`)];
  return [
    ...without(raw, OURS),
    ...length === undefined ? []
      : length === 'chunked' ? ['transfer-encoding', 'chunked'] : ['content-length', `${length}`],
    'x-request-id', requestId,
    'x-forwarded-for', append('x-forwarded-for', address),
    'x-forwarded-proto', came('x-forwarded-proto') ?? (isEncrypted ? 'https' : 'http'),
    ...host === undefined ? [] : ['x-forwarded-host', host],
    ...forwarded,
    'via', append('via', `${httpVersion} ${NAME}`),
  ];
}

/** An answer's headers for the client. `length` stays, unless the status has no body to go by. */
export function homeward(raw: readonly string[], status: number, requestId: string): string[] {
  const hasId = valuesOf(raw, 'x-request-id').length > 0;
  return [
    ...without(raw, status === 204 || status < 200 ? ['via', 'content-length'] : ['via']),
    ...hasId ? [] : ['x-request-id', requestId],
    'via', [...valuesOf(raw, 'via'), `1.1 ${NAME}`].join(', '),
  ];
}

/** How many gateways like this one a request has passed. */
export function hopsOf(raw: readonly string[]): number {
  const via = valuesOf(raw, 'via').join(', ').split(',');
  return via.filter((each) => each.trim().split(/\s+/)[1] === NAME).length;
}

/** Without those of the hop, those that `Connection` names included, and `others`. */
function without(raw: readonly string[], others: readonly string[]): string[] {
  const named = valuesOf(raw, 'connection').flatMap((value) => value.toLowerCase().split(','));
  const gone = new Set([...HOP_BY_HOP, ...others, ...named.map((each) => each.trim())]);
  return raw.flatMap((name, i) =>
    (i % 2 === 1 || gone.has(name.toLowerCase()) ? [] : [name, raw[i + 1] ?? '']));
}

/** Every value of a header, as it was sent. */
export function valuesOf(raw: readonly string[], name: string): string[] {
  return raw.filter((_, i) => i % 2 === 1 && raw[i - 1]?.toLowerCase() === name);
}

const quoted = (address: string): string =>
  (address.includes(':') ? `"[${address}]"` : address || 'unknown');
