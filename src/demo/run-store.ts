/** All demo runs, bounded, in the order in which they were made. Knows nothing of HTTP. */

import { randomUUID } from 'node:crypto';

import type { Clock } from '../core/clock.ts';
import { planFor, type PlanOptions } from './plan.ts';
import { endsAtMs, statusAt, type Run } from './run.ts';

/** Ids that make their own run: see {@link RunStore.findOrStart}. */
const DEMO_ID = /^demo-[A-Za-z0-9_-]{1,40}$/;
/** A demo-… run is there to be watched: always long enough to see, never long enough to bore. */
const DEMO_DURATION_MS = [15_000, 20_000] as const;

/** At most `maxRuns` runs: above, the oldest finished one goes, else the oldest. */
export class RunStore {
  readonly #runs = new Map<string, Run>();
  readonly #clock: Clock;
  readonly #options: PlanOptions;
  readonly #maxRuns: number;

  constructor(clock: Clock, options: PlanOptions, maxRuns: number) {
    this.#clock = clock;
    this.#options = options;
    this.#maxRuns = maxRuns;
  }

  /** A new run with an id of its own. `fail` true makes it fail; otherwise it may, by chance. */
  create(workspace: string, workflowId: string, fail: boolean): Run {
    return this.#add(randomUUID(), workspace, workflowId, fail || undefined, this.#options);
  }

  find(runId: string): Run | undefined {
    return this.#runs.get(runId);
  }

  /**
   * The run, which an unknown id of the form `demo-…` starts there and then, so that a printed
   * command line shows a whole run whenever it is pasted. Such a run takes 15 to 20 s at pace 1
   * and fails if its id contains `fail`, never by chance.
   */
  findOrStart(runId: string, workspace: string): Run | undefined {
    const run = this.#runs.get(runId);
    if (run !== undefined || !DEMO_ID.test(runId)) return run;
    const options = { ...this.#options, durationMs: DEMO_DURATION_MS };
    return this.#add(runId, workspace, 'demo', runId.includes('fail'), options);
  }

  /** A workspace's runs, newest first; all, or those with this status now. */
  list(workspace: string, status: string | null): Run[] {
    const nowMs = this.#clock.now();
    return [...this.#runs.values()].reverse().filter((run) => run.workspace === workspace
      && (status === null || statusAt(run, nowMs) === status));
  }

  #add(
    runId: string,
    workspace: string,
    workflowId: string,
    fail: boolean | undefined,
    options: PlanOptions,
  ): Run {
    const plan = planFor(runId, fail, options);
    const createdAtMs = this.#clock.wallNow();
    const bornAtMs = this.#clock.now();
    if (this.#runs.size >= this.#maxRuns) this.#evict(bornAtMs);
    const run: Run = { runId, workflowId, workspace, plan, createdAtMs, bornAtMs };
    this.#runs.set(runId, run);
    return run;
  }

  #evict(nowMs: number): void {
    let victim: string | undefined;
    for (const run of this.#runs.values()) {
      victim ??= run.runId;
      if (endsAtMs(run) > nowMs) continue;
      victim = run.runId;
      break;
    }
    if (victim !== undefined) this.#runs.delete(victim);
  }
}
