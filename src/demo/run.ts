/**
 * One demo run: what will happen to it, drawn once from a hash of its id, so that the same id
 * always tells the same story; and its state as a function of time, worked out when somebody asks
 * and never driven by a timer, so that ten thousand runs cost nothing while nobody looks. Pure.
 */

import { createHash } from 'node:crypto';

import { picture, sentences } from './artwork.ts';

/** What becomes of runs in general, unless one is told otherwise. */
export const PLAN_DEFAULTS = {
  /** Outputs per run, 1 to 100: script, two images, clip, caption; more repeat them. */
  outputs: 5,
  /** Share of runs that fail, 0 to 1. */
  failRate: 0.2,
  /** From queued to completed, at pace 1; a failing run ends sooner. */
  durationMs: [10_000, 40_000] as readonly [min: number, max: number],
  /** How many times faster than real, above 0 and up to 100. */
  pace: 1,
};
/** See {@link PLAN_DEFAULTS}. */
export type PlanOptions = Readonly<typeof PLAN_DEFAULTS>;

/** All there is to know about a run; only a cancel ever changes it. */
export interface Run {
  readonly runId: string;
  readonly workflowId: string;
  /** Only this workspace's keys may see it. */
  readonly workspace: string;
  readonly plan: ReturnType<typeof planFor>;
  /** Unix milliseconds: for what is shown. */
  readonly createdAtMs: number;
  /** Milliseconds of the monotonic clock, as all times that are compared. */
  readonly bornAtMs: number;
  endsAtMs: number;
  cancelled: boolean;
}

/** `upTo`: how much of the work, in tenths, is done with this output. */
const WORKFLOW = [
  { label: 'Script', type: 'text', upTo: 1 },
  { label: 'Packshot', type: 'image', upTo: 3 },
  { label: 'Scene', type: 'image', upTo: 5 },
  { label: 'Clip', type: 'video', upTo: 9 },
  { label: 'Caption', type: 'text', upTo: 10 },
] as const;

const QUEUED_MS = 1_000;
const STEP_MS = 1_500;
const CAUSE = 'The model gave no answer in time';

/**
 * The plan for `runId`; `fail` decides its end, undefined leaves that to `failRate`. A run waits
 * `queuedMs` and then goes from step 0 to `lastStep`, `stepMs` each (1 to 2 s at pace 1, less
 * where outputs are many); its state changes there and nowhere else.
 */
export function planFor(runId: string, fail: boolean | undefined, options: PlanOptions) {
  const hash = createHash('sha256').update(runId).digest();
  const draw = (index: number): number => hash.readUInt32BE(4 * index) / 2 ** 32;
  const { durationMs: [min, max], failRate, pace } = options;
  const durationMs = min + draw(0) * (max - min);
  const queuedMs = Math.min(QUEUED_MS, durationMs / 10);
  const steps = Math.max(options.outputs, Math.round((durationMs - queuedMs) / STEP_MS));
  const outputs = outputsOver(steps, options.outputs);
  // Never the first of several: a run that fails should have something to show.
  const failing = fail ?? draw(1) < failRate
    ? outputs[Math.ceil(draw(2) * (outputs.length - 1))]
    : undefined;
  return {
    /** 32 random bits for whatever the outputs should look like. */
    seed: hash.readUInt32BE(12),
    queuedMs: queuedMs / pace,
    stepMs: (durationMs - queuedMs) / steps / pace,
    /** Steps of the whole workflow: 100 percent. */
    steps,
    lastStep: failing?.doneAt ?? steps,
    outputs,
    failing,
  };
}

/** `count` outputs one after another, each with its share of the steps; the last ends them. */
function outputsOver(steps: number, count: number) {
  const rounds = Array.from({ length: Math.ceil(count / WORKFLOW.length) }, (_, round) =>
    WORKFLOW.map(({ label, type, upTo }) => ({
      label: round === 0 ? label : `${label} ${round + 1}`, type, upTo: 10 * round + upTo,
    })));
  const nodes = rounds.flat().slice(0, count);
  const total = nodes.at(-1)?.upTo ?? 0;
  return nodes.map(({ label, type, upTo }) => ({
    id: label.toLowerCase().replace(' ', ''),
    label, type,
    /** The step, 1 to `steps`, at which its value is there. */
    doneAt: Math.max(1, Math.round((steps * upTo) / total)),
  }));
}

/** What a list of runs shows of it at `nowMs`: no outputs. */
export function summaryAt(run: Run, nowMs: number) {
  const { runId, workflowId, plan, createdAtMs, bornAtMs, endsAtMs } = run;
  const over = nowMs >= endsAtMs;
  // A run that was cancelled while it was queued never has.
  const started = Math.min(nowMs, endsAtMs) - bornAtMs >= plan.queuedMs;
  const [status, errorMessage] = over ? endOf(run) : [started ? 'running' : 'queued', null];
  const iso = (unixMs: number): string => new Date(unixMs).toISOString();
  return {
    runId, workflowId, status, errorMessage,
    startedAt: started ? iso(createdAtMs + plan.queuedMs) : null,
    completedAt: over ? iso(createdAtMs + endsAtMs - bornAtMs) : null,
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
    const value = type === 'text' ? sentences(seed + doneAt, Math.floor(textBytes / texts))
      : picture(seed + doneAt, type === 'video');
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
export function placeholder({ id, label }: { readonly id: string; readonly label: string }) {
  return { id, label, type: 'pending', value: null, status: 'pending', error: null };
}

function endOf({ cancelled, plan: { failing } }: Run): readonly [string, string | null] {
  if (cancelled) return ['cancelled', 'The run was cancelled'];
  return failing === undefined ? ['completed', null] : ['failed', `${failing.label}: ${CAUSE}`];
}

function stepAt({ plan, bornAtMs, endsAtMs, cancelled }: Run, nowMs: number): number {
  // The end is compared, not divided: rounding must not show a run as over with an output open.
  if (!cancelled && nowMs >= endsAtMs) return plan.lastStep;
  const runningMs = Math.min(nowMs, endsAtMs) - bornAtMs - plan.queuedMs;
  return Math.max(0, Math.min(plan.lastStep - 1, Math.floor(runningMs / plan.stepMs)));
}
