/** What the bench says of its figures: targets are judged right, and nothing gets lost in text. */

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { describeMachine } from '../../bench/support/machine.ts';
import type { Machine } from '../../bench/support/machine.ts';
import {
  judge, numberText, readResults, renderHeadlines, renderResults, replaceBetweenMarkers,
  writeReport,
} from '../../bench/support/report.ts';
import type { CaseResult, Row, Target } from '../../bench/support/report.ts';

const MACHINE: Machine = {
  cpu: 'A|B CPU', cores: 2, memoryGiB: 24, kernel: 'Linux 6', loadBefore: 0.1, node: 'v20.19.0',
  commit: 'abc1234', date: '2026-01-01T00:00:00Z', command: 'node bench/run.ts fan-out',
};
const TARGET: Target = {
  text: 'CPU a frame', contender: 'runcast', figure: 'cpu', limit: 1.2, over: 'C floor',
};

function row(contender: string, values: readonly number[], notes: string[] = []): Row {
  return { contender, notes, figures: [{ name: 'cpu', unit: 'µs', values }] };
}

function result(over: Partial<CaseResult> = {}): CaseResult {
  const rows = [row('runcast', [8, 9, 16]), row('C floor', [8, 8, 10], ['only <send>s'])];
  return {
    name: 'fan-out', title: 'Fan-out', what: 'One run, many streams.', rows,
    targets: [judge(TARGET, rows)], skipped: ['nchan: nginx | is not here'], ...over,
  };
}

describe('a target', () => {
  test('is judged by the median of the ratios, not by the ratio of the medians', () => {
    const { value, isMet } = judge(TARGET, [row('runcast', [10, 2, 3]), row('C floor', [5, 4, 3])]);
    assert.deepEqual(value, { median: 1, min: 0.5, max: 2 });
    assert.equal(isMet, true);
  });

  test('may be absolute, a floor, or held against a figure of another name', () => {
    const { over: _, ...absolute } = TARGET;
    const rows = [row('runcast', [1.2]), row('C floor', [1])];
    assert.equal(judge(absolute, rows).isMet, true);
    assert.equal(judge({ ...absolute, limit: 1.19 }, rows).isMet, false);
    assert.equal(judge({ ...absolute, limit: 1.19, isFloor: true }, rows).isMet, true);
    assert.equal(judge({ ...absolute, limit: 1.21, isFloor: true }, rows).isMet, false);
    const plain = { ...row('C floor', []), figures: [{ name: 'plain', unit: 'µs', values: [1] }] };
    const other = { ...TARGET, overFigure: 'plain' };
    assert.equal(judge(other, rows).value, undefined);
    assert.equal(judge(other, [row('runcast', [1.3]), plain]).isMet, false);
    assert.equal(judge(other, [row('runcast', [1]), plain]).isMet, true);
  });

  test('is not met where nothing was measured, and the text says so', () => {
    for (const rows of [[], [row('runcast', [1])], [row('C floor', [1])]]) {
      const judged = judge(TARGET, rows);
      assert.deepEqual([judged.isMet, judged.value], [false, undefined]);
      const text = renderResults([{ machine: MACHINE, case: result({ targets: [judged] }) }]);
      const line = '| CPU a frame | not measured | – | ≤ 1.2 × C floor | **NOT met** |';
      assert.ok(text.includes(line), text);
    }
  });

  test('that only the median meets says that not all repeats did', () => {
    const text = renderResults([{ machine: MACHINE, case: result() }]);
    assert.match(text,
      /9 µs: 1\.13 \(1–1\.6\) × C floor \| 3 \| ≤ 1\.2 × C floor \| met, not in every/);
  });
});

describe('a target of one repeat', () => {
  test('says so beside met and NOT met, for it shows no spread', () => {
    const verdicts = [[1.2, 'met, one run'], [0.9, '**NOT met**, one run']] as const;
    for (const [limit, verdict] of verdicts) {
      const rows = [row('runcast', [1]), row('C floor', [1])];
      const targets = [judge({ ...TARGET, limit }, rows)];
      const text = renderHeadlines([{ machine: MACHINE, case: result({ rows, targets }) }]);
      assert.ok(text.includes(`| 1 | ≤ ${limit} × C floor | ${verdict} |`), text);
    }
  });
});

