/**
 * The command line and the environment into settings, or into every mistake there is. Pure: the
 * process belongs to `cli.ts`.
 */

import { parseArgs } from 'node:util';

import { GatewayError } from './core/errors.ts';
import { OPTIONS, printed, settle } from './options.ts';
import type { OptionSpec, Settings } from './options.ts';

/** What the user wants of the program. */
export type Command =
  | { readonly kind: 'serve'; readonly settings: Settings }
  | { readonly kind: 'help' }
  | { readonly kind: 'version' }
  | { readonly kind: 'mistaken'; readonly problems: readonly string[] };

type Environment = Readonly<Record<string, string | undefined>>;

const COMMANDS = ['serve'];

/** A flag beats `RUNCAST_<FLAG>` beats the default. */
export function parseCommand(args: readonly string[], env: Environment): Command {
  // Not strict: its first mistake would be the only one reported.
  const { tokens, positionals } = parseArgs({
    args: [...args], strict: false, allowPositionals: true, tokens: true,
    options: {
      ...Object.fromEntries(OPTIONS.map(({ flag }) => [flag, { type: 'string' as const }])),
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean' },
    },
  });
  const given = tokens.filter((token) => token.kind === 'option');
  if (given.some(({ name }) => name === 'help')) return { kind: 'help' };
  if (given.some(({ name }) => name === 'version')) return { kind: 'version' };

  const problems: string[] = [];
  const [command, ...others] = positionals;
  if (command === undefined || !COMMANDS.includes(command)) {
    const got = command === undefined ? 'nothing' : printed(command);
    problems.push(`command: got ${got}, expected one of ${COMMANDS.join(', ')}`);
  }
  for (const other of others) problems.push(`${printed(other)}: no such argument`);

  const values = readEnvironment(env, problems);
  for (const { name, rawName, value } of given) {
    const spec: OptionSpec | undefined = OPTIONS.find(({ flag }) => flag === name);
    if (spec === undefined) problems.push(`${rawName}: no such option`);
    else read(spec, `--${spec.flag}`, value, values, problems);
  }
  try {
    return { kind: 'serve', settings: settle(values, problems) };
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    return { kind: 'mistaken', problems: error.problems };
  }
}

/** The text of `--help`. */
export function helpText(version: string): string {
  const rows = OPTIONS.map(({ flag, help, defaultText }) => {
    return `  ${`--${flag}`.padEnd(20)} ${help} (default: ${defaultText})`;
  });
  return [
    `runcast ${version}: live Server-Sent-Events streams in front of a run API`,
    '',
    'usage: runcast serve [options]',
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
    // Kubernetes sets RUNCAST_PORT=tcp://… in every pod beside a service of that name.
    const isForeign = spec.flag === 'port' && value?.startsWith('tcp://');
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
  const got = text === undefined ? 'no value' : printed(text);
  if (value === undefined) problems.push(`${name}: got ${got}, expected ${spec.kind.expected}`);
  else values[spec.key] = value;
}
