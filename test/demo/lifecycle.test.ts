import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';

import type { DemoOptions } from '../../src/demo/run-api.ts';
import { Demo, type Execution } from './harness.ts';

let demo: Demo;
const start = async (options?: DemoOptions): Promise<void> => { demo = await Demo.start(options); };
afterEach(() => demo.api.close());

/** Every state of a run that is fetched ten times a second until it is over. */
async function watch(runId: string): Promise<{ states: Execution[]; sinceMs: number[] }> {
  const states: Execution[] = [];
  const sinceMs: number[] = [];
  let last = '';
  for (let ms = 0; ms <= 60_000; ms += 100) {
    const { text, body } = await demo.ask(`/v1/runs/${runId}`);
    if (text !== last) states.push(body.data);
    if (text !== last) sinceMs.push(ms);
    if (!['queued', 'running'].includes(body.data.status)) break;
    last = text;
    demo.clock.advance(100);
  }
  return { states, sinceMs };
}

describe('a demo run', () => {
  it('goes from queued through its outputs to completed', async () => {
    await start();
    const { states } = await watch('demo-1');
    const [first, second, last] = [states[0], states[1], states.at(-1)];
    assert.deepEqual(first, {
      runId: 'demo-1',
      workflowId: 'demo',
      status: 'queued',
      errorMessage: null,
      startedAt: null,
      completedAt: null,
      createdAt: '2026-01-01T00:00:00.000Z',
      outputs: ['Script', 'Packshot', 'Scene', 'Clip', 'Caption'].map((label) => ({
        id: label.toLowerCase(), label, type: 'pending', value: null, status: 'pending',
        error: null,
      })),
      progress: { totalOutputs: 5, completedOutputs: 0, failedOutputs: 0, percentComplete: 0 },
    });
    assert.equal(second?.status, 'running');
    assert.equal(second.startedAt, '2026-01-01T00:00:01.000Z');
    assert.equal(last?.status, 'completed');
    assert.equal(last.errorMessage, null);
    assert.deepEqual(last.progress, {
      totalOutputs: 5, completedOutputs: 5, failedOutputs: 0, percentComplete: 100,
    });
    const counts = states.map(({ progress }) => progress.completedOutputs);
    assert.deepEqual([...new Set(counts)], [0, 1, 2, 3, 4, 5]);
  });

  it('changes about every one to two seconds and never in between', async () => {
    await start();
    const { sinceMs } = await watch('demo-1');
    const gaps = sinceMs.slice(1).map((ms, index) => ms - (sinceMs[index] ?? 0));
    for (const gap of gaps) assert.ok(gap >= 1_000 && gap <= 2_000, `${gaps.join(' ')} ms`);
  });

  it('takes 15 to 20 s and completes where its id starts with demo-', async () => {
    await start({ failRate: 1, durationMs: [60_000, 60_000] });
    for (const runId of ['demo-1', 'demo-2', 'demo-x_Y-3']) {
      const { states, sinceMs } = await watch(runId);
      assert.equal(states.at(-1)?.status, 'completed');
      const durationMs = sinceMs.at(-1) ?? 0;
      assert.ok(durationMs >= 15_000 && durationMs <= 20_100, `${durationMs} ms`);
    }
  });

  it('fails where its id or its inputs say so, and tells what failed', async () => {
    await start({ failRate: 0 });
    for (const runId of ['demo-fail-1', await demo.run({ fail: true })]) {
      const { states } = await watch(runId);
      const last = states.at(-1);
      const failed = last?.outputs.find(({ status }) => status === 'error');
      assert.equal(last?.status, 'failed');
      assert.equal(last.progress.failedOutputs, 1);
      assert.equal(last.errorMessage, `${failed?.label}: ${failed?.error}`);
      assert.equal(failed?.value, null);
      assert.notEqual(last.completedAt, null);
    }
  });

  it('shows sentences, pictures and a picture that moves, all made by code', async () => {
    await start();
    await demo.show('demo-1');
    demo.clock.advance(20_000);
    const [script, packshot, scene, clip] = (await demo.show('demo-1')).outputs;
    assert.match(script?.value ?? '', /^[A-Z][^.]+\..*\.$/);
    for (const picture of [packshot, scene, clip]) {
      assert.match(picture?.value ?? '', /^data:image\/svg\+xml,%3Csvg/);
    }
    assert.equal(clip?.type, 'video');
    assert.match(decodeURIComponent(clip.value ?? ''), /<animateTransform/);
    assert.notEqual(packshot?.value, scene?.value);
  });

  it('can be cancelled once, and then stays as it was', async () => {
    await start();
    await demo.show('demo-1');
    demo.clock.advance(9_000);
    const before = await demo.show('demo-1');
    const { status, text, body } = await demo.ask('/v1/runs/demo-1/cancel', { method: 'POST' });
    assert.equal(status, 200);
    assert.deepEqual(body.data, {
      ...before,
      status: 'cancelled',
      errorMessage: 'The run was cancelled',
      completedAt: '2026-01-01T00:00:09.000Z',
    });
    demo.clock.advance(60_000);
    assert.equal((await demo.ask('/v1/runs/demo-1')).text, text);
    assert.equal((await demo.ask('/v1/runs/demo-1/cancel', { method: 'POST' })).text, text);
  });

  it('has not started if it was cancelled while it was queued', async () => {
    await start();
    await demo.show('demo-1');
    const { body } = await demo.ask('/v1/runs/demo-1/cancel', { method: 'POST' });
    demo.clock.advance(5_000);
    assert.equal(body.data.startedAt, null);
    assert.deepEqual(await demo.show('demo-1'), body.data);
  });

  it('is a hundred times faster at pace 100', async () => {
    await start({ pace: 100 });
    await demo.show('demo-1');
    demo.clock.advance(140);
    assert.equal((await demo.show('demo-1')).status, 'running');
    demo.clock.advance(60);
    assert.equal((await demo.show('demo-1')).status, 'completed');
  });

  it('has as many outputs and as long texts as it was told', async () => {
    await start({ outputs: 12, outputTextBytes: 60_000 });
    await demo.show('demo-1');
    demo.clock.advance(20_000);
    const { outputs } = await demo.show('demo-1');
    const texts = outputs.filter(({ type }) => type === 'text');
    assert.equal(outputs.length, 12);
    assert.deepEqual(texts.map(({ value }) => value?.length), new Array(5).fill(12_000));
  });

  it('is forgotten when there are too many: the oldest finished one, else the oldest', async () => {
    await start({ maxRuns: 2, failRate: 0, durationMs: [30_000, 30_000] });
    const known = async (runId: string) => (await demo.ask(`/v1/runs/${runId}`)).status === 200;
    const long = await demo.run();
    await demo.show('demo-short');
    demo.clock.advance(20_000);
    const third = await demo.run();
    assert.equal((await demo.ask('/v1/runs/demo-short/cancel', { method: 'POST' })).status, 404);
    assert.ok(await known(long) && await known(third));
    const fourth = await demo.run();
    assert.ok(!await known(long) && await known(third) && await known(fourth));
  });
});
