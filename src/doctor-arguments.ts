/** The command line of `runcast doctor` into a command, or into every mistake there is. Pure. */

import { parseArgs } from 'node:util';

import { MAX_PROBE_SECONDS } from './doctor/probes.ts';

/** Examine the way to the gateway at `url`. */
export interface DoctorCommand {
  readonly kind: 'doctor';
  /** Where the gateway is, as its clients see it: a path prefix may belong to it. */
  readonly url: URL;
  /** Silence to be let through. Undefined: the gateway's ping interval. */
  readonly idleMs: number | undefined;
  readonly isJson: boolean;
}

type Other =
  | { readonly kind: 'help'; readonly of: 'doctor' }
  | { readonly kind: 'mistaken'; readonly problems: readonly string[]; readonly of: 'doctor' };

/** The text of `doctor --help`. */
export const DOCTOR_HELP = `runcast doctor: what on the way to a gateway holds streams back

usage: runcast doctor URL [options]

URL is where the gateway is, as its clients see it, or that of its page /doctor.

options:
  --idle               silence to let through, at most ${MAX_PROBE_SECONDS}s (default: until a ping)
  --json               the report as JSON, for scripts

exit code: 0 no problem, 1 a problem, 2 bad usage, 3 the gateway is not reached
`;

/** `args` are those behind `doctor`. */
export function parseDoctor(args: readonly string[]): DoctorCommand | Other {
  const problems: string[] = [];
  const { tokens, positionals, values } = parseArgs({
    args: [...args], strict: false, allowPositionals: true, tokens: true,
    options: {
      idle: { type: 'string' }, json: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help === true) return { kind: 'help', of: 'doctor' };
  for (const token of tokens) {
    if (token.kind !== 'option') continue;
    const { name, rawName, value } = token;
    if (!['idle', 'json'].includes(name)) problems.push(`${rawName}: no such option`);
    else if (name === 'json' && value !== undefined) problems.push(`${rawName}: takes no value`);
  }
  const [given, ...others] = positionals;
  if (others.length > 0) problems.push(`URL: got ${positionals.length} of them, expected one`);
  const url = given === undefined ? undefined : urlOf(given);
  if (url === undefined) {
    problems.push(`URL: got ${given === undefined ? 'nothing' : 'something else'}, expected that`
      + ' of a gateway, with http or https and no user, query or fragment');
  }
  const { idle } = values;
  const idleMs = idle === undefined ? undefined : durationOf(idle);
  if (Number.isNaN(idleMs)) {
    problems.push(`--idle: expected a duration such as 60s, up to ${MAX_PROBE_SECONDS}s`);
  }
  if (url === undefined || problems.length > 0) {
    return { kind: 'mistaken', problems, of: 'doctor' };
  }
  return { kind: 'doctor', url, idleMs, isJson: values.json === true };
}

function urlOf(text: string): URL | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) return undefined;
  // The address of the page that does the same.
  url.pathname = url.pathname.replace(/\/doctor$/, '/');
  const { username, password, search, hash } = url;
  return `${username}${password}${search}${hash}` === '' ? url : undefined;
}

/** Seconds where there is no unit; NaN where it is no duration, or out of range. */
function durationOf(text: string | boolean): number {
  const [, amount, unit = 's'] = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(String(text)) ?? [];
  const ms = Number(amount) * ({ ms: 1, s: 1000, m: 60_000 }[unit] ?? NaN);
  return ms >= 50 && ms <= MAX_PROBE_SECONDS * 1000 ? Math.round(ms) : NaN;
}
