/**
 * What an option's value may be: how it is read from the command line and the environment, and
 * how a value that an embedder passes is checked. Kinds know nothing of particular options.
 */

/** What values an option takes. */
export interface Kind<T> {
  /** Reads text; undefined when it is none of these. */
  parse(text: string): T | undefined;
  /** Is this, handed over in code, such a value? */
  check(value: unknown): value is T;
  /** Completes "expected …" in a message from the command line, and in one from code. */
  readonly expected: string;
  readonly expectedInCode: string;
}

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

/** Text that is the same on the command line and in code. */
function worded<T extends string>(
  parse: (text: string) => T | undefined, expected: string,
): Kind<T> {
  const check = (value: unknown): value is T =>
    typeof value === 'string' && parse(value) !== undefined;
  return { parse, check, expected, expectedInCode: expected };
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

/** In the largest unit that leaves no rest: `90000` → `90s`. */
function inUnits(value: number, units: Readonly<Record<string, number>>): string {
  const [unit, size] = Object.entries(units).findLast(([, each]) => value % each === 0) ?? ['', 1];
  return `${value / size}${unit}`;
}
