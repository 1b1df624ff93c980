/**
 * What is counted, how several processes become one, and the text that Prometheus reads: line by
 * line against its exposition format 0.0.4, names against its rules.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { BUCKETS, METRICS, Metrics, mergeSamples, renderMetrics } from '../../src/core/metrics.ts';
import type { MetricName, Sample } from '../../src/core/metrics.ts';

const NAMES = Object.keys(METRICS) as MetricName[];

const HELP = /^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (?:[^\\\n]|\\\\|\\n)+$/;
const TYPE = /^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram)$/;
const LABEL = /\{([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"\}/;
const NUMBER = /(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|NaN|[+-]Inf)/;
const LINE = new RegExp(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:${LABEL.source})? ${NUMBER.source}$`);

interface Line {
  readonly name: string;
  readonly label: string | undefined;
  readonly value: string;
}

interface Block {
  readonly type: string | undefined;
  readonly lines: readonly Line[];
}

/** Reads the text as Prometheus would, and fails at the first line that is none of its. */
function read(text: string): Map<string, Block> {
  const blocks = new Map<string, { type: string | undefined; lines: Line[] }>();
  assert.ok(text.endsWith('\n'), 'the last line has no end');
  let current: string | undefined;
  for (const line of text.slice(0, -1).split('\n')) {
    const [, helped] = HELP.exec(line) ?? [];
    if (helped !== undefined) {
      assert.equal(blocks.has(helped), false, `${helped} comes in two groups`);
      blocks.set(helped, { type: undefined, lines: [] });
      current = helped;
      continue;
    }
    const block = blocks.get(current ?? '') ?? assert.fail(`no HELP above: ${line}`);
    const [, typed, type] = TYPE.exec(line) ?? [];
    if (typed !== undefined) {
      assert.equal(typed, current, 'a TYPE in the group of another');
      assert.equal(block.type, undefined, `two TYPEs for ${typed}`);
      assert.equal(block.lines.length, 0, `the TYPE of ${typed} comes behind its values`);
      block.type = type;
      continue;
    }
    const [whole, name, , label, value] = LINE.exec(line) ?? [];
    assert.ok(whole !== undefined, `not a line of this format: ${line}`);
    const parts = /_(?:bucket|sum|count)$/;
    const family = block.type === 'histogram' ? name?.replace(parts, '') : name;
    assert.equal(family, current, 'a value in the group of another');
    block.lines.push({ name: name ?? '', label, value: value ?? '' });
  }
  return blocks;
}

const valuesOf = (blocks: Map<string, Block>, name: MetricName): [string | undefined, string][] =>
  (blocks.get(name)?.lines ?? []).map(({ label, value }) => [label, value]);

describe('the table of metrics', () => {
  it('has names as Prometheus wants them, counters with _total and gauges without', () => {
    for (const name of NAMES) {
      assert.match(name, /^(?:runcast|process|nodejs)_[a-z][a-z_]*$/);
      assert.equal(name.endsWith('_total'), METRICS[name].type === 'counter', name);
    }
  });

  it('adds up every counter, as nothing else of a counter makes sense', () => {
    for (const name of NAMES) {
      if (METRICS[name].type === 'counter') assert.equal(METRICS[name].merge, 'sum', name);
    }
  });
});

