/**
 * `npm run bench -- streams --url …`: opens streams on a gateway of your own, holds them for a
 * while and says what came of it. Its exit code is 0 when every stream opened and none was lost,
 * 1 when not, 2 for bad usage. It stops by itself, and with a summary on Ctrl-C.
 */

import { isIP } from 'node:net';
import { parseArgs } from 'node:util';
import { mergeCounts, total } from './support/histogram.ts';
import type { Percentiles } from './support/histogram.ts';
import { Load } from './support/load.ts';
import type { Counted, LoadOptions, Measured, Opened } from './support/load.ts';

const HELP = `npm run bench -- streams --url URL [options]

  --url URL          http://127.0.0.1:8080/v1/runs/demo-1/stream; {n} in it becomes the stream's
                     number, {run} the name bench-(n % runs)
  --streams N        how many to open, 1 to 100000 (default 1000)
  --rate N           begun a second, 1 to 100000 (default 1000)
  --seconds N        how long they are held, 1 to 3600 (default 30)
  --header 'n: v'    of each request; repeatable
  --runs N           names that {run} stands for, 1 to 100000 (default 1)
  --processes N      of the client, 1 to 64 (default: one for 15000 streams)
  --stalled N        of the streams, that read nothing after their first event (default 0)
  --reconnect        streams come back after their end as an EventSource does
  --terminal EVENT   an end after it is no loss; repeatable (default complete, error, timeout)
  --gzip             ask for compressed streams
  --json             the result as JSON
  --remote           the host is not this machine, and its owner knows of this
`;

const OPTIONS = {
  url: { type: 'string' }, streams: { type: 'string' }, rate: { type: 'string' },
  seconds: { type: 'string' }, header: { type: 'string', multiple: true },
  runs: { type: 'string' }, processes: { type: 'string' }, stalled: { type: 'string' },
  reconnect: { type: 'boolean' }, terminal: { type: 'string', multiple: true },
  gzip: { type: 'boolean' }, json: { type: 'boolean' }, remote: { type: 'boolean' },
  help: { type: 'boolean' },
} as const;

/** The rest of a life: connections that answer late, and the reports. */
const SPARE_MS = 60_000;

interface Plan {
  readonly load: LoadOptions;
  readonly seconds: number;
  readonly asJson: boolean;
}

/** What the arguments say, or everything that is wrong with them. */
export function planFrom(args: readonly string[]): Plan | { readonly problems: string[] } {
  const problems: string[] = [];
  const values = read(args, problems);
  const number = (name: string, fallback: number, min: number, max: number): number => {
    const value = values.get(name)?.at(-1);
    if (value === undefined) return fallback;
    const got = /^\d+$/.test(value) ? Number(value) : NaN;
    if (got >= min && got <= max) return got;
    problems.push(`--${name}: ${min} to ${max} expected, got '${value}'`);
    return fallback;
  };
  const streams = number('streams', 1000, 1, 100_000);
  const ratePerSecond = number('rate', 1000, 1, 100_000);
  const seconds = number('seconds', 30, 1, 3600);
  const processes = number('processes', 0, 1, 64);
  const load: LoadOptions = {
    url: urlFrom(values.get('url')?.at(-1), values.has('remote'), problems),
    headers: headersFrom(values.get('header') ?? [], problems),
    streams, ratePerSecond,
    runs: number('runs', 1, 1, 100_000),
    stalled: number('stalled', 0, 0, streams),
    reconnect: values.has('reconnect'),
    gzip: values.has('gzip'),
    ...(processes > 0 ? { processes } : {}),
    ...(values.has('terminal') ? { terminal: values.get('terminal') ?? [] } : {}),
    maxLifeMs: (streams / ratePerSecond + seconds) * 1000 + SPARE_MS,
  };
  return problems.length > 0 ? { problems } : { load, seconds, asJson: values.has('json') };
}

/** By name, in the order given; `parseArgs` itself would stop at the first mistake. */
function read(args: readonly string[], problems: string[]): Map<string, string[]> {
  const values = new Map<string, string[]>();
  const { tokens } = parseArgs({
    args: [...args], options: OPTIONS, strict: false, allowPositionals: true, tokens: true,
  });
  for (const token of tokens) {
    if (token.kind === 'positional') problems.push(`'${token.value}': no option`);
    if (token.kind !== 'option') continue;
    const { name, rawName, value } = token;
    const option = Object.hasOwn(OPTIONS, name) ? OPTIONS[name as keyof typeof OPTIONS] : undefined;
    if (option === undefined || !rawName.startsWith('--')) {
      problems.push(`${rawName}: not known, --help lists the options`);
    } else if (option.type === 'boolean' && value !== undefined) {
      problems.push(`${rawName}: takes no value, got '${value}'`);
    } else if (option.type === 'string' && value === undefined) {
      problems.push(`${rawName}: a value is missing`);
    } else {
      values.set(name, [...values.get(name) ?? [], value ?? '']);
    }
  }
  return values;
}

