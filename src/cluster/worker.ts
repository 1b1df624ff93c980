/**
 * The entry of a worker process: a gateway like any other, whose source is the primary. It lives
 * and dies with the primary and leaves signals to it: a terminal's Ctrl-C reaches both.
 */

import cluster from 'node:cluster';

import { systemClock } from '../core/clock.ts';
import { Metrics } from '../core/metrics.ts';
import { ComposedGateway, MAX_FORWARDS } from '../composition.ts';
import type { Settings } from '../options.ts';
import { PATIENCE_MS } from '../source/run-api.ts';
import { socketBudget } from './descriptors.ts';
import { keepHeapSmall } from './heap.ts';
import { IpcSource } from './ipc-source.ts';
import { portOver } from './messages.ts';
import type { FromPrimary, FromWorker } from './messages.ts';
import { countProcess } from './process-metrics.ts';
import { stderrLogger } from './stderr-log.ts';

/** A primary that died cannot be waited for: streams have this long to take their last event. */
const ORPHAN_DRAIN_MS = 1000;

const SAMPLES_MS = 1000;
const ADMIT_RESERVE_MS = 1000;

void keepHeapSmall();
const metrics = new Metrics();
countProcess(metrics);
const port = portOver<FromWorker, FromPrimary>(process, () => process.connected);
let source: IpcSource | undefined;
let gateway: ComposedGateway | undefined;

port.onMessage((message) => {
  if (message.kind === 'start') void start(message.settings);
  else if (message.kind === 'drain') void stop();
  else if (message.kind === 'accept') gateway?.accept(message.isOn, tellAccepting);
  else source?.onMessage(message);
});
process.stderr.on('error', () => undefined);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined);
cluster.worker?.on('disconnect', () => {
  // Left as it is, cluster would end this process at once, and every stream in mid-word.
  if (cluster.worker) cluster.worker.exitedAfterDisconnect = true;
  void orphaned();
});
port.send({ kind: 'ready' });

async function start(settings: Settings): Promise<void> {
  const log = stderrLogger(settings.logLevel, systemClock);
  const maxSockets = socketBudget(settings.forward ? MAX_FORWARDS : 0);
  // The primary may have to wait for a place in the budget, and ask twice.
  const admitTimeoutMs = PATIENCE_MS + 2 * settings.upstreamTimeoutMs + ADMIT_RESERVE_MS;
  source = new IpcSource(port, systemClock, admitTimeoutMs);
  const onRoom = (hasRoom: boolean): void => void port.send({ kind: 'room', hasRoom });
  const parts = { settings, log, metrics, maxSockets, onRoom, source };
  const ofPrimary = { intake: source, toll: source, machine: source };
  gateway = new ComposedGateway({ ...parts, ...ofPrimary });
  try {
    const { url } = await gateway.listen();
    port.send({ kind: 'listening', url });
    tellSamples();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    port.send({ kind: 'failed', error: reason }, () => process.exit(1));
  }
}

function tellAccepting(): void {
  port.send({ kind: 'accepting' });
}

function tellSamples(): void {
  port.send({ kind: 'samples', samples: metrics.samples() });
  systemClock.setTimeout(tellSamples, SAMPLES_MS);
}

async function stop(): Promise<void> {
  await gateway?.close();
  process.exit(0);
}

async function orphaned(): Promise<void> {
  await gateway?.close(ORPHAN_DRAIN_MS);
  process.exit(0);
}
