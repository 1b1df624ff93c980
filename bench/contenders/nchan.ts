/**
 * nchan: nginx with its pub/sub module, one worker, and a publisher that posts each state when it
 * is due. nginx counts, the publisher does not. Its ids are nchan's own, a time and a number: a
 * publisher cannot choose them. It remembers one state per run, for those who join.
 */

import { existsSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { freePort } from '../../test/support/ports.ts';
import { startChild } from '../support/child.ts';
import type { Child } from '../support/child.ts';
import type { Contender, Running, Workload } from '../support/contender.ts';
import { hasProgram, startEntry, temporaryFolder } from './processes.ts';

const MODULE_FILE = 'ngx_nchan_module.so';
const USUAL_FOLDERS = ['/usr/lib/nginx/modules', '/usr/lib64/nginx/modules'];

/** One worker process. */
export const nchan: Contender = {
  name: 'nchan',
  async unavailable() {
    const what = 'nchan needs nginx and its module (Debian: nginx-light libnginx-mod-nchan)';
    if (!hasProgram('nginx', ['-v'])) return `${what}: there is no \`nginx\``;
    return findModule() === undefined ? `${what}: there is no ${MODULE_FILE}` : undefined;
  },
  async start(workload) {
    const port = await freePort();
    const nginx = await startNginx(port, workload);
    try {
      return await withPublisher(nginx, port, workload);
    } catch (error) {
      await nginx.stop();
      throw error;
    }
  },
};

async function startNginx(port: number, workload: Workload): Promise<Child> {
  const folder = await mkdtemp(join(temporaryFolder(), 'nginx-'));
  const file = join(folder, 'nginx.conf');
  await writeFile(file, configuration(folder, port, workload));
  const args = ['-p', folder, '-c', file, '-e', 'stderr'];
  return startChild('nginx', 'nginx', args);
}

async function withPublisher(nginx: Child, port: number, workload: Workload): Promise<Running> {
  await nginx.line(/start worker process \d+/);
  const plan = { ...workload, port };
  const publisher = await startEntry('nchan publisher', 'entries/nchan-publisher', plan);
  try {
    await publisher.line(/^publishing$/);
  } catch (error) {
    await publisher.stop();
    throw error;
  }
  return {
    url: `http://127.0.0.1:${port}/stream/{run}`,
    headers: { accept: 'text/event-stream' },
    pids: () => nginx.pids(),
    stop: async () => {
      await Promise.all([publisher.stop(), nginx.stop()]);
    },
  };
}

function configuration(folder: string, port: number, { runs, stateBytes }: Workload): string {
  const memoryMiB = 64 + Math.ceil((runs * stateBytes * 4) / 2 ** 20);
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `  ${name}_temp_path ${folder}/${name};`).join('\n');
  // `notice` for the line that says the worker is there; a stream logs nothing.
  return `load_module ${findModule()};
daemon off;
pid ${folder}/nginx.pid;
error_log stderr notice;
worker_processes 1;
worker_rlimit_nofile ${descriptorLimit()};
events { worker_connections ${descriptorLimit()}; }
http {
  access_log off;
${paths}
  client_body_buffer_size 256k;
  client_max_body_size 4m;
  nchan_shared_memory_size ${memoryMiB}m;
  nchan_message_buffer_length 1;
  nchan_message_timeout 1h;
  server {
    listen 127.0.0.1:${port} backlog=16384;
    location ~ ^/stream/([\\w-]+)$ {
      nchan_subscriber eventsource;
      nchan_channel_id $1;
      nchan_subscriber_first_message oldest;
    }
    location ~ ^/publish/([\\w-]+)$ {
      nchan_publisher http;
      nchan_channel_id $1;
    }
  }
}
`;
}

/** Where nginx has its modules, after its own word or as distributions do. */
function findModule(): string | undefined {
  const said = execFileSync('sh', ['-c', 'nginx -V 2>&1'], { encoding: 'utf8' });
  const own = /--modules-path=(\S+)/.exec(said)?.[1];
  return [...(own === undefined ? [] : [own]), ...USUAL_FOLDERS]
    .map((folder) => join(folder, MODULE_FILE)).find(existsSync);
}

/** What this process may have open, so may its children. */
function descriptorLimit(): number {
  const limit = Number(execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }));
  return Math.min(Number.isNaN(limit) ? 1_000_000 : limit, 1_000_000);
}