function urlFrom(text: string | undefined, isRemote: boolean, problems: string[]): string {
  const want = 'http://HOST:PORT/PATH expected';
  if (text === undefined) problems.push(`--url: ${want}, and it is missing`);
  if (text === undefined) return '';
  if (!URL.canParse(text) || !/^http:\/\/[^/?#@]+(?:[/?][\x21-\x7e]*)?$/i.test(text)) {
    problems.push(`--url: ${want}, got '${text}'`);
    return text;
  }
  const { hostname } = new URL(text);
  const isLoopback = hostname === 'localhost' || (isIP(hostname) === 4 && /^127\./.test(hostname));
  if (!isLoopback && !isRemote) {
    problems.push(
      `--url: 127.x.x.x or localhost expected, got '${hostname}'; --remote if its owner knows`);
  }
  return text;
}

function headersFrom(lines: readonly string[], problems: string[]): Record<string, string> {
  return Object.fromEntries(lines.flatMap((line) => {
    const [, name, value] = /^([!#$%&'*+.^_`|~\w-]+):[ \t]*([\x20-\x7e\t]*)$/.exec(line) ?? [];
    if (name !== undefined && value !== undefined) return [[name, value]];
    // It may well be a key: what was got is not repeated whole.
    problems.push(`--header: 'name: value' expected, got '${line.slice(0, 8)}…'`);
    return [];
  }));
}

/** The command; resolves to its exit code. */
export async function runStreams(args: readonly string[]): Promise<number> {
  if (args.includes('--help')) {
    process.stdout.write(HELP);
    return 0;
  }
  const plan = planFrom(args);
  if ('problems' in plan) {
    for (const problem of plan.problems) process.stderr.write(`streams: ${problem}\n`);
    return 2;
  }
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    return await hold(plan, stop.signal);
  } catch (error) {
    process.stderr.write(`streams: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

async function hold({ load: options, seconds, asJson }: Plan, signal: AbortSignal) {
  const line = progressLine();
  const { load, opened } = await Load.open({ ...options, signal, onProgress: line.show });
  try {
    const held = await load.measure(seconds * 1000);
    line.end();
    const lost = opened.lostEarly + held.lostBefore + held.lostEarly;
    const failed = total(opened.failed) + total(held.failed);
    const { headers: _, ...asked } = options;
    const result = { asked, isCutShort: signal.aborted, opened, held };
    process.stdout.write(asJson
      ? `${JSON.stringify(result, undefined, 2)}\n` : summary(options, opened, held, signal));
    return failed + lost > 0 || opened.opened < options.streams ? 1 : 0;
  } finally {
    line.end();
    await load.close();
  }
}

/** One line that is written again and again on a terminal, one after the other elsewhere. */
function progressLine() {
  let isShown = false;
  return {
    show(text: string): void {
      process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}` : `${text}\n`);
      isShown = true;
    },
    end(): void {
      if (isShown && process.stderr.isTTY) process.stderr.write('\n');
      isShown = false;
    },
  };
}

type Row = [name: string, value: string];

function summary(
  { streams }: LoadOptions, opened: Opened, held: Measured, signal: AbortSignal,
): string {
  const lost = mergeCounts([opened.lost, held.lost]);
  const failed = mergeCounts([opened.failed, held.failed]);
  const missed = opened.lostEarly + held.lostBefore + held.lostEarly;
  const rows: Row[] = [
    ['opened', `${opened.opened} of ${streams}, ${Math.round(opened.perSecond)} a second`],
    ['first event', latencies(opened.firstEventUs)],
    ['failed', counts(failed)],
    ['held', `${held.seconds.toFixed(1)} s, ${held.openNow} open at the end`],
    ['events', counts(mergeCounts([opened.events, held.events]))],
    ['received', `${((opened.bytes + held.bytes) / 2 ** 20).toFixed(1)} MB`],
    ['delivery', delivery(held)],
    ['ended', `${opened.ended + held.ended} after a terminal event, of these without HTTP's end: `
      + `${opened.uncleanEnds + held.uncleanEnds}`],
    ['lost', `${missed}${missed > 0 ? `: ${counts(lost)}` : ''}`],
    ...(held.awayUs.count > 0 ? [['came back', latencies(held.awayUs)] as Row] : []),
    ['client', client(held)],
    ...(opened.isClientBound ? [['', `while opening: ${client(opened)}`] as Row] : []),
  ];
  const text = rows.map(([name, value]) => `${name.padEnd(12)} ${value}\n`).join('');
  return signal.aborted ? `cut short\n${text}` : text;
}

function delivery(held: Measured): string {
  const { deliveryUs, strangeTimes, statesSeen, perStreamStates } = held;
  if (deliveryUs.count > 0) {
    const each = perStreamStates && `, a stream ${perStreamStates.min} to ${perStreamStates.max}`;
    return `${latencies(deliveryUs)}; ${statesSeen} states${each ?? ''}`;
  }
  return strangeTimes > 0
    ? 'not measured: `at` in the payloads is not this machine\'s monotonic clock in microseconds'
    : 'not measured: no newer state with a time `at` in its payload has come';
}

function client(
  { clientCpuShare, clientLoopDelayP99Us, clientLoopDelayMaxUs, isClientBound }: Counted,
): string {
  const shares = clientCpuShare.map((share) => `${Math.round(share * 100)} %`).join(', ');
  const text = `${shares} of a core, loop delay p99 ${ms(clientLoopDelayP99Us)}`
    + ` · max ${ms(clientLoopDelayMaxUs)}`;
  return isClientBound ? `${text}: THE CLIENT WAS THE BOTTLENECK, the server may be faster` : text;
}

function latencies({ p50, p99, max, count }: Percentiles): string {
  return count === 0 ? 'none' : `p50 ${ms(p50)} · p99 ${ms(p99)} · max ${ms(max)}`;
}

function counts(of: Readonly<Record<string, number>>): string {
  const parts = Object.entries(of).sort(([, a], [, b]) => b - a);
  return parts.length === 0 ? 'none' : parts.map(([name, count]) => `${name} ${count}`).join(' · ');
}

function ms(us: number): string {
  return us < 10_000 ? `${(us / 1000).toFixed(2)} ms` : `${Math.round(us / 1000)} ms`;
}
