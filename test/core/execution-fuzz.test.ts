/**
 * The slicer against bodies that chance has written: `JSON.parse` says what a body holds, and
 * the generator which characters of it are the run. `RUNCAST_SEED=7` repeats the run of that
 * seed; a failure shows its body.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';

import { MAX_DEPTH, digest, parseExecution } from '../../src/core/execution.ts';
import type { Parsed, StatusMapping } from '../../src/core/execution.ts';
import { randomFrom, seeds } from '../support/random.ts';

const BUDGET_MS = 1_500;
const MAX_BODIES = 20_000;
const MUTATIONS = 4;
const MAPPING: StatusMapping = {
  statusFields: ['status'], completeOn: ['completed'], errorOn: ['failed', 'cancelled'],
};

const BLANKS = ['', '', '', ' ', '\n', '\r\n', '\r', '\t', ' \r \n\t '];
const NUMBERS = [
  '0', '-0', '1.0', '9007199254740993', '1e400', '-1E+2', '5e-324', '0.10', '123456789012345678',
];
const PIECES = [
  'data', 'status', 'a', '{', '}', '[', ']', ',', ':', '\\"', '\\\\', '\\n', '\\u0022', '\\u005c',
  '\\ud800', '\\u0000', '\\/', 'ü', '世', '🌍', '\u2028', '\uFEFF', '\x7f', '\\"data\\":{', ' ',
];
const KEYS = ['"data"', '"d\\u0061ta"', '"\\u0064ata"', '"status"', '"stat\\u0075s"', '"dat"',
  '"__proto__"', '"data "', '""', '"\\\\data"'];
const STATUSES = [
  'running', 'completed', 'failed', 'cancelled', '', 'Completed', 'c\\u006fmpleted',
];

/** Text of JSON values, as nobody would print them. */
class Writer {
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
  }

  below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] ?? assert.fail('nothing to pick from');
  }

  blank(): string {
    return this.pick(BLANKS);
  }

  string(): string {
    return `"${Array.from({ length: this.below(5) }, () => this.pick(PIECES)).join('')}"`;
  }

  key(): string {
    return this.#random() < 0.5 ? this.pick(KEYS) : this.string();
  }

  status(): string {
    return `"${this.pick(STATUSES)}"`;
  }

  value(depth: number): string {
    const kind = this.below(depth > 0 ? 7 : 5);
    switch (kind) {
      case 0: return this.pick(NUMBERS);
      case 1: return this.pick(['null', 'true', 'false']);
      case 2: case 3: return this.string();
      case 4: return this.pick(['{}', '[]', '""', '[\n]', '{\r}']);
      case 5: return this.list(depth);
      default: return this.object(depth, []);
    }
  }

  list(depth: number): string {
    const items = Array.from({ length: this.below(4) }, () => this.value(depth - 1));
    return `[${items.map((item) => this.blank() + item + this.blank()).join(',')}]`;
  }

  /** With these members among others, in this order. */
  object(depth: number, members: readonly (readonly [key: string, value: string])[]): string {
    const all = [...members];
    for (let i = this.below(4); i > 0; i--) {
      all.splice(this.below(all.length + 1), 0, [this.key(), this.value(depth - 1)]);
    }
    const texts = all.map(([key, value]) =>
      [this.blank(), key, this.blank(), ':', this.blank(), value, this.blank()].join(''));
    return `{${texts.join(',')}}`;
  }

  /** Mostly a run; of these, most in an envelope, some in several. */
  body(): string {
    const run = (): string => this.object(3, [['"status"', this.status()]]);
    const data = (): [string, string] =>
      [this.pick(['"data"', '"data"', '"d\\u0061ta"']),
        this.#random() < 0.8 ? run() : this.value(2)];
    const members = Array.from({ length: this.below(4) }, data);
    const bare: [string, string][] = this.#random() < 0.3 ? [['"status"', this.status()]] : [];
    const text = this.blank() + this.object(2, [...members, ...bare]) + this.blank();
    return this.#random() < 0.1 ? `\uFEFF${text}` : text;
  }

  /** One byte changed, left out, doubled, or a piece moved. */
  mutate(body: Buffer): Buffer<ArrayBuffer> {
    const at = this.below(body.length + 1);
    const [head, tail] = [body.subarray(0, at), body.subarray(at)];
    const byte = this.pick([this.below(256), ...Buffer.from('{}[]",:\\\r\n 0u')]);
    switch (this.below(5)) {
      case 0: return Buffer.concat([head, Buffer.of(byte), tail.subarray(1)]);
      case 1: return Buffer.concat([head, tail.subarray(1 + this.below(3))]);
      case 2: return Buffer.concat([head, Buffer.of(byte), tail]);
      case 3: return Buffer.concat([head, tail.subarray(0, this.below(20)), tail]);
      default: return Buffer.from(head);
    }
  }
}

const isFields = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const hasStatus = (value: unknown): value is Record<string, unknown> =>
  isFields(value) && Object.hasOwn(value, 'status') && typeof value['status'] === 'string';