describe('the counts of a process', () => {
  it('begin at nothing, and are one sample a label', () => {
    const metrics = new Metrics();
    assert.deepEqual(metrics.samples(), []);
    metrics.count('runcast_polls_total');
    metrics.count('runcast_polls_total');
    metrics.count('runcast_limit_total', 'maxRuns');
    metrics.count('runcast_limit_total', 'sockets', 3);
    metrics.count('runcast_limit_total', 'maxRuns');
    assert.deepEqual(metrics.samples(), [
      ['runcast_polls_total', '', 2],
      ['runcast_limit_total', 'maxRuns', 2],
      ['runcast_limit_total', 'sockets', 3],
    ] satisfies Sample[]);
  });

  it('are read where they are counted elsewhere, each time anew', () => {
    const metrics = new Metrics();
    let streams = 1;
    metrics.read('runcast_streams', () => streams);
    metrics.read('runcast_events_total', () => streams * 2, 'ping');
    assert.deepEqual(metrics.samples(), [
      ['runcast_streams', '', 1], ['runcast_events_total', 'ping', 2],
    ]);
    streams = 7;
    assert.deepEqual(metrics.samples(), [
      ['runcast_streams', '', 7], ['runcast_events_total', 'ping', 14],
    ]);
  });

  it('are handed out, not shared: who changes the samples changes no count', () => {
    const metrics = new Metrics();
    metrics.count('runcast_polls_total');
    metrics.samples().length = 0;
    assert.deepEqual(metrics.samples(), [['runcast_polls_total', '', 1]]);
  });

  it('survive the way between two processes as JSON', () => {
    const metrics = new Metrics();
    metrics.count('runcast_limit_total', 'a "b"\n\\');
    metrics.read('runcast_event_loop_delay_max_seconds', () => 0.25);
    const samples = metrics.samples();
    assert.deepEqual(JSON.parse(JSON.stringify(samples)), samples);
  });
});

describe('the counts of several processes', () => {
  it('are added, label by label and metric by metric', () => {
    assert.deepEqual(mergeSamples([
      ['runcast_events_total', 'ping', 1],
      ['runcast_events_total', 'progress', 10],
      ['runcast_streams', '', 5],
      ['runcast_events_total', 'ping', 2],
      ['runcast_streams', '', 0],
      ['runcast_limit_total', 'ping', 100],
    ]), [
      ['runcast_events_total', 'ping', 3],
      ['runcast_events_total', 'progress', 10],
      ['runcast_streams', '', 5],
      ['runcast_limit_total', 'ping', 100],
    ]);
  });

  it('give the longest delay of an event loop, not the sum of all, in whatever order', () => {
    const delays = [0.2, 0.9, 0.1];
    for (const order of [delays, [...delays].reverse()]) {
      const samples = order.map((s): Sample => ['runcast_event_loop_delay_max_seconds', '', s]);
      assert.deepEqual(mergeSamples(samples), [['runcast_event_loop_delay_max_seconds', '', 0.9]]);
    }
  });

  it('are the same merged at once or bit by bit, and change nobody else\'s samples', () => {
    const one: readonly Sample[] = Object.freeze([['runcast_polls_total', '', 1]] as Sample[]);
    const two: readonly Sample[] = Object.freeze([
      ['runcast_polls_total', '', 2], ['runcast_event_loop_delay_max_seconds', '', 3],
    ] as Sample[]);
    const atOnce = mergeSamples([...one, ...two, ...one]);
    assert.deepEqual(mergeSamples([...mergeSamples([...one, ...two]), ...one]), atOnce);
    assert.deepEqual(atOnce, [
      ['runcast_polls_total', '', 4], ['runcast_event_loop_delay_max_seconds', '', 3],
    ]);
    assert.deepEqual(one, [['runcast_polls_total', '', 1]]);
  });

  it('are nothing where nobody counted', () => {
    assert.deepEqual(mergeSamples([]), []);
  });
});

