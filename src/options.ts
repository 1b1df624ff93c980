/**
 * Every option: declared, defaulted, validated and documented here, for the command line, the
 * environment and code alike. Mistakes are gathered, never thrown one by one.
 */

import { GatewayError } from './core/errors.ts';
import { LOG_LEVELS } from './core/log.ts';
import type { LogLevel, Logger } from './core/log.ts';
import { printed } from './core/printed.ts';
import { isRunSource } from './core/run-source.ts';
import type { RunSource } from './core/run-source.ts';
import {
  duration, integer, jwks, list, memberNames, onOff, oneOf, orWord, origin, origins, rate, secret,
  secrets, size, text,
} from './option-kinds.ts';
import type { Kind, Rate } from './option-kinds.ts';

/** Ways to follow runs. */
const SOURCE_KINDS = ['poll', 'wait', 'list', 'stream'] as const;
/** One of them. */
export type SourceKind = (typeof SOURCE_KINDS)[number];

/** All values, complete and checked. */
export interface Settings {
  /** Origin of the run API, with an optional base path. */
  readonly upstream: string | undefined;
  readonly host: string;
  /** 0: one that is free, which the system picks. */
  readonly port: number;
  /** Port for probes and metrics, which are then not on the main one. Only with `listen()`. */
  readonly adminPort: number | undefined;
  /** Processes that hold streams; above 1 one more, the primary, polls. `auto`: one a core. */
  readonly workers: number | 'auto';
  readonly pollIntervalMs: number;
  readonly pingIntervalMs: number;
  /** Age at which a stream ends with a `timeout` event. */
  readonly streamTimeoutMs: number;
  /** Deadline of one upstream request, for its whole answer. */
  readonly upstreamTimeoutMs: number;
  /** Size up to which an upstream body is read. */
  readonly maxBodyBytes: number;
  /** Budget for all upstream requests of this gateway. */
  readonly upstreamRate: Rate | undefined;
  /** How runs are followed: see the README. */
  readonly sourceKind: SourceKind;
  /** The gateway's own key, only to fetch the key that webhooks are signed with. */
  readonly upstreamKey: string | undefined;
  /** Who may publish states. None: nobody. */
  readonly publishKeys: readonly string[] | undefined;
  /** File or URL of the JWKS that webhooks are signed with, instead of asking upstream. */
  readonly webhookJwks: string | undefined;
  /** What the names of a webhook's headers begin with. */
  readonly webhookHeaderPrefix: string;
  /** The first seals tickets, all open them. None: a random one, made at the start. */
  readonly ticketSecrets: readonly string[] | undefined;
  /** Origins of pages that may read our answers; `*`: all. None: none but our own. */
  readonly allowedOrigins: readonly string[] | undefined;
  /** Path that the gateway is reached under, where a proxy or a host has it below its own. */
  readonly basePath: string | undefined;
  /** What every key begins with; a key without it is refused without asking upstream. */
  readonly keyPrefix: string;
  /** Path of a run below `upstream`, with `{runId}` in it. */
  readonly upstreamPath: string;
  /**
   * Member of the run's JSON that holds its status. Of several, separated by commas, the last one
   * that is there and not null counts.
   */
  readonly statusField: string;
  readonly completeOn: readonly string[];
  readonly errorOn: readonly string[];
  /** Deflate states once for all clients that take gzip. */
  readonly compress: boolean;
  /** The live page at `/`. Undefined: with the demo. */
  readonly page: boolean | undefined;
  /** Of the demo, for the page: nobody sets it. */
  readonly demoKey?: string;
  /** Pass every other request below `/v1` to upstream. */
  readonly forward: boolean;
  /** A reader that takes nothing for this long is cut off. */
  readonly slowTimeoutMs: number;
  /** How long a shutdown may take; streams end spread over it. */
  readonly drainTimeoutMs: number;
  /** Streams at once; more are refused until some end. */
  readonly maxStreams: number;
  readonly maxStreamsPerKey: number;
  /** Different runs followed at once. */
  readonly maxRuns: number;
  readonly logLevel: LogLevel;
}

/** Options of `createGateway`: all but `upstream` (or `source`) have defaults. */
export interface GatewayOptions
  extends Partial<Omit<Settings, 'logLevel' | 'workers' | 'demoKey'>> {
  /** In place of polling `upstream`. */
  readonly source?: RunSource;
  /** Default: silent. */
  readonly logger?: Logger;
}

