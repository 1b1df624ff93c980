/**
 * Who is on the way, as far as heads tell, and what to change there, as a line for its
 * configuration. Pure; no Node in here.
 */

/** What may be wrong with a way. */
export type Fault =
  | { readonly kind: 'buffers' }
  | { readonly kind: 'compresses' }
  | { readonly kind: 'oldHttp' }
  | { readonly kind: 'query' }
  /** To be let through; or pings as often as this. */
  | { readonly kind: 'cuts'; readonly idleSeconds: number; readonly pingMs: number }
  /** After a time, whatever comes. */
  | { readonly kind: 'ends' }
  | { readonly kind: 'requestHeader'; readonly name: string }
  | { readonly kind: 'responseHeader'; readonly name: string };

/** What to change, and where. */
export interface Change {
  readonly proxy: Proxy;
  readonly change: string;
}

type Advice = { readonly [K in Fault['kind']]: (fault: Extract<Fault, { kind: K }>) => string };

const ADVICE = {
  'nginx': {
    buffers: () =>
      'proxy_buffering off; proxy_http_version 1.1;'
      + ' and no `proxy_ignore_headers X-Accel-Buffering;`',
    compresses: () => 'gzip off; or no text/event-stream and no * in gzip_types',
    oldHttp: () => 'proxy_http_version 1.1;',
    query: () => 'proxy_pass http://runcast; (without a path of its own, it keeps the query)',
    cuts: ({ idleSeconds }) => `proxy_read_timeout ${idleSeconds}s;`,
    ends: () => 'nothing: nginx has no such limit; look at what else is on the way',
    requestHeader: ({ name }) =>
      `proxy_set_header ${name} $http_${name.replaceAll('-', '_')}; and none that empties it`,
    responseHeader: ({ name }) =>
      `no \`proxy_hide_header ${name};\`, \`expires\` or \`add_header\``,
  },
  'HAProxy': {
    buffers: () => 'option http-no-delay, and no `http-response wait-for-body`',
    compresses: () => 'no text/event-stream in `compression type`',
    oldHttp: () => 'nothing: HAProxy speaks HTTP/1.1, so something else is on the way as well',
    query: () => 'no `http-request set-query` or `set-uri`',
    cuts: ({ idleSeconds }) => `timeout server ${idleSeconds}s and timeout client ${idleSeconds}s`,
    ends: () => 'nothing: HAProxy has no such limit; look at what else is on the way',
    requestHeader: ({ name }) => `no \`http-request del-header ${name}\` or \`set-header ${name}\``,
    responseHeader: ({ name }) =>
      `no \`http-response del-header ${name}\` or \`set-header ${name}\``,
  },
  'Caddy': {
    buffers: () => 'reverse_proxy { flush_interval -1 } and no `response_buffers`',
    compresses: () => 'encode { match { header Content-Type text/html* } }',
    oldHttp: () => 'transport http { versions 1.1 }',
    query: () => 'no `rewrite` or `uri query` for this path',
    cuts: ({ idleSeconds }) =>
      `transport http { read_timeout ${idleSeconds}s }, and no shorter stream_timeout`,
    ends: () => 'no `timeouts { write … }` of the server, and no `stream_timeout`',
    requestHeader: ({ name }) => `no \`header_up -${name}\` or \`request_header -${name}\``,
    responseHeader: ({ name }) => `no \`header_down ${name}\` or \`header ${name}\``,
  },
  'Apache': {
    buffers: () => 'ProxyPass / http://runcast/ flushpackets=on',
    compresses: () => 'SetEnvIf Request_URI "/stream$" no-gzip=1',
    oldHttp: () => 'no `SetEnv force-proxy-request-1.0 1` and no `SetEnv downgrade-1.0 1`',
    query: () => 'no `?` at the end of a RewriteRule\'s target, or the flag [QSA]',
    cuts: ({ idleSeconds }) =>
      `ProxyTimeout ${idleSeconds} (or timeout=${idleSeconds} at ProxyPass)`,
    ends: () => 'nothing: Apache has no such limit; look at what else is on the way',
    requestHeader: ({ name }) => `no \`RequestHeader unset ${name}\` or \`set ${name}\``,
    responseHeader: ({ name }) => `no \`Header unset ${name}\`, \`set ${name}\` or ExpiresActive`,
  },
  'Cloudflare': {
    buffers: () => 'turn Response Buffering off; a Worker passes response.body on as it is',
    compresses: () => 'a Compression Rule for this path: disable compression',
    oldHttp: () => 'nothing: Cloudflare speaks HTTP/1.1, so something else is on the way as well',
    query: () => 'no URL Rewrite Rule for this path, and a Cache Rule: bypass cache',
    cuts: () => '--ping-interval below 100s at runcast (it gives up after 100 s without a byte)',
    ends: () => 'no limit of time in a Worker; the proxy itself has none: look at what is behind',
    requestHeader: ({ name }) => `no Transform Rule that removes or sets the request's ${name}`,
    responseHeader: ({ name }) => `no Transform or Cache Rule that changes the response's ${name}`,
  },
  'AWS ALB': {
    buffers: () => 'nothing: an ALB does not hold back; look behind it (a Lambda target does)',
    compresses: () => 'nothing: an ALB does not compress; look at what else is on the way',
    oldHttp: () => 'nothing: an ALB speaks HTTP/1.1; look at what is behind it',
    query: () => 'no redirect or rewrite for this path',
    cuts: ({ idleSeconds }) => 'aws elbv2 modify-load-balancer-attributes --load-balancer-arn ARN'
      + ` --attributes Key=idle_timeout.timeout_seconds,Value=${idleSeconds}`,
    ends: () => 'nothing: an ALB has no such limit; look at what is behind it',
    requestHeader: ({ name }) => `no listener attribute that overwrites or drops ${name}`,
    responseHeader: ({ name }) => `no listener attribute that changes the response's ${name}`,
  },
  'anything else': {
    buffers: () => 'pass the bytes of text/event-stream on as they come, without a buffer',
    compresses: () => 'leave `cache-control: no-transform` answers as they are',
    oldHttp: () => 'speak HTTP/1.1 to runcast',
    query: () => 'pass the query on, and do not cache',
    cuts: ({ idleSeconds, pingMs }) => {
      // Pings that come more often cost more than they are good for.
      const ping = pingMs < 1000 ? ''
        : `, or --ping-interval ${Math.floor(pingMs / 1000)}s at runcast`;
      return `allow ${idleSeconds} s of silence${ping}`;
    },
    ends: () => 'no limit on the whole time of a response (Envoy: `timeout: 0s` at the route)',
    requestHeader: ({ name }) => `pass the request's ${name} on as it is`,
    responseHeader: ({ name }) => `pass the response's ${name} on as it is`,
  },
} as const satisfies Record<string, Advice>;

