/**
 * What an option's value may be: how it is read from the command line and the environment, and
 * how a value that an embedder passes is checked. Kinds know nothing of particular options.
 */

import { readFileSync } from 'node:fs';

import { parseJwks } from './core/jwks.ts';

/** What values an option takes. */
export interface Kind<T> {
  /** Reads text; undefined when it is none of these. */
  parse(text: string): T | undefined;
  /** Is this, handed over in code, such a value? */
  check(value: unknown): value is T;
  /** Completes "expected …" in a message from the command line, and in one from code. */
  readonly expected: string;
  readonly expectedInCode: string;
  /** The option may come several times, and its values are gathered. */
  readonly isRepeatable?: boolean;
  /** No message shows its value. */
  readonly isSecret?: boolean;
}

/** So many requests within any time of this length. */
export interface Rate {
  readonly requests: number;
  readonly perMs: number;
}

const SECRET = /^[\x21-\x2b\x2d-\x7e]{1,512}$/;
const SECRET_TEXT = 'plain characters without a comma';

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const UNITS_BYTES: Readonly<Record<string, number>> = { '': 1, KiB: 1024, MiB: 1024 ** 2 };

function inRange(value: unknown, min: number, max: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max;
}

function numeric(
  min: number, max: number, parse: (text: string) => number, expected: string, inCode: string,
): Kind<number> {
  return {
    parse: (text) => {
      const value = parse(text);
      return inRange(value, min, max) ? value : undefined;
    },
    check: (value): value is number => inRange(value, min, max),
    expected,
    expectedInCode: `a whole number${inCode} from ${min} to ${max}`,
  };
}

/** A whole number. */
export function integer(min: number, max: number): Kind<number> {
  const parse = (text: string): number => (/^\d+$/.test(text) ? Number(text) : NaN);
  return numeric(min, max, parse, `a whole number from ${min} to ${max}`, '');
}

/** What `kind` takes, or the word. */
export function orWord<T, W extends string>(kind: Kind<T>, word: W): Kind<T | W> {
  return {
    parse: (text) => (text === word ? word : kind.parse(text)),
    check: (value): value is T | W => value === word || kind.check(value),
    expected: `${word} or ${kind.expected}`,
    expectedInCode: `${word} or ${kind.expectedInCode}`,
  };
}

/** `250ms`, `2s`, `10m`, `1h`; in code whole milliseconds. */
export function duration(minMs: number, maxMs: number): Kind<number> {
  const parse = (text: string): number => {
    const [, amount, unit = ''] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text) ?? [];
    const ms = Number(amount) * (UNITS_MS[unit] ?? NaN);
    // 2.01 * 1000 is 2009.9999999999998.
    return Math.abs(ms - Math.round(ms)) < 1e-6 ? Math.round(ms) : ms;
  };
  const range = `from ${inUnits(minMs, UNITS_MS)} to ${inUnits(maxMs, UNITS_MS)}`;
  const expected = `a duration such as 250ms, 2s or 10m, ${range}`;
  return numeric(minMs, maxMs, parse, expected, ' of milliseconds');
}

/** `65536`, `64KiB`, `4MiB`; in code whole bytes. */
export function size(minBytes: number, maxBytes: number): Kind<number> {
  const parse = (text: string): number => {
    const [, amount, unit = '?'] = /^(\d+)(KiB|MiB|)$/.exec(text) ?? [];
    return Number(amount) * (UNITS_BYTES[unit] ?? NaN);
  };
  const range = `from ${inUnits(minBytes, UNITS_BYTES)} to ${inUnits(maxBytes, UNITS_BYTES)}`;
  return numeric(minBytes, maxBytes, parse, `a size such as 512KiB or 4MiB, ${range}`, ' of bytes');
}

/** `100/1m`; in code `{ requests, perMs }`. */
export function rate(): Kind<Rate> {
  const times = duration(100, 3_600_000);
  const counts = integer(1, 1_000_000);
  return {
    parse: (text) => {
      const [, count = '', per = ''] = /^(\d+)\/(\w+)$/.exec(text) ?? [];
      const requests = counts.parse(count);
      const perMs = times.parse(/^\d/.test(per) ? per : `1${per}`);
      return requests === undefined || perMs === undefined ? undefined : { requests, perMs };
    },
    check: (value): value is Rate => typeof value === 'object' && value !== null
      && 'requests' in value && counts.check(value.requests)
      && 'perMs' in value && times.check(value.perMs),
    expected: 'requests within a time such as 100/1m or 5/s, the time from 100ms to 1h',
    expectedInCode: '{ requests, perMs }: whole numbers from 1 to 1000000 and 100 to 3600000',
  };
}

/** One of a few words. */
export function oneOf<T extends string>(...values: readonly T[]): Kind<T> {
  return worded((text) => values.find((value) => value === text), `one of ${values.join(', ')}`);
}

