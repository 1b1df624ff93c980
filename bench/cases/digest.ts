/**
 * What it costs to take a state out of upstream's answer, once a poll: check it, cut `data` out
 * of its envelope as it stands, and name it by a digest. `JSON.parse` alone is the least that
 * anybody must do; parsing, printing and hashing is what there is to do without cutting.
 */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { parseExecution } from '../../src/core/execution.ts';
import type { StatusMapping } from '../../src/core/execution.ts';
import type { CaseOptions, CaseResult, Row } from '../support/report.ts';
import { answerParent, cpuUsPerCall, inOwnProcess, interleave } from '../support/statistics.ts';
import { states } from './encoding.ts';

const SIZES_KB = [1, 16, 200, 2000];
const BODIES = 8;
const MAPPING: StatusMapping = {
  statusFields: ['status'], completeOn: ['completed'], errorOn: ['failed', 'cancelled'],
};

/** What a row makes of a body; what it has no name for stays away. */
interface Taken {
  readonly data?: string;
  readonly id?: string;
}

const FLOOR = 'JSON.parse alone';
const ROWS: Readonly<Record<string, (body: Buffer) => Taken>> = {
  'runcast parseExecution': (body) => {
    const parsed = parseExecution('bench-0', body, MAPPING);
    return parsed.kind === 'snapshot' ? parsed.snapshot : {};
  },
  'parse, stringify, sha256': (body) => {
    const data = JSON.stringify(read(body).data);
    return { data, id: hash(data) };
  },
  [FLOOR]: (body) => read(body),
};
/** What the floor gives is an object, which needs a check of its own. */
const NOTES: Readonly<Record<string, string>> = {
  'parse, stringify, sha256': 'would round large numbers: a floor for cost, no way to do it',
  [FLOOR]: 'of the body as text: no data is cut out, and nothing is named',
};

/** Takes states of four sizes out of their envelopes. */
export async function run({ repeats, quick, log }: CaseOptions): Promise<CaseResult> {
  check();
  const figures = await interleave(Object.keys(ROWS), repeats, (row, repeat) => {
    log(`digest: ${row}, repeat ${repeat + 1} of ${repeats}`);
    return inOwnProcess(import.meta.url, [row, quick ? '20' : '200']);
  });
  const rows = [...figures].map(([contender, found]): Row => {
    const note = NOTES[contender];
    return { contender, figures: found, notes: note === undefined ? [] : [note] };
  });
  return {
    name: 'digest', title: 'Slicing and digest of an answer', rows, targets: [], skipped: [],
    what: 'CPU time to take one state out of upstream\'s answer, once a poll whose bytes are new; '
      + 'before, the first two rows were seen to give the very text that went in, and its SHA-256.',
  };
}

function read(body: Buffer): { data: string } {
  return JSON.parse(body.toString('utf8')) as { data: string };
}

function hash(data: string): string {
  return createHash('sha256').update(data).digest('base64url').slice(0, 16);
}

function bodiesOf(texts: readonly string[]): Buffer[] {
  return texts.map((text) => Buffer.from(`{"data":${text}}`));
}

function check(): void {
  for (const kb of SIZES_KB) {
    const texts = states(kb * 1024, BODIES);
    for (const [index, body] of bodiesOf(texts).entries()) {
      const text = texts[index] ?? '';
      for (const [row, take] of Object.entries(ROWS)) {
        const { data, id } = take(body);
        if (row === FLOOR) assert.deepEqual(data, JSON.parse(text));
        else assert.deepEqual([data, id], [text, hash(text)], `${row}, ${kb} KB`);
      }
    }
  }
}

await answerParent(import.meta.url, async ([row = '', measureMs = '']) =>
  SIZES_KB.map((kb) => {
    const bodies = bodiesOf(states(kb * 1024, BODIES));
    const take = ROWS[row];
    assert.ok(take !== undefined, `no row ${row}`);
    const value = cpuUsPerCall((turn) => {
      const body = bodies[turn % BODIES];
      return body && take(body);
    }, Number(measureMs));
    return { name: `${kb} KB`, unit: 'µs', value };
  }));
