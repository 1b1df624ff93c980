/** All demo runs, bounded, and who waits for their end. Knows nothing of HTTP. */

import { randomUUID } from 'node:crypto';

import type { Clock, Timer } from '../core/clock.ts';
import { planFor, type PlanOptions, type Run } from './run.ts';

/** What a store of runs has to be told. */
export type StoreOptions = PlanOptions & { readonly maxRuns: number; readonly clock: Clock };

/** Ids that make their own run: see {@link RunStore.find}. */
const DEMO_ID = /^demo-[A-Za-z0-9_-]{1,40}$/;
/** A demo-… run is there to be watched: always long enough to see, never long enough to bore. */
const DEMO_DURATION_MS = [15_000, 20_000] as const;

/** At most `maxRuns` runs: above, the oldest finished one goes, else the oldest. */
export class RunStore {
  readonly #runs = new Map<string, Run>();
  /** Who is to look again, and when: the only timers of the demo, one for each wait. */
  readonly #waits = new Map<() => void, Timer>();
  readonly #options: StoreOptions;

  constructor(options: StoreOptions) {
    this.#options = options;
  }

  /** A new run. `fail` decides its end, undefined leaves that to chance. */
  create(
    workspace: string, workflowId: string, fail: boolean | undefined,
    runId: string = randomUUID(), options: PlanOptions = this.#options,
  ): Run {
    const plan = planFor(runId, fail, options);
    const bornAtMs = this.#options.clock.now();
    if (this.#runs.size >= this.#options.maxRuns) {
      const runs = [...this.#runs.values()];
      const victim = runs.find(({ endsAtMs }) => endsAtMs <= bornAtMs) ?? runs[0];
      if (victim !== undefined) this.#runs.delete(victim.runId);
    }
    const run = {
      runId, workflowId, workspace, plan, createdAtMs: this.#options.clock.wallNow(), bornAtMs,
      endsAtMs: bornAtMs + plan.queuedMs + plan.stepMs * plan.lastStep, cancelled: false,
    };
    this.#runs.set(runId, run);
    return run;
  }

  /**
   * The run, which an unknown id of the form `demo-…` starts there and then for `starter`, so that
   * a printed command line shows a whole run whenever it is pasted. Such a run takes 15 to 20 s at
   * pace 1 and fails if its id contains `fail`, never by chance.
   */
  find(runId: string, starter?: string): Run | undefined {
    const run = this.#runs.get(runId);
    if (run !== undefined || starter === undefined || !DEMO_ID.test(runId)) return run;
    const options = { ...this.#options, durationMs: DEMO_DURATION_MS };
    return this.create(starter, 'demo', runId.includes('fail'), runId, options);
  }

  /** A workspace's runs, newest first. */
  list(workspace: string): Run[] {
    return [...this.#runs.values()].reverse().filter((run) => run.workspace === workspace);
  }

  /** Ends the run here and now; a run that is over stays what it is. */
  cancel(run: Run): void {
    const nowMs = this.#options.clock.now();
    if (nowMs >= run.endsAtMs) return;
    run.endsAtMs = nowMs;
    run.cancelled = true;
    // That is rare, so all look again.
    for (const look of [...this.#waits.keys()]) look();
  }

  /**
   * Calls `done` once the run is over or `timeoutMs` have passed, at once if it is over already.
   * The returned function forgets the wait; calling it too late is harmless.
   */
  wait(run: Run, timeoutMs: number, done: (over: boolean) => void): () => void {
    const deadlineMs = this.#options.clock.now() + timeoutMs;
    // It looks instead of trusting its timer, which may be early where a cancel is earlier still.
    const look = (): void => {
      this.#forget(look);
      const nowMs = this.#options.clock.now();
      const leftMs = Math.min(run.endsAtMs, deadlineMs) - nowMs;
      if (leftMs <= 0) done(run.endsAtMs <= nowMs);
      else this.#waits.set(look, this.#options.clock.setTimeout(look, Math.ceil(leftMs)));
    };
    look();
    return () => this.#forget(look);
  }

  /** Forgets every wait, without a call. */
  close(): void {
    for (const look of this.#waits.keys()) this.#forget(look);
  }

  #forget(look: () => void): void {
    const timer = this.#waits.get(look);
    if (timer !== undefined) this.#options.clock.clearTimeout(timer);
    this.#waits.delete(look);
  }
}