/** The run in a body as JSON has it; undefined where there is none. */
function oracle(body: Buffer): Record<string, unknown> | undefined {
  try {
    const utf8 = new TextDecoder('utf-8', { fatal: true }).decode(body); // takes one BOM off
    const root: unknown = JSON.parse(utf8);
    if (!isFields(root)) return undefined;
    return [Object.hasOwn(root, 'data') ? root['data'] : undefined, root].find(hasStatus);
  } catch {
    return undefined;
  }
}

function terminalOf(status: unknown): string | undefined {
  if (status === 'completed') return 'complete';
  return status === 'failed' || status === 'cancelled' ? 'error' : undefined;
}

const withoutBreaks = (text: string): string => text.replace(/[\r\n]/g, '');

/** Whatever the bytes are: a run where JSON has one, its very characters, and nothing else. */
function check(body: Buffer): Parsed {
  const expected = oracle(body);
  const parsed = parseExecution('run_1', body, MAPPING);
  assert.equal(parsed.kind, expected === undefined ? 'invalid' : 'snapshot');
  if (expected === undefined || parsed.kind === 'invalid') return parsed;
  const { data, status, terminal, id, runId } = parsed.snapshot;
  assert.deepEqual(JSON.parse(data), expected);
  assert.ok(withoutBreaks(body.toString()).includes(data), 'not the characters of the body');
  assert.ok(!/[\r\n]/.test(data) && data.startsWith('{') && data.endsWith('}'), 'not one object');
  assert.deepEqual([runId, status, terminal, id],
    ['run_1', expected['status'], terminalOf(expected['status']), digest(data)]);
  const again = parseExecution('run_1', Buffer.from(`{"data":\r\n${data}\n}`), MAPPING);
  assert.deepEqual(again, parsed, 'another state in another envelope');
  return parsed;
}

/** A failure is told with its body. */
function checked(body: Buffer): Parsed {
  try {
    return check(body);
  } catch (error) {
    const shown = inspect(body.toString('latin1'), { maxStringLength: 2_000 });
    throw new Error(`latin1 ${shown}: ${String(error)}`, { cause: error });
  }
}

/** Until the time is up. Returns how many. */
function repeat(act: () => void): number {
  const end = performance.now() + BUDGET_MS;
  let count = 0;
  for (; count < MAX_BODIES && performance.now() < end; count++) act();
  return count;
}

for (const seed of seeds(1)) {
  describe(`bodies that chance has written (RUNCAST_SEED=${seed})`, () => {
    it('give the run that JSON has in them, in the characters that they have', () => {
      const writer = new Writer(randomFrom(seed));
      const met = new Map<string, number>();
      const count = repeat(() => {
        const body = Buffer.from(writer.body());
        const { kind } = checked(body);
        met.set(kind, (met.get(kind) ?? 0) + 1);
      });
      for (const kind of ['snapshot', 'invalid']) {
        assert.ok((met.get(kind) ?? 0) > count / 100, `${kind}: ${met.get(kind)} of ${count}`);
      }
    });

    it('give the very text of the run, where one was put into an envelope', () => {
      const writer = new Writer(randomFrom(seed + 1));
      repeat(() => {
        const run = writer.object(3, [['"status"', '"running"'], ['"status"', '"failed"']]);
        if (!hasStatus(JSON.parse(run))) return;
        const others = writer.object(2, []).slice(1, -1);
        const before = others.trim() === '' ? '' : `${others},`;
        const space = [writer.blank(), writer.blank()];
        const body = Buffer.from(`{${before}"data":${space[0]}${run}${space[1]},"z":1}`);
        const parsed = checked(body);
        const shown = inspect(body.toString(), { maxStringLength: 2_000 });
        assert.ok(parsed.kind === 'snapshot', shown);
        assert.equal(parsed.snapshot.data, withoutBreaks(run), shown);
      });
    });

    it('are a run or none as JSON has it, after bytes of them were changed', () => {
      const writer = new Writer(randomFrom(seed + 2));
      const kinds = new Set<string>();
      repeat(() => {
        let body: Buffer<ArrayBuffer> = Buffer.from(writer.body());
        for (let i = writer.below(MUTATIONS); i >= 0; i--) {
          body = writer.mutate(body);
          kinds.add(checked(body).kind);
        }
      });
      assert.deepEqual([...kinds].sort(), ['invalid', 'snapshot']);
    });

    it('are refused for their depth, and only for that, at any depth and in any shape', () => {
      const writer = new Writer(randomFrom(seed + 3));
      for (let i = 0; i < 200; i++) {
        const depth = MAX_DEPTH - 3 + writer.below(6);
        let text = writer.pick(['0', '"{[{["', '[]', '{}']);
        let levels = /^[[{]/.test(text) ? 1 : 0;
        for (; levels < depth - 1; levels++) {
          const list = `[${writer.blank()}${text},"]"]`;
          text = writer.pick([list, `{${writer.key()}:${text}${writer.blank()}}`]);
        }
        const body = `{"x":${text},"status":"running"}`;
        const parsed = parseExecution('run_1', Buffer.from(body), MAPPING);
        const isDeep = depth > MAX_DEPTH;
        assert.equal(parsed.kind, isDeep ? 'invalid' : 'snapshot', `${depth} levels`);
      }
    });
  });
}
