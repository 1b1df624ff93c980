/**
 * Real proxies in front of a gateway: Debian's nginx and HAProxy, each on a free port with a
 * configuration in a temporary folder, ended by its own id.
 */

import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Cli } from './cli.ts';
import { freePort } from './ports.ts';
import { pathOf, without } from './programs.ts';
import { until } from './wait.ts';

const NGINX = pathOf('nginx');
const HAPROXY = pathOf('haproxy');

/** Why its tests are skipped; false where it is there, and in CI, which must have it. */
export const noNginx = without(['nginx'], 'nginx-light');
/** The same. */
export const noHaproxy = without(['haproxy'], 'haproxy');

/** nginx with these directives in its `location /`; the origin of it. */
export async function startNginx(
  t: TestContext, upstreamPort: number, directives: string,
): Promise<string> {
  if (NGINX === undefined) throw new Error('no nginx');
  const folder = await folderFor(t);
  const port = await freePort();
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${folder}/${name};`).join('\n');
  await writeFile(join(folder, 'nginx.conf'), `
    daemon off; master_process off; pid ${folder}/pid; error_log stderr warn;
    events { worker_connections 64; }
    http {
      access_log off; ${paths}
      server {
        listen 127.0.0.1:${port};
        location / { proxy_pass http://127.0.0.1:${upstreamPort}; ${directives} }
      }
    }\n`);
  const args = ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', 'stderr'];
  return started(t, 'nginx', NGINX, args, port);
}

/** HAProxy with these lines in its `defaults` and its `backend`; the origin of it. */
export async function startHaproxy(
  t: TestContext, upstreamPort: number, defaults: string, backend: string,
): Promise<string> {
  if (HAPROXY === undefined) throw new Error('no haproxy');
  const folder = await folderFor(t);
  const port = await freePort();
  await writeFile(join(folder, 'haproxy.cfg'), `
global
  maxconn 64
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  ${defaults}
frontend in
  bind 127.0.0.1:${port}
  default_backend out
backend out
  ${backend}
  server runcast 127.0.0.1:${upstreamPort}\n`);
  return started(t, 'haproxy', HAPROXY, ['-db', '-f', join(folder, 'haproxy.cfg')], port);
}

async function folderFor(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'runcast-proxy-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function started(
  t: TestContext, name: string, file: string, args: readonly string[], port: number,
): Promise<string> {
  const child = new Cli(spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] }));
  t.after(() => child.stop());
  const origin = `http://127.0.0.1:${port}`;
  let isGone = false;
  void child.exited.then(() => (isGone = true));
  await until(`${name} answers`, async () => {
    if (isGone) throw new Error(`${name} ended: ${child.stderr}`);
    return fetch(`${origin}/livez`).then(({ ok }) => ok, () => false);
  });
  return origin;
}
