/**
 * A {@link RunSource} whose runs a test moves by hand: `emit` is a change, `lose` a key that
 * upstream no longer lets in. It keeps the seam's promises (nothing during a call, nothing after
 * `stop` or after an end, a lost key is let go of first) and writes down what it was asked for.
 */

import { parseExecution } from '../../src/core/execution.ts';
import type { Snapshot, StatusMapping } from '../../src/core/execution.ts';
import { refuse } from '../../src/core/errors.ts';
import type {
  Admission, Admitted, ApiKey, Loss, RunObserver, RunSource, Watch,
} from '../../src/core/run-source.ts';
import { execution } from './answers.ts';

export const MAPPING: StatusMapping = {
  statusFields: ['status'], completeOn: ['completed'], errorOn: ['failed', 'cancelled'],
};

/** A state as it would be read from upstream's own bytes for `execution(…)`. */
export function snapshotOf(
  runId: string, status: string, over: Readonly<Record<string, unknown>> = {},
): Snapshot {
  const body = Buffer.from(JSON.stringify({ data: execution(runId, status, over) }));
  const parsed = parseExecution(runId, body, MAPPING);
  if (parsed.kind === 'invalid') throw new Error(parsed.why);
  return parsed.snapshot;
}

export const apiKey = (value: string): ApiKey => ({ value, header: 'x-api-key' });

export const admittedAs = (key: string, snapshot: Snapshot): Admitted =>
  ({ kind: 'admitted', runId: snapshot.runId, key: apiKey(key), snapshot });

export class FakeSource implements RunSource {
  /** All that were ever made, the stopped ones too. */
  readonly watches: FakeWatch[] = [];
  isClosed = false;
  readonly #newest = new Map<string, Snapshot>();

  /** Everybody may see what was emitted. */
  async admit(runId: string, { value }: ApiKey): Promise<Admission> {
    return this.admitted(runId, value)
      ?? { kind: 'refused', refusal: refuse('NOT_FOUND') };
  }

  /** The same, at once. */
  admitted(runId: string, key: string): Admitted | undefined {
    const snapshot = this.#newest.get(runId);
    return snapshot && admittedAs(key, snapshot);
  }

  newest(runId: string): Snapshot | undefined {
    return this.#newest.get(runId);
  }

  watch(admitted: Admitted, observer: RunObserver): FakeWatch {
    const watch = new FakeWatch(admitted.runId, observer);
    this.watches.push(watch);
    watch.hold(admitted);
    watch.calls.length = 0;
    return watch;
  }

  close(): void {
    this.isClosed = true;
    for (const watch of this.watches) watch.stop();
  }

  live(runId?: string): FakeWatch[] {
    return this.watches.filter((watch) =>
      !watch.isStopped && (runId === undefined || watch.runId === runId));
  }

  /** The run is so from now on, and whoever watches is told. */
  emit(snapshot: Snapshot): void {
    this.#newest.set(snapshot.runId, snapshot);
    for (const watch of this.live(snapshot.runId)) {
      if (watch.isStopped || watch.isOver) continue;
      watch.isOver = snapshot.terminal !== undefined;
      watch.observer.onSnapshot(snapshot);
    }
  }

  lose(runId: string, key: string, loss: Loss): void {
    for (const watch of this.live(runId)) {
      if (watch.isStopped || !watch.keys.delete(key)) continue;
      watch.observer.onLost(key, loss);
    }
  }
}

export class FakeWatch implements Watch {
  readonly runId: string;
  readonly observer: RunObserver;
  /** Held now. */
  readonly keys = new Set<string>();
  /** `hold lma_a`, `release lma_a` and `stop`, in order, without the hold of `watch` itself. */
  readonly calls: string[] = [];
  isStopped = false;
  isOver = false;

  constructor(runId: string, observer: RunObserver) {
    this.runId = runId;
    this.observer = observer;
  }

  hold({ key }: Admitted): void {
    this.calls.push(`hold ${key.value}`);
    if (!this.isStopped) this.keys.add(key.value);
  }

  release(key: string): void {
    this.calls.push(`release ${key}`);
    this.keys.delete(key);
  }

  stop(): void {
    this.calls.push('stop');
    this.isStopped = true;
    this.keys.clear();
  }
}
