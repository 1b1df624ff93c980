/**
 * The run API of the bench, started: as runcast's upstream, and as a row of its own for clients
 * that poll it one by one without a gateway. No streams there: the case has to do the polling.
 */

import type { Child } from '../support/child.ts';
import type { Contender, Running, Workload } from '../support/contender.ts';
import type { UpstreamCount, UpstreamOptions } from '../support/upstream.ts';
import { listening, startEntry } from './processes.ts';

/** A key that both it and runcast take. */
export const KEY_HEADERS: Readonly<Record<string, string>> = { 'x-api-key': 'lma_bench' };

/** A run API that listens. */
export interface RunningUpstream extends Running {
  /** Without a slash at its end. */
  readonly origin: string;
  /** Requests for runs since its start. */
  requests(): Promise<number>;
}

/** Starts one; with `hold` an answer waits for the run's next change. */
export async function startUpstream(
  workload: Workload, { hold }: UpstreamOptions,
): Promise<RunningUpstream> {
  const plan = { ...workload, hold };
  const child: Child = await startEntry('upstream', '../support/upstream', plan, { ipc: true });
  const running = await listening(child);
  const { origin } = new URL(running.url);
  return {
    ...running,
    url: `${origin}/v1/runs/{run}`,
    headers: KEY_HEADERS,
    origin,
    requests: async () => (await child.ask({}) as UpstreamCount).requests,
  };
}

/** What each client asks by itself. */
export const polling: Contender = {
  name: 'polling',
  unavailable: async () => undefined,
  start: (workload) => startUpstream(workload, { hold: false }),
};
