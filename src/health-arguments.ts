/** The arguments of `runcast health` into whom to ask, or into every mistake there is. Pure. */

import { origin } from './option-kinds.ts';

/** Ask the gateway at `origin` whether it is ready. */
export interface HealthCommand {
  readonly kind: 'health';
  readonly origin: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

const ORIGIN = origin();

/** Without a URL it is the gateway that `serve` would be with this environment. */
export function parseHealth(
  args: readonly string[], env: Environment,
): HealthCommand | { readonly kind: 'mistaken'; readonly problems: readonly string[] } {
  const [given = ownOrigin(env), ...others] = args;
  const parsed = ORIGIN.parse(given);
  const problems = others.map((other) => `${JSON.stringify(other)}: no such argument`);
  if (parsed === undefined) problems.unshift(`URL: expected ${ORIGIN.expected}`);
  if (parsed === undefined || problems.length > 0) return { kind: 'mistaken', problems };
  return { kind: 'health', origin: parsed.replace(/\/+$/, '') };
}

function ownOrigin(env: Environment): string {
  const ports = [env['RUNCAST_ADMIN_PORT'], env['RUNCAST_PORT']];
  const port = ports.find((text) => text !== undefined && /^\d+$/.test(text));
  const host = env['RUNCAST_HOST'] ?? '';
  const isAny = ['', '0.0.0.0', '::'].includes(host);
  const name = host.includes(':') ? `[${host}]` : host;
  return `http://${isAny ? '127.0.0.1' : name}:${port ?? 8080}`;
}
