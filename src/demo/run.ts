/**
 * One demo run as a function of time: its state is worked out when somebody asks and never driven
 * by a timer, so that ten thousand runs cost nothing while nobody looks.
 */

import { artwork } from './artwork.ts';
import type { Plan, PlannedOutput } from './plan.ts';

/** All there is to know about a run; only a cancel ever changes it. */
export interface Run {
  readonly runId: string;
  readonly workflowId: string;
  /** Only this workspace's keys may see it. */
  readonly workspace: string;
  readonly plan: Plan;
  /** Unix milliseconds: for what is shown. */
  readonly createdAtMs: number;
  /** Milliseconds of the monotonic clock, as all times that are compared. */
  readonly bornAtMs: number;
  /** The moment at which its time stopped. */
  cancelledAtMs?: number;
}

/** When the run is over, or will be. */
export function endsAtMs({ plan, bornAtMs, cancelledAtMs }: Run): number {
  return cancelledAtMs ?? bornAtMs + plan.queuedMs + plan.stepMs * plan.lastStep;
}

/** At `nowMs`: `queued`, `running`, `completed`, `failed` or `cancelled`. */
export function statusAt(run: Run, nowMs: number): string {
  if (nowMs < endsAtMs(run)) return hasStarted(run, nowMs) ? 'running' : 'queued';
  if (run.cancelledAtMs !== undefined) return 'cancelled';
  return run.plan.failing === undefined ? 'completed' : 'failed';
}

/** What a list of runs shows of it at `nowMs`: no outputs. */
export function summaryAt(run: Run, nowMs: number) {
  const { runId, workflowId, plan, createdAtMs } = run;
  const endMs = endsAtMs(run);
  const started = hasStarted(run, Math.min(nowMs, endMs));
  return {
    runId,
    workflowId,
    status: statusAt(run, nowMs),
    errorMessage: nowMs < endMs ? null : errorMessage(run),
    startedAt: started ? iso(createdAtMs + plan.queuedMs) : null,
    completedAt: nowMs < endMs ? null : iso(createdAtMs + endMs - run.bornAtMs),
    createdAt: iso(createdAtMs),
  };
}

/**
 * The run API's ExecutionStatus at `nowMs`, the same for any two moments within one step.
 * `textBytes` is the size of all text outputs together; 0 leaves them at a few sentences.
 */
export function executionAt(run: Run, nowMs: number, textBytes: number) {
  const { seed, steps, outputs: planned, failing } = run.plan;
  const step = stepAt(run, nowMs);
  const texts = planned.filter(({ type }) => type === 'text').length;
  const outputs = planned.map((output) => {
    const { id, label, type, doneAt } = output;
    if (step < doneAt) return placeholder(output);
    if (output === failing) return { id, label, type, value: null, status: 'error', error: CAUSE };
    const value = artwork(output, seed, Math.floor(textBytes / texts));
    return { id, label, type, value, status: 'completed', error: null };
  });
  const count = (status: string) => outputs.filter((output) => output.status === status).length;
  const progress = {
    totalOutputs: outputs.length,
    completedOutputs: count('completed'),
    failedOutputs: count('error'),
    percentComplete: Math.floor((100 * step) / steps),
  };
  return { ...summaryAt(run, nowMs), outputs, progress };
}

/** An output before anything has come of it. */
export function placeholder({ id, label }: PlannedOutput) {
  return { id, label, type: 'pending', value: null, status: 'pending', error: null };
}

const CAUSE = 'The model gave no answer in time';

function errorMessage({ cancelledAtMs, plan: { failing } }: Run): string | null {
  if (cancelledAtMs !== undefined) return 'The run was cancelled';
  return failing === undefined ? null : `${failing.label}: ${CAUSE}`;
}

function hasStarted({ bornAtMs, plan }: Run, nowMs: number): boolean {
  return nowMs - bornAtMs >= plan.queuedMs;
}

function stepAt(run: Run, nowMs: number): number {
  const { plan, bornAtMs, cancelledAtMs } = run;
  // The end is compared, not divided: rounding must not show a run as over with an output open.
  if (cancelledAtMs === undefined && nowMs >= endsAtMs(run)) return plan.lastStep;
  const runningMs = Math.min(nowMs, cancelledAtMs ?? nowMs) - bornAtMs - plan.queuedMs;
  return Math.max(0, Math.min(plan.lastStep - 1, Math.floor(runningMs / plan.stepMs)));
}

function iso(unixMs: number): string {
  return new Date(unixMs).toISOString();
}