describe('text', () => {
  const text = renderResults([{ machine: MACHINE, case: result() }]);

  test('has each row with median and spread, its notes, and what was skipped', () => {
    assert.ok(text.includes('|  | cpu (µs) |\n| --- | ---: |\n| runcast | 9 (8–16) |\n'));
    assert.ok(text.includes('| C floor | 8 (8–10) |\n'));
    assert.ok(text.includes('- C floor: only &lt;send>s\n'));
    assert.ok(text.includes('- not measured: nchan: nginx \\| is not here\n'));
    assert.ok(text.includes('A\\|B CPU, 2 cores, 24 GiB · Linux 6 · Node v20.19.0 · commit abc'));
    assert.ok(text.includes('`node bench/run.ts fan-out`'));
    assert.ok(!/\n\n\n|\n\n$/.test(text));
  });

  test('leaves a dash where a row lacks what others have', () => {
    const other = { contender: 'b', notes: [], figures: [{ name: 'y', unit: '', values: [1] }] };
    const both = result({ rows: [row('a', [1]), other] });
    const table = '|  | cpu (µs) | y |\n| --- | ---: | ---: |\n| a | 1 | – |\n| b | – | 1 |';
    assert.ok(renderResults([{ machine: MACHINE, case: both }]).includes(table));
  });

  test('shows three digits that mean something, and whole large numbers', () => {
    assert.deepEqual([0, 0.01234, 7.4249, 12.35, 99.96, 123.4, 14770].map(numberText),
      ['0', '0.0123', '7.42', '12.3', '100', '123', '14,770']);
  });

  test('the headlines are the targets, with every machine that took part', () => {
    const cases = [MACHINE, MACHINE, { ...MACHINE, node: 'v22.0.0' }]
      .map((machine) => ({ machine, case: result() }));
    const headlines = renderHeadlines(cases);
    assert.equal(headlines.split('\n').filter((line) => line.startsWith('| CPU')).length, 3);
    assert.equal(headlines.match(/Measured on/g)?.length, 2);
  });

  test('the headlines name the cases of each machine and commit, and those not measured', () => {
    const later = { machine: { ...MACHINE, commit: 'def5678' }, case: result({ name: 'start' }) };
    const expected = ['fan-out', 'memory', 'start', 'held'];
    const headlines = renderHeadlines([{ machine: MACHINE, case: result() }, later], expected);
    assert.match(headlines, /commit abc1234: fan-out\.$/m);
    assert.match(headlines, /commit def5678: start\.$/m);
    assert.match(headlines, /^Not measured: memory, held\.$/m);
  });
});

test('between its markers a text is replaced, however often, and nowhere else', () => {
  const readme = 'a\n<!-- bench -->\nold\n<!-- /bench -->\nb $& $1\n';
  const once = replaceBetweenMarkers(readme, '| new $& |\n');
  assert.equal(once, 'a\n<!-- bench -->\n| new $& |\n<!-- /bench -->\nb $& $1\n');
  assert.equal(replaceBetweenMarkers(once, '| new $& |\n'), once);
  for (const bad of ['', '<!-- bench -->', '<!-- /bench --><!-- bench -->', readme + readme,
    `<!-- /bench -->${readme}`, `${readme}<!-- /bench -->`]) {
    assert.throws(() => replaceBetweenMarkers(bad, 'x'), /each once/, bad);
  }
});

test('files hold every repeat, and one case written again leaves the others', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'runcast-bench-'));
  t.after(() => rm(folder, { recursive: true }));
  const other = result({ name: 'start', title: 'Start' });
  writeReport(folder, { machine: MACHINE, cases: [result(), other] });
  const later = { ...MACHINE, commit: 'def5678' };
  writeReport(folder, { machine: later, cases: [other] });
  assert.deepEqual(readResults(folder), [
    { machine: MACHINE, case: result() }, { machine: later, case: other },
  ]);
  const text = await readFile(join(folder, 'README.md'), 'utf8');
  assert.equal(text, renderResults(readResults(folder)));
  assert.match(text, /## Fan-out[^]*abc1234[^]*## Start[^]*def5678/);
  await writeFile(join(folder, 'broken.json'), '{');
  assert.throws(() => readResults(folder), /broken\.json/);
});

test('a machine says what it is', () => {
  const machine = describeMachine();
  assert.ok(machine.cores > 0 && machine.memoryGiB >= 0 && machine.loadBefore >= 0);
  assert.equal(machine.node, process.version);
  assert.match(machine.commit, /^([\da-f]{7,}(\+changes)?|unknown)$/);
  assert.match(machine.date, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
});
