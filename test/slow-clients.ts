/**
 * slowhttptest (Debian's package) against the gateway: headers that never end (-H) and answers
 * that are hardly read (-X), with healthy streams measured beside it. Run by .ci/run as
 * `node --import tsx test/slow-clients.ts`; exits 1 with what went wrong.
 */

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

import { STARTERS } from './support/gateway.ts';
import type { TestGateway } from './support/gateway.ts';
import { state } from './support/upstream.ts';

const CONNECTIONS = '600';
const SECONDS = '12';
const STREAMS = 20;
/** A healthy stream hears of each change within this, under attack too. */
const MAX_GAP_MS = 1_500;
const CHANGE_MS = 200;

const run = promisify(execFile);

/** Longest time between two changes, over all healthy streams, while `attack` lasts. */
async function gapDuring(
  gateway: TestGateway, runId: string, attack: Promise<unknown>,
): Promise<number> {
  let step = 0;
  const change = (): void => gateway.upstream.run(runId, state('running', { step: ++step }));
  change();
  const timer = setInterval(change, CHANGE_MS);
  const streams = await Promise.all(
    Array.from({ length: STREAMS }, () => gateway.join(runId)),
  );
  const startedAt = performance.now();
  await attack;
  const endedAt = performance.now();
  clearInterval(timer);
  const gaps = streams.flatMap(({ events }) => {
    const changes = events.map(({ at }) => at).filter((at) => at > startedAt);
    const times = [startedAt, ...changes, endedAt];
    return times.slice(1).map((at, i) => at - (times[i] ?? at));
  });
  gateway.upstream.run(runId, state('completed'));
  for (const stream of streams) await stream.next('complete');
  return Math.max(...gaps);
}

async function main(): Promise<void> {
  for (const [name, start] of STARTERS) {
    const gateway = await start();
    for (const [mode, path, extra] of [
      ['-H', '/v1/runs/run/stream', ['-i', '2', '-x', '24']],
      ['-X', '/metrics', ['-k', '3', '-w', '1', '-y', '2', '-n', '5', '-z', '1']],
    ] as const) {
      const attack = run('slowhttptest', [
        mode, '-c', CONNECTIONS, '-r', '300', '-l', SECONDS, '-p', '3', '-t', 'GET', ...extra,
        '-u', `${gateway.origin}${path}`,
      ]).catch((error: { code?: unknown }) => {
        if (error.code === 'ENOENT') throw error;
      });
      const gapMs = Math.round(await gapDuring(gateway, `run${mode}`, attack));
      const { streams } = await gateway.stats();
      console.log(`${name}, ${mode}: longest gap of ${STREAMS} healthy streams ${gapMs} ms`);
      if (gapMs > MAX_GAP_MS) throw new Error(`${gapMs} ms without a change`);
      if (streams > STREAMS) throw new Error(`${streams} streams are left`);
    }
    await gateway.stop();
  }
}

main().then(() => process.exit(0), (error: unknown) => {
  console.error(error);
  process.exit(1);
});
