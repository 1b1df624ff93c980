/**
 * runcast as people run it: the built command line, in front of the bench's run API. That holds
 * each answer until the state changes, so the interval between polls is no part of a latency, as
 * long as it is shorter than the time between changes. Pings and all else are as by default.
 */

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { startChild } from '../support/child.ts';
import type { Contender, Running, Workload } from '../support/contender.ts';
import { KEY_HEADERS, startUpstream } from './polling.ts';
import type { RunningUpstream } from './polling.ts';
import { repositoryRoot } from './processes.ts';

/** How it is run. */
export interface RuncastOptions {
  /** Default: `runcast`, and the workers if there are several. */
  readonly name?: string;
  /** Default: 1. */
  readonly workers?: number;
  /** At least 20. Default: 50. */
  readonly pollIntervalMs?: number;
  /** Default: true. Without it a poll is answered at once, and latencies have its phase. */
  readonly hold?: boolean;
  /** More of the command line, `['--ping-interval', '1h']` say. */
  readonly flags?: readonly string[];
}

/** It listens, and so does its upstream. */
export interface RunningRuncast extends Running {
  readonly upstream: RunningUpstream;
}

/** A contender that can say what it asks of its upstream. */
export interface Runcast extends Contender {
  start(workload: Workload): Promise<RunningRuncast>;
}

const CLI = join(repositoryRoot(), 'dist', 'cli.js');
/** Above what the bench opens: limits are not what is measured. */
const PLENTY = '1000000';

/** The gateway's processes count: the primary and its workers. */
export function runcast(options: RuncastOptions = {}): Runcast {
  const { workers = 1, hold = true } = options;
  return {
    name: options.name ?? (workers === 1 ? 'runcast' : `runcast, ${workers} workers`),
    async unavailable() {
      return existsSync(CLI) ? undefined : 'runcast is not built: `npm run build`';
    },
    async start(workload) {
      const upstream = await startUpstream(workload, { hold });
      try {
        return await startGateway(upstream, options, workload);
      } catch (error) {
        await upstream.stop();
        throw error;
      }
    },
  };
}

async function startGateway(
  upstream: RunningUpstream, options: RuncastOptions, { compress }: Workload,
): Promise<RunningRuncast> {
  const { workers = 1, pollIntervalMs = 50, flags = [] } = options;
  const args = [
    CLI, 'serve', '--upstream', upstream.origin, '--port', '0', '--workers', `${workers}`,
    '--poll-interval', `${pollIntervalMs}ms`, '--upstream-timeout', '10s',
    '--max-streams', PLENTY, '--max-streams-per-key', PLENTY, '--max-runs', PLENTY,
    '--stream-timeout', '24h', '--drain-timeout', '1s', '--log-level', 'warn',
    ...compression(compress), ...flags,
  ];
  const gateway = startChild('runcast', process.execPath, args);
  try {
    const [, url] = await gateway.line(/^runcast \S+ is at (http:\S+)\/ /);
    return {
      url: `${url}/v1/runs/{run}/stream`,
      headers: KEY_HEADERS,
      upstream,
      pids: () => gateway.pids(),
      stop: async () => {
        await Promise.all([gateway.stop(5_000), upstream.stop()]);
      },
    };
  } catch (error) {
    await gateway.stop();
    throw error;
  }
}

/** A runcast of before there was compression knows no such flag. */
function compression(compress: boolean): string[] {
  const help = execFileSync(process.execPath, [CLI, '--help'], { encoding: 'utf8' });
  if (/^\s*--compress\b/m.test(help)) return ['--compress', compress ? 'on' : 'off'];
  if (compress) throw new Error('this runcast has no --compress');
  return [];
}
