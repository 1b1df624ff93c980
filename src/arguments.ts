/**
 * The command line and the environment into settings, or into every mistake there is. Pure: the
 * process belongs to `cli.ts`.
 */

import { parseArgs } from 'node:util';

import type { WatchSettings } from './client/watch-command.ts';
import { GatewayError } from './core/errors.ts';
import { printed } from './core/printed.ts';
import { DOCTOR_HELP, parseDoctor } from './doctor-arguments.ts';
import type { DoctorCommand } from './doctor-arguments.ts';
import { parseHealth } from './health-arguments.ts';
import type { HealthCommand } from './health-arguments.ts';
import { OPTIONS, settle } from './options.ts';
import type { OptionSpec, Settings } from './options.ts';
import { WATCH_HELP, parseWatch } from './watch-arguments.ts';

/** What the user wants of the program. */
export type Command =
  | { readonly kind: 'serve'; readonly settings: Settings }
  | { readonly kind: 'watch'; readonly settings: WatchSettings }
  | DoctorCommand
  | HealthCommand
  | { readonly kind: 'help'; readonly of?: HelpOf }
  | { readonly kind: 'version' }
  | Mistaken;

/** A command that has a help of its own. */
type HelpOf = 'watch' | 'doctor';

/** `of`: whose help has what was meant. */
interface Mistaken {
  readonly kind: 'mistaken'; readonly problems: readonly string[]; readonly of?: HelpOf;
}

type Environment = Readonly<Record<string, string | undefined>>;

const COMMANDS = ['serve', 'watch'];

/** A flag beats `RUNCAST_<FLAG>` beats the default. */
export function parseCommand(args: readonly string[], env: Environment): Command {
  if (args[0] === 'doctor') return parseDoctor(args.slice(1));
  if (args[0] === 'health' && !args.includes('--help')) return parseHealth(args.slice(1), env);
  const problems: string[] = [];
  // Not strict: its first mistake would be the only one reported.
  const { tokens } = parseArgs({
    args: withoutValueless(args, problems),
    strict: false, allowPositionals: true, tokens: true,
    options: {
      ...Object.fromEntries(OPTIONS.map(({ flag }) => [flag, { type: 'string' as const }])),
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean' },
    },
  });
  const given = tokens.filter((token) => token.kind === 'option');
  const first = tokens.find((token) => token.kind === 'positional')?.value;
  if (given.some(({ name }) => name === 'help')) {
    return first === 'watch' || first === 'doctor'
      ? { kind: 'help', of: first } : { kind: 'help' };
  }
  if (given.some(({ name }) => name === 'version')) return { kind: 'version' };

  const strays = given.filter(({ name, value }) => !isFlag(name) && value === undefined);
  // What stands behind an unknown option is taken for its value, not for a mistake of its own.
  const [command, ...others] = tokens.flatMap((token) => {
    if (token.kind !== 'positional') return [];
    const isBehindStray = strays.some(({ index }) => index === token.index - 1);
    return isBehindStray && !COMMANDS.includes(token.value) ? [] : [token.value];
  });
  if (command === 'watch') {
    // Its options are others, so what is found wrong here is not wrong there.
    const mistakes: string[] = [];
    const settings = parseWatch(args, env, mistakes);
    return mistakes.length === 0
      ? { kind: 'watch', settings } : { kind: 'mistaken', problems: mistakes, of: 'watch' };
  }
  if (command === undefined || !COMMANDS.includes(command)) {
    const got = command === undefined ? 'nothing' : printed(command);
    const all = [...COMMANDS, 'doctor', 'health'].join(', ');
    problems.push(`command: got ${got}, expected one of ${all}`);
  }
  for (const other of others) problems.push(`${printed(other)}: no such argument`);

  const values = { ...readEnvironment(env, problems), ...readFlags(given, problems) };
  try {
    return { kind: 'serve', settings: settle(values, problems) };
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    return { kind: 'mistaken', problems: error.problems };
  }
}

type Given = ReadonlyArray<{
  readonly name: string; readonly rawName: string; readonly value: string | undefined;
}>;

/** Of an option that comes twice the last one counts, where they are not gathered. */
function readFlags(given: Given, problems: string[]): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const { name, rawName, value } of given) {
    const spec: OptionSpec | undefined = OPTIONS.find(({ flag }) => flag === name);
    if (spec === undefined) {
      problems.push(`${rawName}: no such option`);
      continue;
    }
    const before = spec.kind.isRepeatable === true ? values[spec.key] : undefined;
    read(spec, `--${spec.flag}`, value, values, problems);
    const after = values[spec.key];
    if (Array.isArray(before) && after !== before) values[spec.key] = [before, after].flat();
  }
  return values;
}

const isFlag = (name: string): boolean => OPTIONS.some(({ flag }) => flag === name);

/** Left to itself, `--port --host x` would listen on the port `--host`. */
function withoutValueless(args: readonly string[], problems: string[]): string[] {
  const end = args.includes('--') ? args.indexOf('--') : args.length;
  return args.filter((arg, i) => {
    const next = args[i + 1];
    const spec = OPTIONS.find(({ flag }) => arg === `--${flag}`);
    if (spec === undefined || i >= end) return true;
    if (next !== undefined && !next.startsWith('--')) return true;
    problems.push(`${arg}: got no value, expected ${spec.kind.expected}`);
    return false;
  });
}

/** The text of `--help`, or of that of one command. */
export function helpText(version: string, of?: HelpOf): string {
  if (of !== undefined) return of === 'watch' ? WATCH_HELP : DOCTOR_HELP;
  const rows = OPTIONS.map(({ flag, help, defaultText }) => {
    return `  ${`--${flag}`.padEnd(20)} ${help} (default: ${defaultText})`;
  });
  return [
    `runcast ${version}: live Server-Sent-Events streams in front of a run API`,
    '',
    'usage: runcast serve [options]',
    '       runcast watch RUN_ID|URL [options] (runcast watch --help lists them)',
    '       runcast doctor URL [options] (runcast doctor --help lists them)',
    '       runcast health [URL]: exit code 0 where that gateway is ready, else 1',
    '       runcast --help | --version',
    '',
    'options; each may also be given as RUNCAST_<FLAG>, as in RUNCAST_POLL_INTERVAL=2s:',
    ...rows,
    '',
  ].join('\n');
}

function readEnvironment(env: Environment, problems: string[]): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const spec of OPTIONS) {
    const name = `RUNCAST_${spec.flag.toUpperCase().replaceAll('-', '_')}`;
    const value = env[name];
    // Kubernetes sets RUNCAST_PORT=tcp://… in every pod beside a service of that name (and
    // RUNCAST_ADMIN_PORT beside runcast-admin).
    const isForeign = /^(?:admin-)?port$/.test(spec.flag) && value?.startsWith('tcp://');
    const isUnset = value === undefined || (value === '' && spec.kind.parse('') === undefined);
    if (!isUnset && !isForeign) read(spec, name, value, values, problems);
  }
  return values;
}

function read(
  spec: OptionSpec, name: string, text: string | undefined,
  values: Record<string, unknown>, problems: string[],
): void {
  const value = text === undefined ? undefined : spec.kind.parse(text);
  const shown = spec.kind.isSecret === true ? 'a value that is not shown' : printed(text);
  const got = text === undefined ? 'no value' : shown;
  if (value === undefined) problems.push(`${name}: got ${got}, expected ${spec.kind.expected}`);
  else values[spec.key] = value;
}
