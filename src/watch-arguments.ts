/** The arguments of `runcast watch` into what to watch, or into every mistake there is. Pure. */

import { parseArgs } from 'node:util';

import type { WatchSettings } from './client/watch-command.ts';
import { RUN_ID } from './core/run-id.ts';
import { duration, origin } from './option-kinds.ts';

const DEFAULT_URL = 'http://127.0.0.1:8080';
const URL_KIND = origin();
const PATIENCE = duration(1, 86_400_000);

/** The text of `watch --help`. */
export const WATCH_HELP = `runcast watch: a run's state as it changes, until it is over

usage: runcast watch RUN_ID|URL [options]

RUN_ID is looked up at --url; URL is that of a run, of its stream, or of the live page with that
run alone. A ticket in it is used in place of any key.

options; but for --json each may also be given as RUNCAST_<FLAG>:
  --api-key            the key; RUNCAST_API_KEY is safer: arguments show in lists of processes
  --url                where the gateway is (default: http://127.0.0.1:8080)
  --give-up            stop after so long without a word from the gateway (default: 1m)
  --json               every event as a line of JSON, for scripts

A terminal gets a picture (colours off with NO_COLOR), a pipe gets lines.
exit code: 0 complete, 1 failed or cancelled, 2 bad usage, 3 could not follow or write, 130 Ctrl-C
`;

type Environment = Readonly<Record<string, string | undefined>>;

/** `problems` gets every mistake; what is returned is then of no use. */
export function parseWatch(
  args: readonly string[], env: Environment, problems: string[],
): WatchSettings {
  // Not strict: its first mistake would be the only one reported.
  const { tokens } = parseArgs({
    args: [...args], strict: false, allowPositionals: true, tokens: true,
    options: {
      'url': { type: 'string' }, 'api-key': { type: 'string' }, 'give-up': { type: 'string' },
      'json': { type: 'boolean' },
    },
  });
  const values: Record<string, string | undefined> = {
    'url': env['RUNCAST_URL'], 'give-up': env['RUNCAST_GIVE_UP'], 'api-key': undefined,
  };
  let json = false;
  for (const token of tokens) {
    if (token.kind !== 'option') continue;
    const { name, rawName, value } = token;
    if (name === 'json' && value === undefined) json = true;
    else if (name === 'json') problems.push(`${rawName}: takes no value`);
    else if (!Object.hasOwn(values, name)) problems.push(`${rawName}: no such option`);
    else if (value !== undefined && !value.startsWith('--')) values[name] = value;
    else problems.push(`${rawName}: got no value`);
  }
  const positionals = tokens.flatMap((token) => (token.kind === 'positional' ? [token.value] : []));
  const [, target, ...others] = positionals;
  for (const other of others) problems.push(`${JSON.stringify(other)}: no such argument`);

  const base = URL_KIND.parse(values['url'] || DEFAULT_URL);
  if (base === undefined) problems.push(`--url: expected ${URL_KIND.expected}`);
  const giveUpAfterMs = PATIENCE.parse(values['give-up'] || '1m');
  if (giveUpAfterMs === undefined) problems.push(`--give-up: expected ${PATIENCE.expected}`);
  const url = streamUrl(target, base ?? DEFAULT_URL);
  if (url === undefined) problems.push('watch: expected a run id, or the URL of a run');
  const asked = url ?? target ?? '';
  const hasTicket = URL.canParse(asked) && new URL(asked).searchParams.has('ticket');
  const given = values['api-key'];
  if (hasTicket && given !== undefined) {
    problems.push('--api-key: there is a ticket in the URL, and only one of them can count');
  }
  // That of the environment is for all runs; a ticket was made for this one.
  const apiKey = (hasTicket ? undefined : given ?? env['RUNCAST_API_KEY']) || undefined;
  // It may be what another option was given for its value.
  const isMeant = given === undefined && args.some((arg) => arg.startsWith('--api-key'));
  if (apiKey === undefined && !hasTicket && (problems.length === 0 || !isMeant)) {
    problems.push('no key: set RUNCAST_API_KEY, or use --api-key');
  }
  return { url: url ?? '', apiKey, json, giveUpAfterMs: giveUpAfterMs ?? 0 };
}

/** Of a run's id or URL; undefined where it is neither. */
function streamUrl(target: string | undefined, base: string): string | undefined {
  if (target === undefined) return undefined;
  if (RUN_ID.test(target)) {
    return `${base.replace(/\/+$/, '')}/v1/runs/${target}/stream`;
  }
  if (!/^https?:\/\//i.test(target) || !URL.canParse(target)) return undefined;
  const url = new URL(target);
  if (url.username !== '' || url.password !== '') return undefined;
  const path = /^(.*\/v1\/runs\/[^/]+)(?:\/stream)?\/?$/.exec(url.pathname)?.[1] ?? pagePath(url);
  if (path === undefined) return undefined;
  url.pathname = `${path}/stream`;
  url.hash = '';
  return url.href;
}

/** Of the live page's own address, where it shows one run: that run's path. */
function pagePath({ pathname, hash }: URL): string | undefined {
  const [run = '', ...others] = new URLSearchParams(hash.slice(1)).getAll('run');
  if (others.length > 0 || !RUN_ID.test(run) || !pathname.endsWith('/')) return undefined;
  return `${pathname}v1/runs/${run}`;
}