/** One option: its name in each place, and what it may be. */
export interface OptionSpec<K extends keyof Settings = keyof Settings> {
  readonly flag: string;
  readonly key: K;
  readonly kind: Kind<NonNullable<Settings[K]>>;
  readonly default: Settings[K];
  /** As it stands in `--help` and in the README. */
  readonly defaultText: string;
  readonly help: string;
}

function option<K extends keyof Settings>(
  flag: string, key: K, kind: Kind<NonNullable<Settings[K]>>, byDefault: Settings[K],
  defaultText: string, help: string,
): OptionSpec<K> {
  return { flag, key, kind, default: byDefault, defaultText, help };
}

/** A secret that everybody's tickets hang on must not be one that can be tried out. */
const MIN_SECRET_CHARS = 16;
const statuses = list('statuses');
const plainPath = text(/^(?=.*\{runId\})(?!\/\/)(?!.*\/\.\.?(?:[/?]|$))\/[\x21\x22\x24-\x7e]*$/,
  'a path that begins with / and has {runId} in it');

/** The table that the command line, code, `--help` and the README have in common. */
export const OPTIONS = [
  option('upstream', 'upstream', origin(), undefined, 'the embedded demo run API',
    'run API to stand in front of: its origin, with an optional base path'),
  option('host', 'host', text(/^[\w.:-]+$/, 'a host name or address'), '127.0.0.1', '127.0.0.1',
    'address to listen on'),
  option('port', 'port', integer(0, 65_535), 8080, '8080', 'port to listen on; 0 takes any'),
  option('admin-port', 'adminPort', integer(1, 65_535), undefined, 'none',
    'port for probes and metrics, instead of the main one'),
  option('workers', 'workers', orWord(integer(1, 256), 'auto'), 1, '1',
    'processes that hold streams, or auto for one a core; above 1 one more polls'),
  option('poll-interval', 'pollIntervalMs', duration(20, 3_600_000), 2000, '2s',
    'how often a watched run is asked for'),
  option('ping-interval', 'pingIntervalMs', duration(100, 3_600_000), 15_000, '15s',
    'how often a stream gets a ping'),
  option('stream-timeout', 'streamTimeoutMs', duration(100, 86_400_000), 600_000, '10m',
    'age at which a stream ends with a timeout event'),
  option('upstream-timeout', 'upstreamTimeoutMs', duration(10, 600_000), 10_000, '10s',
    'deadline of one upstream request, for the whole answer'),
  option('max-body', 'maxBodyBytes', size(1, 256 * 1024 ** 2), 4 * 1024 ** 2, '4MiB',
    'size up to which an upstream body is read'),
  option('upstream-rate', 'upstreamRate', rate(), undefined, 'none',
    'budget for all upstream requests, as in 100/1m'),
  option('source', 'sourceKind', oneOf(...SOURCE_KINDS), 'poll', 'poll',
    'how runs are followed: poll; wait on upstream; its list; its stream'),
  option('upstream-key', 'upstreamKey', secret(), undefined, 'none',
    "the gateway's own key, only to fetch the webhook signing key"),
  option('publish-key', 'publishKeys', secrets(), undefined, 'none',
    'repeatable: who may publish states'),
  option('webhook-jwks', 'webhookJwks', jwks(), undefined, "upstream's signing-key route",
    'file or URL of the keys that sign webhooks'),
  option('webhook-header-prefix', 'webhookHeaderPrefix',
    text(/^[A-Za-z][A-Za-z0-9-]{0,62}-$/, 'the beginning of a header name, up to a hyphen'),
    'X-Lamina-Webhook-', 'X-Lamina-Webhook-', "what the names of a webhook's headers begin with"),
  option('ticket-secret', 'ticketSecrets', secrets(MIN_SECRET_CHARS), undefined,
    'a random one per start', 'repeatable: the first seals tickets, all open them'),
  option('allow-origin', 'allowedOrigins', origins(), undefined, 'none',
    'repeatable: origins whose pages may ask, or *'),
  option('base-path', 'basePath', text(/^(?:\/[\w~-][\w.~-]*)+$/, 'a path such as /runs-api'),
    undefined, 'none', 'path that it is mounted under'),
  option('key-prefix', 'keyPrefix', text(/^[\x21-\x2b\x2d-\x7e]{0,64}$/, 'plain characters'),
    'lma_', 'lma_', "what every key begins with; '' for an API with other keys"),
  option('upstream-path', 'upstreamPath', plainPath, '/v1/runs/{runId}', '/v1/runs/{runId}',
    'path of one run'),
  option('status-field', 'statusField', memberNames(8), 'status', 'status',
    "member of the run's JSON that holds its status; of several the last that is not null"),
  option('complete-on', 'completeOn', statuses, ['completed'], 'completed',
    'statuses that mean success'),
  option('error-on', 'errorOn', statuses, ['failed', 'cancelled'], 'failed,cancelled',
    'statuses that mean failure'),
  option('compress', 'compress', onOff(), true, 'on',
    'compress states, once for all clients that take gzip'),
  option('page', 'page', onOff(), undefined, 'on with the demo, else off', 'live page at /'),
  option('forward', 'forward', onOff(), false, 'off',
    'pass every other /v1 request to upstream'),
  option('slow-timeout', 'slowTimeoutMs', duration(100, 3_600_000), 30_000, '30s',
    'a reader that takes nothing for this long is cut off'),
  option('drain-timeout', 'drainTimeoutMs', duration(0, 3_600_000), 10_000, '10s',
    'how long a shutdown may take; streams end spread over it'),
  option('max-streams', 'maxStreams', integer(1, 10_000_000), 50_000, '50000',
    'streams at once, over all workers'),
  option('max-streams-per-key', 'maxStreamsPerKey', integer(1, 10_000_000), 5000, '5000',
    'streams at once with one key'),
  option('max-runs', 'maxRuns', integer(1, 10_000_000), 20_000, '20000',
    'different runs followed at once'),
  option('log-level', 'logLevel', oneOf(...LOG_LEVELS), 'info', 'info',
    `least level that is logged: ${LOG_LEVELS.join(', ')}`),
] as const;