/** `on` or `off`; in code a boolean. */
export function onOff(): Kind<boolean> {
  return {
    parse: (text) => (text === 'on' ? true : text === 'off' ? false : undefined),
    check: (value): value is boolean => typeof value === 'boolean',
    expected: 'on or off',
    expectedInCode: 'true or false',
  };
}

/** Text that `pattern` matches whole. */
export function text(pattern: RegExp, expected: string): Kind<string> {
  return worded((value) => (pattern.test(value) ? value : undefined), expected);
}

/** Names of members of a JSON object, separated by commas; the same text in code. */
export function memberNames(most: number): Kind<string> {
  const parse = (value: string): string | undefined => {
    const names = value.split(',').map((name) => name.trim());
    const isGood = names.length <= most && names.every((name) => name && name.length <= 128);
    return isGood && !/[\x00-\x1f]/.test(value) ? value : undefined;
  };
  return worded(parse, `a member name, or up to ${most} of them separated by commas`);
}

/** Text that is the same on the command line and in code. */
function worded<T extends string>(
  parse: (text: string) => T | undefined, expected: string,
): Kind<T> {
  const check = (value: unknown): value is T =>
    typeof value === 'string' && parse(value) !== undefined;
  return { parse, check, expected, expectedInCode: expected };
}

/** Something that nobody else is to know. */
export function secret(): Kind<string> {
  return { ...text(SECRET, `up to 512 ${SECRET_TEXT}`), isSecret: true };
}

/** Several of them: repeated, or separated by commas; in code an array of strings. */
export function secrets(minChars = 1): Kind<readonly string[]> {
  const kind = list(`${minChars > 1 ? `${minChars} to` : 'up to'} 512 ${SECRET_TEXT}`);
  const areSecrets = (values: unknown): values is readonly string[] => kind.check(values)
    && values.every((value) => SECRET.test(value) && value.length >= minChars);
  return {
    ...kind, isRepeatable: true, isSecret: true,
    parse: (value) => {
      const values = kind.parse(value);
      return areSecrets(values) ? values : undefined;
    },
    check: areSecrets,
  };
}

/** Origins as a browser sends them, or `*`: repeated or with commas; in code an array. */
export function origins(): Kind<readonly string[]> {
  const kind = list('origins such as https://app.example.com, or *');
  const areOrigins = (values: unknown): values is readonly string[] =>
    kind.check(values) && values.every((value) => value === '*' || isOrigin(value));
  return {
    ...kind, isRepeatable: true,
    parse: (value) => {
      const values = kind.parse(value);
      return areOrigins(values) ? values : undefined;
    },
    check: areOrigins,
  };
}

/** Any other spelling, with a slash at its end say, would never be equal to what browsers send. */
function isOrigin(value: string): boolean {
  if (!URL.canParse(value) || !/^[a-z][a-z0-9+.-]*:\/\/[^\s/?#@*\\]+$/.test(value)) return false;
  // Apps and extensions have schemes of their own, of which URL knows no origin.
  return !/^https?:/.test(value) || new URL(value).origin === value;
}

/** Comma-separated, at least one, none empty; in code an array of strings. */
export function list(expected: string): Kind<readonly string[]> {
  const check = (value: unknown): value is string[] =>
    Array.isArray(value) && value.length > 0 && value.every((v) => typeof v === 'string' && v);
  return {
    parse: (value) => {
      const values = value.split(',').map((each) => each.trim());
      return check(values) ? values : undefined;
    },
    check,
    expected: `${expected}, separated by commas`,
    expectedInCode: `an array of ${expected}`,
  };
}

/** `http:` or `https:`, with an optional base path and nothing behind it. */
export function origin(): Kind<string> {
  const parse = (value: string): string | undefined => {
    if (!URL.canParse(value) || /[?#\s]/.test(value)) return undefined;
    const { protocol, username, password } = new URL(value);
    return /^https?:$/.test(protocol) && !username && !password ? value : undefined;
  };
  return worded(parse, 'an http:// or https:// URL without credentials, query or fragment');
}

/**
 * Where a JWKS is: an `http:` or `https:` URL, or a file, which is looked at now: whoever mistypes
 * its name should hear of it before the first webhook does.
 */
export function jwks(): Kind<string> {
  const isUrl = (value: string): boolean => URL.canParse(value) && !/[#\s]/.test(value)
    && new URL(value).username === '' && new URL(value).password === '';
  const parse = (value: string): string | undefined => {
    const isGood = /^https?:/i.test(value) ? isUrl(value) : hasJwks(value);
    return isGood ? value : undefined;
  };
  return worded(parse, 'an http:// or https:// URL, or a file that holds Ed25519 keys as JWKS');
}

function hasJwks(path: string): boolean {
  try {
    return parseJwks(readFileSync(path, 'utf8')) !== undefined;
  } catch {
    return false;
  }
}

/** In the largest unit that leaves no rest: `90000` → `90s`. */
function inUnits(value: number, units: Readonly<Record<string, number>>): string {
  const [unit, size] = Object.entries(units).findLast(([, each]) => value % each === 0) ?? ['', 1];
  return `${value / size}${unit}`;
}
