/** A run as lines of a terminal: what is there is shown, whatever upstream says and how narrow. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { detailOf, pictureOf, timeOf } from '../../src/client/picture.ts';
import { PictureReporter } from '../../src/client/reporters.ts';
import { columnsOf } from '../../src/core/text.ts';
import { FakeClock } from '../support/fake-clock.ts';

const wallNow = Date.parse('2026-01-01T00:01:12Z');
const CANVAS = { columns: 60, rows: 20, hasColor: false, wallNow };
const RUN = {
  runId: 'demo-1', status: 'running', startedAt: '2026-01-01T00:00:00Z', completedAt: null,
  progress: { percentComplete: 50 },
  outputs: [
    { id: 's', label: 'Script', type: 'text', status: 'completed', value: 'A quiet\nmorning' },
    { id: 'p', label: 'Packshot', type: 'image', status: 'completed', value: 'https://a.test/p' },
    { id: 'c', label: 'Clip', type: 'video', status: 'error', error: 'No answer' },
    { id: 'd', label: 'Caption', type: 'pending', status: 'pending', percentComplete: 50 },
  ],
};

describe('a picture', () => {
  it('has a line for the whole and a bar for each node', () => {
    assert.deepEqual(pictureOf('demo-1', RUN, CANVAS, 'cut; again in 2.0 s'), [
      'demo-1  running  50 %  1:12',
      '██████████████░░░░░░░░░░░░░░',
      '✓ Script    ████████████████  A quiet morning',
      '✓ Packshot  ████████████████  image  https://a.test/p',
      '✗ Clip      ████████████████  No answer',
      '· Caption   ████████░░░░░░░░',
      'cut; again in 2.0 s',
    ]);
  });

  it('has a bar for the whole also where upstream tells no progress, from its nodes', () => {
    const [, whole = ''] = pictureOf('r', { ...RUN, progress: null }, CANVAS);
    assert.equal(whole, `${'█'.repeat(21)}${'░'.repeat(7)}`);
  });

  it('of a run that is over is green or red as a whole, and a node may have never come', () => {
    const canvas = { ...CANVAS, hasColor: true };
    const wholeOf = (end?: 'complete' | 'error') => pictureOf('r', RUN, canvas, '', end)[1];
    assert.match(wholeOf() ?? '', /^\x1b\[36m█{14}░{14}/);
    assert.match(wholeOf('complete') ?? '', /^\x1b\[32m█{28}\x1b/);
    assert.match(wholeOf('error') ?? '', /^\x1b\[31m█{14}░{14}/);
    const lines = pictureOf('r', RUN, CANVAS, '', 'error');
    assert.equal(lines.at(-1), '· Caption   ████████░░░░░░░░  never came');
    assert.equal(lines.filter((line) => line.includes('never')).length, 1);
    let told = '';
    const write = (text: string): void => void (told += text);
    const reporter = new PictureReporter({ write, columns: 61 }, true, new FakeClock());
    reporter.event({ type: 'error', runId: 'r', id: 'i', data: RUN, json: '' });
    reporter.close();
    assert.match(told, /\x1b\[31m█{14}░{14}/);
    assert.match(told, /never came/);
  });

  it('tells of a picture in the text itself only that, and its size', () => {
    const value = `data:image/svg+xml,${'%20'.repeat(700)}`;
    assert.equal(detailOf({ type: 'image', value }), 'image  data: URL, 3 KB');
    assert.equal(detailOf({ type: 'text', value: 'data: none' }), 'data: none');
  });

  it('fits into any number of columns and rows', () => {
    const outputs = Array.from({ length: 30 }, (_, i) => ({
      label: `日本 ${i}`, type: 'text', value: 'x'.repeat(99),
      status: i < 28 ? 'completed' : 'pending',
    }));
    for (const run of [RUN, { ...RUN, outputs, errorMessage: 'no '.repeat(50) }]) {
      for (let columns = 1; columns < 120; columns++) {
        const lines = pictureOf('demo-1', run, { ...CANVAS, columns, rows: 8 });
        for (let rows = 1; rows <= 8; rows++) {
          const { length } = pictureOf('demo-1', run, { ...CANVAS, columns, rows }, 'again');
          assert.ok(length <= rows, `${length} lines in ${rows}`);
        }
        // A mark and a label need some room; what is beyond the edge the terminal leaves out.
        for (const line of columns < 8 ? [] : lines) {
          assert.ok(columnsOf(line) <= columns, `${columns}: ${line}`);
        }
      }
    }
    const many = pictureOf('r', { outputs }, { ...CANVAS, rows: 6 });
    assert.equal(many.at(-1), '… and 28 more');
  });

  it('has room for as many nodes as upstream has', () => {
    const outputs = Array.from({ length: 150_000 }, () => ({ status: 'pending' }));
    assert.equal(pictureOf('r', { outputs }, { ...CANVAS, rows: 4 }).at(-1), '… and 149999 more');
  });

  it('never scrolls a terminal: what it draws and the line below it fit', () => {
    const data = { ...RUN, errorMessage: 'No answer' };
    for (let rows = 2; rows < 12; rows++) {
      let told = '';
      const write = (text: string): void => void (told = text);
      const reporter = new PictureReporter({ write, rows, columns: 60 }, false, new FakeClock());
      reporter.event({ type: 'progress', runId: 'r', id: 'i', data, json: '' });
      reporter.note('cut; again in 2.0 s');
      assert.ok(told.split('\n').length <= rows, `${rows}: ${told}`);
      reporter.close();
    }
  });

  it('begins at the top of a terminal that has another size, so that nothing old is left', () => {
    const told: string[] = [];
    const out = { write: (text: string) => told.push(text), rows: 24, columns: 60 };
    const clock = new FakeClock();
    const reporter = new PictureReporter(out, false, clock);
    reporter.event({ type: 'progress', runId: 'r', id: 'i', data: RUN, json: '' });
    for (const size of [{}, { rows: 3 }, { rows: 24 }, { columns: 20 }, {}]) {
      Object.assign(out, size);
      clock.advance(1_000);
    }
    const starts = told.slice(-5).map((text) => /^\x1b\[(?:H|\d+A)/.exec(text)?.[0]);
    assert.deepEqual(starts, ['\x1b[7A', '\x1b[H', '\x1b[H', '\x1b[H', '\x1b[7A']);
    reporter.close();
  });

  it('carries no instruction of upstream’s to the terminal, with colours or without', () => {
    const evil = '\x1b[2J\u009b2J\r\n';
    const outputs = [{ label: evil, type: evil, status: 'completed', value: evil, error: evil }];
    const run = { status: evil, errorMessage: evil, outputs };
    const plain = pictureOf(evil, run, CANVAS, evil).join('');
    assert.doesNotMatch(plain, /\p{Cc}/u);
    const colored = pictureOf(evil, run, { ...CANVAS, hasColor: true }, evil).join('');
    assert.doesNotMatch(colored.replace(/\x1b\[\d+m/g, ''), /\p{Cc}/u);
    assert.match(colored, /\x1b\[32m/);
  });

  it('stands whatever upstream puts where something else should be', () => {
    for (const odd of [null, 7, 'x', [], {}, [null, 7, { value: { a: [1] }, label: 3, id: {} }]]) {
      const run = { status: odd, outputs: odd, progress: odd, errorMessage: odd, startedAt: odd };
      assert.ok(pictureOf('r', run as never, CANVAS).length > 0, JSON.stringify(odd));
    }
    assert.equal(timeOf({ createdAt: 'soon' }, 0), '');
    assert.equal(timeOf({ startedAt: 1_790_000_000 as never }, 1_790_000_075_000), '1:15');
  });
});