const DEFAULTS = Object.fromEntries(OPTIONS.map((each) => [each.key, each.default]));
const ONLY_IN_CODE = ['source', 'logger'];
const ONLY_ON_THE_COMMAND_LINE = ['logLevel', 'workers'];

/** For embedders: checks, fills in and freezes; throws one GatewayError with every mistake. */
export function resolveOptions(options: GatewayOptions): Settings {
  const given: GatewayOptions = (options as unknown) ?? {}; // from who has no types
  const { source } = given;
  const problems: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined || ONLY_IN_CODE.includes(key)) continue;
    const spec: OptionSpec | undefined = OPTIONS.find((each) => each.key === key);
    if (spec === undefined || ONLY_ON_THE_COMMAND_LINE.includes(key)) {
      problems.push(`${key}: no such option`);
    } else if (spec.kind.check(value)) {
      values[key] = value;
    } else {
      const got = spec.kind.isSecret === true ? 'a value that is not shown' : printed(value);
      problems.push(`${key}: got ${got}, expected ${spec.kind.expectedInCode}`);
    }
  }
  if (given.upstream === undefined && source === undefined) {
    problems.push('upstream: got nothing, expected the URL of a run API (or a source)');
  }
  if (source !== undefined && !isRunSource(source)) {
    problems.push(`source: got ${printed(source)}, expected admit(), watch() and close()`);
  }
  if (source !== undefined && given.forward === true) {
    problems.push('forward: got true with a source, expected an upstream without one');
  }
  return settle(values, problems);
}

/** What every way of giving options comes to: the defaults, and the checks across options. */
export function settle(checked: Record<string, unknown>, problems: string[]): Settings {
  const settings = { ...DEFAULTS, ...checked } as unknown as Settings;
  const both = settings.completeOn.filter((status) => settings.errorOn.includes(status));
  if (both.length > 0) {
    problems.push(`complete-on and error-on: got ${both.join(', ')} in both, expected each once`);
  }
  const { sourceKind, upstreamPath } = settings;
  if (sourceKind !== 'poll' && upstreamPath.includes('?')) {
    problems.push(`upstream-path: got a ? in it, expected none with source ${sourceKind}`);
  }
  if (sourceKind === 'list' && !/\?|\/\{runId\}$/.test(upstreamPath)) {
    problems.push(`upstream-path: got ${printed(upstreamPath)}, expected …/{runId} for a list`);
  }
  if (settings.adminPort === settings.port) {
    problems.push(`admin-port: got ${settings.port}, expected another one than port`);
  }
  if (problems.length > 0) throw new GatewayError('INVALID_OPTIONS', problems);
  return Object.freeze({
    ...settings,
    completeOn: Object.freeze([...settings.completeOn]),
    errorOn: Object.freeze([...settings.errorOn]),
  });
}