/** What can be told apart; `anything else` is advice for whatever there is. */
export type Proxy = keyof typeof ADVICE;

/** Advice that holds for each of them. */
export const ANY_PROXY = 'anything else';
const PROXIES = Object.keys(ADVICE) as Proxy[];

/** Header, what its value looks like, and whose it is. */
const TRACES: readonly (readonly [name: string, value: RegExp, proxy: Proxy])[] = [
  ['server', /^(?:nginx|openresty)\b/i, 'nginx'],
  ['via', /\bnginx\b/i, 'nginx'],
  ['server', /^caddy\b/i, 'Caddy'],
  ['via', /\bcaddy\b/i, 'Caddy'],
  ['server', /^apache\b/i, 'Apache'],
  ['via', /\bapache\b/i, 'Apache'],
  ['server', /^cloudflare\b/i, 'Cloudflare'],
  ['cf-ray', /./, 'Cloudflare'],
  ['server', /^awselb\b/i, 'AWS ALB'],
  ['server', /^haproxy\b/i, 'HAProxy'],
  ['via', /\bhaproxy\b/i, 'HAProxy'],
];
/** The same from the names of request headers that came to the gateway. */
const ADDED: ReadonlyMap<string, Proxy> = new Map([
  ['cf-ray', 'Cloudflare'], ['cf-connecting-ip', 'Cloudflare'], ['x-amzn-trace-id', 'AWS ALB'],
]);

/** Who has left a trace. Some leave none: HAProxy says nothing of itself unless it is told to. */
export function guessProxies(
  head: Readonly<Record<string, string>>, addedHeaders: readonly string[],
): Proxy[] {
  const found = [
    ...TRACES.filter(([name, value]) => value.test(head[name] ?? '')).map(([, , proxy]) => proxy),
    ...addedHeaders.flatMap((name) => ADDED.get(name) ?? []),
  ];
  return [...new Set(found)];
}

/** For those who are known to be there; where nobody is, for all. */
export function adviseOn(fault: Fault, known: readonly Proxy[]): Change[] {
  const proxies = known.length > 0 ? known : PROXIES;
  return proxies.map((proxy) => {
    const advise = ADVICE[proxy][fault.kind] as (fault: Fault) => string;
    return { proxy, change: advise(fault) };
  });
}
