/** How long the event loop was held up: of this window, and still in the next. */

import assert from 'node:assert/strict';
import { it } from 'node:test';

import { Metrics } from '../src/core/metrics.ts';
import { LoopDelay } from '../src/loop-delay.ts';
import { FakeClock } from './support/fake-clock.ts';
import { until } from './support/wait.ts';

const WINDOW_MS = 10_000;

it('a stall is seen by whoever looks every 20 s, and then no more', async (t) => {
  const [clock, metrics] = [new FakeClock(), new Metrics()];
  const delay = new LoopDelay(clock, metrics);
  t.after(() => delay.stop());
  const seconds = (): number => metrics.samples()[0]?.[2] ?? NaN;
  await until('a first look', () => seconds() > 0);
  const endsAt = performance.now() + 700;
  while (performance.now() < endsAt);
  await until('that it is noticed', () => seconds() >= 0.5);
  clock.advance(WINDOW_MS);
  assert.ok(seconds() >= 0.5, 'of the window before');
  clock.advance(WINDOW_MS);
  assert.ok(seconds() < 0.5, `${seconds()} s`);
  delay.stop();
  assert.equal(clock.pending, 0);
});
