/**
 * What it costs to turn a state into the bytes of an event, once a change. The control row parses
 * nothing either: it has the object at hand and prints it, as a gateway that keeps objects would.
 * Makes the states that the other small cases measure with, too.
 */

import assert from 'node:assert/strict';
import type { Snapshot } from '../../src/core/execution.ts';
import { stateFrame } from '../../src/core/frame.ts';
import { randomFrom } from '../../test/support/random.ts';
import type { CaseOptions, CaseResult } from '../support/report.ts';
import { answerParent, cpuUsPerCall, inOwnProcess, interleave } from '../support/statistics.ts';
import type { Reading } from '../support/statistics.ts';

/** One emoji makes V8 keep the whole string in two bytes a character: a size of its own. */
const SIZES = [
  { name: '1 KB', kb: 1, isWide: false },
  { name: '16 KB', kb: 16, isWide: false },
  { name: '16 KB with emoji', kb: 16, isWide: true },
  { name: '200 KB', kb: 200, isWide: false },
];
const STATES = 16;

const ROWS: Readonly<Record<string, (snapshot: Snapshot, parsed: unknown) => Buffer>> = {
  'runcast stateFrame': (snapshot) => stateFrame(snapshot).bytes,
  'JSON.stringify, template, Buffer.from': ({ id }, parsed) =>
    Buffer.from(`event: progress\nid: ${id}\ndata: ${JSON.stringify(parsed)}\n\n`),
};

/** Encodes states of four sizes both ways. */
export async function run({ repeats, quick, log }: CaseOptions): Promise<CaseResult> {
  check();
  const figures = await interleave(Object.keys(ROWS), repeats, (row, repeat) => {
    log(`encoding: ${row}, repeat ${repeat + 1} of ${repeats}`);
    return inOwnProcess(import.meta.url, [row, quick ? '20' : '200']);
  });
  return {
    name: 'encoding', title: 'Encoding a frame', targets: [], skipped: [],
    what: 'CPU time to make the bytes of one event from a state, once a change and for all '
      + 'subscribers together: runcast has the state\'s text, the control row stringifies an '
      + 'object; before, both rows were seen to make the same bytes.',
    rows: [...figures].map(([contender, found]) => ({ contender, figures: found, notes: [] })),
  };
}

/** JSON of `count` successive states of one run, each of exactly `bytes` (512 or more) in UTF-8. */
export function states(bytes: number, count: number, isWide = false): string[] {
  const outputs = outputsWithin(bytes, isWide);
  return Array.from({ length: count }, (_, index) => stateOf(outputs, index, count, bytes));
}

function stateOf(outputs: object[], index: number, count: number, bytes: number): string {
  const state = {
    runId: 'bench-0', workflowId: 'wf_5f0c7d1e', status: 'running', outputs: [...outputs, {
      id: 'caption', label: 'Caption', type: 'text', value: '', status: 'completed', error: null,
    }],
    errorMessage: null, startedAt: '2026-01-01T00:00:01.000Z', completedAt: null,
    createdAt: '2026-01-01T00:00:00.000Z',
    progress: {
      totalOutputs: outputs.length + count, completedOutputs: outputs.length + 1 + index,
      failedOutputs: 0, percentComplete: Math.floor((100 * index) / count),
    },
  };
  const text = JSON.stringify(state);
  const missing = bytes - Buffer.byteLength(text);
  assert.ok(missing >= 0, `${bytes} bytes are too few`);
  // The last text grows with the run: each state differs from the one before, in the same size.
  const filler = prose(randomFrom(1000 + index), missing);
  return text.replace('"value":""', `"value":"${filler}"`);
}

/** Outputs of all kinds, as many as leave some hundred bytes for what changes. */
function outputsWithin(bytes: number, isWide: boolean): object[] {
  const random = randomFrom(bytes);
  const outputs: object[] = [];
  for (let left = bytes - 900; left > 0;) {
    const index = outputs.length;
    const type = ['image', 'text', 'video'][index % 3] ?? 'text';
    const marks = isWide ? '🎬 ' : '';
    const value = type === 'text' ? marks + prose(random, 200 + random() * 400) : url(random, type);
    const output = {
      id: `node-${index}`, label: `Scene ${index + 1}`, type, value, status: 'completed',
      error: null,
    };
    left -= Buffer.byteLength(JSON.stringify(output)) + 1;
    if (left > 0) outputs.push(output);
  }
  return outputs;
}

/** As storage signs them: most of it is chance, which nothing compresses. */
function url(random: () => number, type: string): string {
  const hex = (digits: number): string =>
    Array.from({ length: digits }, () => Math.floor(random() * 16).toString(16)).join('');
  const file = `${hex(8)}-${hex(4)}-${hex(12)}.${type === 'video' ? 'mp4' : 'webp'}`;
  return `https://cdn.example.com/outputs/bench-0/${file}?expires=1767225600&signature=${hex(64)}`;
}

const WORDS = (
  'a the of and in on to with at from over under light morning bottle table window street '
  + 'glass camera slowly closer drops counted somebody laughs off screen hand reaches turns '
  + 'label front background changes dawn noon word appears letter fresh cut same waits music '
  + 'stops before picture does warm soft shadow product rotates quarter turn marble surface '
  + 'reflection focus shallow depth field handheld tracking shot wide angle lens golden hour '
  + 'skyline rooftop crowd summer citrus slice splash condensation pour sparkling tagline '
  + 'brand colour palette teal coral typography bold minimal clean voice over narrator '
  + 'whispers energetic tempo cinematic grain vintage neon rain pavement umbrella taxi passes '
  + 'blurred foreground leaves wind gentle'
).split(' ');

function prose(random: () => number, length: number): string {
  let text = '';
  while (text.length < length) text += `${WORDS[Math.floor(random() * WORDS.length)]} `;
  return text.slice(0, Math.floor(length));
}

function snapshotsOf({ kb, isWide }: { kb: number; isWide: boolean }): Snapshot[] {
  return states(kb * 1024, STATES, isWide).map((data, index) => ({
    runId: 'bench-0', id: `state-${index}`, status: 'running', terminal: undefined, data,
    identity: undefined,
  }));
}

function check(): void {
  for (const size of SIZES) {
    for (const snapshot of snapshotsOf(size)) {
      assert.equal(Buffer.byteLength(snapshot.data), size.kb * 1024);
      const expected = `event: progress\nid: ${snapshot.id}\ndata: ${snapshot.data}\n\n`;
      for (const [row, encode] of Object.entries(ROWS)) {
        const text = encode(snapshot, JSON.parse(snapshot.data)).toString('utf8');
        assert.equal(text, expected, `${row}, ${size.name}`);
      }
    }
  }
}

await answerParent(import.meta.url, async ([row = '', measureMs = '']) =>
  SIZES.map((size): Reading => {
    const inputs = snapshotsOf(size).map((snapshot) =>
      [snapshot, JSON.parse(snapshot.data) as unknown] as const);
    const encode = ROWS[row];
    assert.ok(encode !== undefined, `no row ${row}`);
    const value = cpuUsPerCall((turn) => {
      const input = inputs[turn % STATES];
      return input && encode(...input);
    }, Number(measureMs));
    return { name: size.name, unit: 'µs', value };
  }));
