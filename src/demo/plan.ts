/**
 * What will happen to a demo run, and when: drawn once from a hash of the run's id, so the same
 * id always tells the same story. Pure; it knows neither the clock nor how a state looks.
 */

import { createHash } from 'node:crypto';

/** What becomes of runs in general. */
export interface PlanOptions {
  /** Outputs per run, 1 to 100. Default 5: script, two images, clip, caption; more repeat them. */
  readonly outputs: number;
  /** Share of runs that fail, 0 to 1. Default 0.2. */
  readonly failRate: number;
  /** From queued to completed, at pace 1; a failing run ends sooner. Default 10 to 40 s. */
  readonly durationMs: readonly [min: number, max: number];
  /** How many times faster than real, above 0 and up to 100. Default 1. */
  readonly pace: number;
}

/** One output of a run. */
export interface PlannedOutput {
  readonly id: string;
  readonly label: string;
  readonly type: 'text' | 'image' | 'video';
  /** The step, 1 to `steps`, at which its value is there. */
  readonly doneAt: number;
}

/**
 * A run waits `queuedMs` and then goes from step 0 to `lastStep`, `stepMs` each (1 to 2 s at
 * pace 1, less where outputs are many); its state changes there and nowhere else.
 */
export interface Plan {
  /** 32 random bits for whatever the outputs should look like. */
  readonly seed: number;
  readonly queuedMs: number;
  readonly stepMs: number;
  /** Steps of the whole workflow: 100 percent. */
  readonly steps: number;
  /** The step the run ends with: `steps`, or earlier where it fails. */
  readonly lastStep: number;
  readonly outputs: readonly PlannedOutput[];
  /** The output that fails and ends the run; never the first of several. */
  readonly failing: PlannedOutput | undefined;
}

const WORKFLOW = [
  { id: 'script', label: 'Script', type: 'text', weight: 1 },
  { id: 'packshot', label: 'Packshot', type: 'image', weight: 2 },
  { id: 'scene', label: 'Scene', type: 'image', weight: 2 },
  { id: 'clip', label: 'Clip', type: 'video', weight: 4 },
  { id: 'caption', label: 'Caption', type: 'text', weight: 1 },
] as const;

const QUEUED_MS = 1_000;
const STEP_MS = 1_500;

/** The plan for `runId`; `fail` decides its end, undefined leaves that to `failRate`. */
export function planFor(runId: string, fail: boolean | undefined, options: PlanOptions): Plan {
  const hash = createHash('sha256').update(runId).digest();
  const draw = (index: number): number => hash.readUInt32BE(4 * index) / 2 ** 32;
  const [min, max] = options.durationMs;
  const durationMs = min + draw(0) * (max - min);
  const queuedMs = Math.min(QUEUED_MS, durationMs / 10);
  const steps = Math.max(options.outputs, Math.round((durationMs - queuedMs) / STEP_MS));
  const outputs = outputsOver(steps, options.outputs);
  const fails = fail ?? draw(1) < options.failRate;
  const failing = fails ? outputs[Math.ceil(draw(2) * (outputs.length - 1))] : undefined;
  return {
    seed: hash.readUInt32BE(12),
    queuedMs: queuedMs / options.pace,
    stepMs: (durationMs - queuedMs) / steps / options.pace,
    steps,
    lastStep: failing?.doneAt ?? steps,
    outputs,
    failing,
  };
}

/** `count` outputs one after another, each with its share of the steps; the last ends them. */
function outputsOver(steps: number, count: number): PlannedOutput[] {
  const nodes = Array.from({ length: Math.ceil(count / WORKFLOW.length) }, () => WORKFLOW)
    .flat().slice(0, count);
  const total = nodes.reduce((sum, node) => sum + node.weight, 0);
  let weight = 0;
  return nodes.map(({ id, label, type, weight: own }, index) => {
    weight += own;
    const round = Math.floor(index / WORKFLOW.length);
    const suffix = round === 0 ? '' : String(round + 1);
    return {
      id: id + suffix,
      label: `${label} ${suffix}`.trim(),
      type,
      doneAt: Math.max(1, Math.round((steps * weight) / total)),
    };
  });
}
