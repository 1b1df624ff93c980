/** The histogram of the load client: its error, its edges, and that merging loses nothing. */

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Histogram } from '../../bench/support/histogram.ts';
import { randomFrom, seeds } from '../support/random.ts';

for (const seed of seeds(3)) {
  it(`is never more than 0.8 % above the true percentile (seed ${seed})`, () => {
    const random = randomFrom(seed);
    const values = Array.from({ length: 5_000 }, () => Math.floor(10 ** (random() * 9)));
    const parts = [new Histogram(), new Histogram()];
    values.forEach((value, i) => parts[i % 2]?.record(value));
    const whole = new Histogram();
    for (const part of parts) whole.merge(JSON.parse(JSON.stringify(part.toData())));
    values.sort((a, b) => a - b);
    for (const share of [0.001, 0.5, 0.9, 0.99, 0.999, 1]) {
      const right = values[Math.ceil(values.length * share) - 1] ?? NaN;
      const got = whole.percentile(share);
      assert.ok(got >= right && got <= right * 1.008, `${share}: ${got} for ${right}`);
    }
    assert.equal(whole.max, values.at(-1));
    assert.equal(whole.count, values.length);
  });
}

it('takes what is out of its range as the nearer end, and is empty after a reset', () => {
  const histogram = new Histogram();
  for (const value of [-5, 0.4, 255, 256, 2 ** 40]) histogram.record(value);
  const { p50, max, count } = histogram.percentiles();
  assert.deepEqual([p50, max, count], [255, 2 ** 32 - 1, 5]);
  assert.equal(histogram.percentile(0.2), 0);
  assert.equal(histogram.percentile(0.8), 257);
  histogram.reset();
  assert.deepEqual(histogram.percentiles(), { p50: 0, p90: 0, p99: 0, p999: 0, max: 0, count: 0 });
});
