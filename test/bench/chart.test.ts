/** The chart: as long as its figures say, well-formed whatever the names, legible in the dark. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { drawChart, panelOf } from '../../bench/support/chart.ts';
import type { Panel } from '../../bench/support/chart.ts';

function panel(...bars: readonly [name: string, ...values: [number, number, number]][]): Panel {
  const rows = bars.map(([contender, ...values]) =>
    ({ contender, notes: [], figures: [{ name: 'cpu', unit: 'µs', values }] }));
  return panelOf(rows, 'cpu', 'CPU a frame');
}

function draw(...panels: Panel[]): string {
  return drawChart({ title: 'Fan-out', panels, footer: ['A machine', 'Node'] });
}

/** Where each bar ends, its rounded corner included. */
function barEnds(svg: string): number[] {
  return [...svg.matchAll(/class="bar[^"]*" d="M[\d.]+ [\d.]+H([\d.]+)q([\d.]+)/g)]
    .map(([, end, corner]) => Number(end) + Number(corner));
}

describe('a chart', () => {
  test('has bars as long as their medians, from zero, best first', () => {
    const svg = draw(panel(['b', 20, 20, 20], ['a', 9, 10, 11]));
    const axis = Number(/class="axis" d="M([\d.]+)/.exec(svg)?.[1]);
    const [short = NaN, long = NaN] = barEnds(svg).map((end) => end - axis);
    assert.ok(Math.abs(long / short - 2) < 0.01, `${long} / ${short}`);
    assert.ok(svg.indexOf('>a</text>') < svg.indexOf('>b</text>'));
  });

  test('has a whisker where repeats differ, and none where they do not', () => {
    const whiskers = (...values: [number, number, number]): number =>
      draw(panel(['a', ...values])).match(/class="whisker"/g)?.length ?? 0;
    assert.deepEqual([whiskers(10, 10, 10), whiskers(8, 10, 12)], [0, 1]);
  });

  test('marks our rows and no others', () => {
    const svg = draw(panel(['runcast', 1, 1, 1], ['runcast, 2 workers', 2, 2, 2], ['x', 3, 3, 3]));
    assert.equal(svg.match(/class="bar ours"/g)?.length, 2);
    assert.equal(svg.match(/class="bar"/g)?.length, 1);
  });

  test('leaves out rows without the figure, and stands with nothing at all or only zeros', () => {
    const rows = [{ contender: 'a', notes: [], figures: [] }];
    assert.deepEqual(panelOf(rows, 'cpu', 'CPU').bars, []);
    for (const svg of [draw(), draw(panel()), draw(panel(['a', 0, 0, 0]))]) {
      assert.doesNotMatch(svg, /NaN|Infinity|undefined/);
    }
  });

  test('keeps within its width, whatever the size of the figures', () => {
    for (const size of [1e-6, 0.37, 1, 9.99, 4_999, 1e9]) {
      const svg = draw(panel(['a', size, size, size * 1.3]));
      const xs = [...svg.matchAll(/ x="([\d.]+)"/g)].map(([, x]) => Number(x));
      assert.ok(Math.max(...xs) <= 720 - 48, `${size}: ${xs}`);
      const ticks = svg.match(/class="tick"/g)?.length ?? 0;
      assert.ok(ticks >= 4 && ticks <= 11, `${size}: ${ticks} ticks`);
    }
  });

  test('escapes every text, and shortens a name only for the eye', () => {
    const name = '<script>&"\'\u0000 a name that is far too long';
    const svg = drawChart({
      title: '</title><script>', panels: [{ ...panel([name, 1, 2, 3]), title: '<&' }],
      footer: ['<b>'],
    });
    assert.doesNotMatch(svg, /<script|<b>|\u0000|&(?!amp;|lt;|gt;|quot;|#39;)/);
    const opened = svg.match(/<(?:svg|title|desc|style|text|g)\b/g)?.length;
    assert.equal(opened, svg.match(/<\/(?:svg|title|desc|style|text|g)>/g)?.length);
    assert.match(svg, /<title>&lt;script&gt;&amp;&quot;&#39; a name that is far too long 2 µs/);
    assert.match(svg, /…<\/text>/);
  });

  test('has colours for dark mode, words for those who do not see it, and its origin', () => {
    const svg = draw(panel(['runcast', 1, 2, 3]));
    assert.match(svg, /@media \(prefers-color-scheme: dark\)/);
    assert.match(svg, /role="img" aria-labelledby="title desc"/);
    assert.match(svg, /<desc id="desc">CPU a frame: runcast 2 µs \(1 to 3\)\.<\/desc>/);
    assert.match(svg, />A machine<\/text>[^]*>Node<\/text>/);
    assert.equal(svg, draw(panel(['runcast', 1, 2, 3])));
  });
});
