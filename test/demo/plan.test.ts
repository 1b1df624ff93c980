import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { planFor, type PlanOptions } from '../../src/demo/run.ts';

const options: PlanOptions = { outputs: 5, failRate: 0.2, durationMs: [10_000, 40_000], pace: 1 };
const ids = Array.from({ length: 2_000 }, (_, index) => `run-${index}`);

describe('the plan of a demo run', () => {
  it('is the same for the same id and another for another', () => {
    assert.deepEqual(planFor('a', undefined, options), planFor('a', undefined, options));
    assert.notEqual(planFor('a', false, options).seed, planFor('b', false, options).seed);
  });

  it('lets a run take 10 to 40 s, in steps of one to two', () => {
    for (const id of ids) {
      const { queuedMs, stepMs, steps, lastStep } = planFor(id, false, options);
      const durationMs = queuedMs + stepMs * steps;
      assert.ok(durationMs >= 9_999 && durationMs <= 40_001, `${durationMs} ms`);
      assert.ok(stepMs >= 1_000 && stepMs <= 2_000, `${stepMs} ms a step`);
      assert.equal(queuedMs, 1_000);
      assert.equal(lastStep, steps);
    }
  });

  it('ends every output after the one before it, the last with the run', () => {
    for (const outputs of [1, 4, 5, 12, 100]) {
      const plan = planFor('a', false, { ...options, outputs });
      const doneAt = plan.outputs.map((output) => output.doneAt);
      assert.equal(doneAt.length, outputs);
      assert.deepEqual(doneAt, doneAt.toSorted((a, b) => a - b));
      assert.equal(doneAt.at(-1), plan.steps);
      assert.equal(new Set(plan.outputs.map(({ id }) => id)).size, outputs);
    }
  });

  it('lets about one run in five fail, with any output but the first', () => {
    const failing = ids.map((id) => planFor(id, undefined, options))
      .filter((plan) => plan.failing !== undefined);
    assert.ok(failing.length > 320 && failing.length < 480, `${failing.length} of 2000`);
    const where = new Set(failing.map(({ failing: output }) => output?.id));
    assert.deepEqual([...where].sort(), ['caption', 'clip', 'packshot', 'scene']);
    for (const plan of failing) assert.equal(plan.lastStep, plan.failing?.doneAt);
  });

  it('obeys the rate at its ends, and a decision above any rate', () => {
    for (const id of ids.slice(0, 100)) {
      assert.equal(planFor(id, undefined, { ...options, failRate: 0 }).failing, undefined);
      assert.ok(planFor(id, undefined, { ...options, failRate: 1 }).failing);
      assert.equal(planFor(id, false, { ...options, failRate: 1 }).failing, undefined);
      assert.ok(planFor(id, true, { ...options, failRate: 0, outputs: 1 }).failing);
    }
  });

  it('goes faster by its pace and is otherwise the same', () => {
    const slow = planFor('a', false, options);
    const fast = planFor('a', false, { ...options, pace: 100 });
    assert.deepEqual({ ...fast, queuedMs: 0, stepMs: 0 }, { ...slow, queuedMs: 0, stepMs: 0 });
    assert.equal(fast.queuedMs, slow.queuedMs / 100);
    assert.equal(fast.stepMs, slow.stepMs / 100);
  });
});