describe('the text for Prometheus', () => {
  it('names every metric with its help and type, in the order of the table, counted or not', () => {
    const blocks = read(renderMetrics([]));
    assert.deepEqual([...blocks.keys()], NAMES);
    for (const name of NAMES) assert.equal(blocks.get(name)?.type, METRICS[name].type, name);
  });

  it('says 0 for a counter that never counted, and invents no label and no gauge', () => {
    const blocks = read(renderMetrics([]));
    for (const name of NAMES) {
      if (METRICS[name].type === 'histogram') continue;
      const isPlainCounter = METRICS[name].type === 'counter' && !('label' in METRICS[name]);
      assert.deepEqual(valuesOf(blocks, name), isPlainCounter ? [[undefined, '0']] : [], name);
    }
  });

  it('is this, to the byte', () => {
    const text = renderMetrics([
      ['runcast_limit_total', 'sockets', 2],
      ['runcast_streams', '', 12],
      ['runcast_limit_total', 'maxRuns', 1],
      ['runcast_event_loop_delay_max_seconds', '', 0.0125],
    ]);
    const lines = text.split('\n').filter((line) => !/^#| 0$/.test(line));
    assert.deepEqual(lines, [
      'runcast_streams 12',
      'runcast_limit_total{limit="sockets"} 2',
      'runcast_limit_total{limit="maxRuns"} 1',
      'runcast_event_loop_delay_max_seconds 0.0125',
      '',
    ]);
    assert.ok(text.startsWith([
      '# HELP runcast_streams Open streams.',
      '# TYPE runcast_streams gauge',
      'runcast_streams 12',
      '# HELP runcast_runs ',
    ].join('\n')), text.slice(0, 200));
  });

  it('writes a histogram as buckets that add up, over all processes', () => {
    const name = 'runcast_upstream_request_seconds';
    const one = new Metrics();
    for (const seconds of [0.001, 0.005, 0.3, 60]) one.observe(name, seconds);
    const other = new Metrics();
    other.observe(name, 0.3);
    const samples = mergeSamples([...one.samples(), ...other.samples()]);
    const lines = read(renderMetrics(samples)).get(name)?.lines ?? [];
    const below = (bound: number): number => bound < 0.5 ? 2 : 4;
    assert.deepEqual(lines.map((line) => [line.name, line.label, line.value]), [
      ...BUCKETS.map((bound) => [`${name}_bucket`, String(bound), String(below(bound))]),
      [`${name}_bucket`, '+Inf', '5'],
      [`${name}_sum`, undefined, String(0.001 + 0.005 + 0.3 + 60 + 0.3)],
      [`${name}_count`, undefined, '5'],
    ]);
    const none = read(renderMetrics([])).get(name)?.lines ?? [];
    assert.deepEqual(none.filter(({ value }) => value !== '0'), []);
  });

  it('keeps all values of a metric together, and writes numbers of any size', () => {
    const blocks = read(renderMetrics([
      ['runcast_events_total', 'ping', 2 ** 53],
      ['runcast_streams', '', 1],
      ['runcast_events_total', 'progress', 1e21],
      ['runcast_event_loop_delay_max_seconds', '', 1e-7],
      ['runcast_events_total', 'error', 0],
    ]));
    const events = valuesOf(blocks, 'runcast_events_total');
    assert.deepEqual(events.map(([label]) => label), ['ping', 'progress', 'error']);
    assert.deepEqual(events.map(([, value]) => Number(value)), [2 ** 53, 1e21, 0]);
    const [delay] = valuesOf(blocks, 'runcast_event_loop_delay_max_seconds');
    assert.equal(Number(delay?.[1]), 1e-7);
  });

  it('escapes what a label may not hold', () => {
    const labels = ['a"b', 'a\\b', 'a\nb', '\\"\n\\', 'a}b', 'ä 日', 'a\\nb'];
    const samples = labels.map((label): Sample => ['runcast_limit_total', label, 1]);
    const written = valuesOf(read(renderMetrics(samples)), 'runcast_limit_total');
    assert.deepEqual(written.map(([label]) => label), [
      'a\\"b', 'a\\\\b', 'a\\nb', '\\\\\\"\\n\\\\', 'a}b', 'ä 日', 'a\\\\nb',
    ]);
  });

  it('shows merged samples as one series a label', () => {
    const ofOne: Sample[] = [['runcast_events_total', 'ping', 1], ['runcast_polls_total', '', 2]];
    const blocks = read(renderMetrics(mergeSamples([...ofOne, ...ofOne, ...ofOne])));
    assert.deepEqual(valuesOf(blocks, 'runcast_events_total'), [['ping', '3']]);
    assert.deepEqual(valuesOf(blocks, 'runcast_polls_total'), [[undefined, '6']]);
  });
});
