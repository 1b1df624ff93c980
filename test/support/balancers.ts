/**
 * The configurations of `test/fleet`, each run by its real program on a free port in front of what
 * listens at the given ports, and ended by its own id.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Cli } from './cli.ts';
import { testFile } from './files.ts';
import { freePort } from './ports.ts';
import { pathOf } from './programs.ts';
import { until } from './wait.ts';

const MS = 60_000;

type Environment = Readonly<Record<string, string>>;

export interface Balancer {
  readonly program: string;
  readonly file: string;
  /** `path` is that of the configuration, `folder` one for what it writes. */
  readonly command: (path: string, folder: string) => readonly string[];
  /** Does the program itself put the environment into its configuration? */
  readonly readsEnvironment: boolean;
}

export const BALANCERS: Readonly<Record<string, Balancer>> = {
  HAProxy: {
    program: 'haproxy', file: 'haproxy.cfg', readsEnvironment: true,
    command: (path) => ['haproxy', '-db', '-f', path],
  },
  nginx: {
    program: 'nginx', file: 'nginx.conf', readsEnvironment: false,
    command: (path, folder) => ['nginx', '-p', folder, '-e', 'stderr', '-c', path, '-g',
      `daemon off; pid ${folder}/nginx.pid;`],
  },
  Caddy: {
    program: 'caddy', file: 'Caddyfile', readsEnvironment: true,
    command: (path) => ['caddy', 'run', '--adapter', 'caddyfile', '--config', path],
  },
};

/** The origin that clients know. `edit` changes the configuration before it is run. */
export async function startBalancer(
  t: TestContext, balancer: Balancer, ports: readonly number[],
  edit: (text: string) => string = (text) => text,
): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'runcast-fleet-'));
  const port = await freePort();
  const values: Record<string, string> = { HOST: '127.0.0.1', PORT: `${port}` };
  for (const [i, each] of ports.entries()) values[`REPLICA_${i + 1}`] = `127.0.0.1:${each}`;
  const text = edit(await readFile(testFile(`fleet/${balancer.file}`), 'utf8'));
  const path = join(folder, balancer.file);
  await writeFile(path, balancer.readsEnvironment ? text : substituted(text, values));
  const [program = '', ...args] = balancer.command(path, folder);
  const env = { ...process.env, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder, ...values };
  const file = pathOf(program) ?? program;
  const cli = new Cli(spawn(file, args, { env, stdio: ['ignore', 'pipe', 'pipe'] }));
  t.after(async () => {
    await cli.stop(5_000);
    await rm(folder, { recursive: true, force: true });
  });
  const origin = `http://127.0.0.1:${port}`;
  await until(`${balancer.program} to answer`, async () =>
    (await fetch(`${origin}/readyz`).catch(() => undefined))?.status === 200, MS)
    .catch((error: unknown) => assert.fail(`${String(error)}: ${cli.stderr}`));
  return origin;
}

function substituted(text: string, values: Environment): string {
  return Object.entries(values).reduce((before, [name, value]) =>
    before.replaceAll(`\${${name}}`, value), text);
}
