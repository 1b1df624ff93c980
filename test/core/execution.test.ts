/**
 * Upstream's bytes into a snapshot. What is cut out is held, character by character, against
 * text that the test put together itself; nothing here prints JSON that src has parsed.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import {
  MAX_DEPTH, digest, isSameRun, parseExecution, type Snapshot, type StatusMapping,
} from '../../src/core/execution.ts';
import { execution } from '../support/answers.ts';
import { randomFrom, seeds } from '../support/random.ts';

const MAPPING: StatusMapping = {
  statusFields: ['status'], completeOn: ['completed'], errorOn: ['failed', 'cancelled'],
};
const BOM = '\uFEFF';

function snapshotOf(body: string | Buffer, mapping = MAPPING): Snapshot {
  const parsed = parseExecution('run_1', Buffer.from(body), mapping);
  if (parsed.kind === 'invalid') assert.fail(`${parsed.why}: ${body.toString().slice(0, 300)}`);
  return parsed.snapshot;
}

function whyInvalid(body: string | Buffer, mapping = MAPPING): string {
  const parsed = parseExecution('run_1', Buffer.from(body), mapping);
  if (parsed.kind === 'invalid') return parsed.why;
  return assert.fail(`taken for a run: ${body.toString().slice(0, 300)}`);
}

/** Bodies around the text of a run, all of which must give that very text. */
function envelopes(run: string): string[] {
  return [
    `{"data":${run}}`,
    `{"data":${run},"timeout":true}`,
    `{"took":1.0,"list":[{"data":{"status":"no"}}],"data":${run}}`,
    `{"meta":{"data":{"status":"no"},"a":[1,{"b":","}]},"data":${run},"after":{"data":[":"]}}`,
    `{"data":{"status":"first"},"data":${run}}`,
    `{"data":"","status":"bare","data":${run},"status":"still bare"}`,
    `{"d\\u0061ta":${run}}`,
    `{"\\u0064\\u0061\\u0074\\u0061":${run},"dat\\u0061s":{"status":"no"}}`,
    `{"dat":{"status":"no"},"data":${run},"data ":{"status":"no"},"Data":{"status":"no"}}`,
    ` \t\r\n{ "a" : [ ] , "data"\t:\r\n ${run} \t\r\n, "z" : { } } \n`,
    `${BOM}{"data":${run}}`,
  ];
}

const UNTOUCHED = [
  '{"status":"running"}',
  '{"status":"running","n":[12345678901234567890,0.1234567890123456789,1.0,-0,1e400,-1E+2,5e-324]}',
  '{"zeta":1,"10":1,"status":"running","2":2,"alpha":3,"1":4}',
  '{"status":"running","unknown":{"deep":[{"er":null},true,false]},"":""}',
  '{"status":"run\\u006eing","a":"\\u00e9\\/\\b\\f\\n\\r\\t\\"\\\\","\\u0061":"\\ud83c\\udf0d"}',
  '{"status":"running","lone":"\\ud800 \\udc00","raw":"Grüße, 世界 🌍"}',
  '{"status":"running","not line ends in JSON":"\u2028\u2029\u0085\u00a0\uFEFF\x7f"}',
  '{"status":"queued","status":"running","a":1,"a":2}',
  '{ \t"status" :\t"running" , "a" : [ 1 ,\t2 ] \t}',
  '{"__proto__":{"status":"completed"},"constructor":1,"toString":"x","status":"running"}',
  '{"status":"running","outputs":[{"data":{"status":"no"}}],"data":"no","data":[{"status":"no"}]}',
];

describe('the JSON of a run', () => {
  for (const run of UNTOUCHED) {
    it(`leaves its envelope as it is: ${run}`, () => {
      for (const body of [run, BOM + run, ` \r\n\t${run}\t\r\n `, ...envelopes(run)]) {
        const { status, terminal, data, id } = snapshotOf(body);
        assert.deepEqual({ status, terminal, data }, {
          status: 'running', terminal: undefined, data: run,
        }, body);
        assert.equal(id, digest(run), body);
      }
    });
  }

  it('is found whatever strings hold, wherever they stand', () => {
    const backslashes = [1, 2, 3, 4, 5, 6, 7].map((n) => `${'\\'.repeat(n)}${n % 2 ? '"' : ''}`);
    const contents = [
      '', '{', '}', '[', ']', ',', ':', '}}', ']}', '{[{[', '\\"', '\\",', '\\":', 'data', 'status',
      '\\"data\\":{\\"status\\":\\"no\\"}', '\\\\\\"data\\\\\\":{', '//', '/*', '\\u0022', '\\n',
      '\u2028', ...backslashes, ...backslashes.map((text) => `{${text},`),
    ];
    for (const text of contents.map((content) => `"${content}"`)) {
      const run = `{"a":${text},"k":[${text},{${text}:${text}}],"status":"running","z":${text}}`;
      const others = text === '"data"' ? '"x":1' : `${text}:${text}`;
      for (const body of [
        `{"x":${text},${others},"data":${run},"y":[${text}],${others}}`,
        `{"x":[${text},{${text}:{"data":${run}}}],"data":${run}}`,
        `{${others},"data":${text},"data":${run},${others}}`,
      ]) assert.equal(snapshotOf(body).data, run, body);
    }
  });

  it('becomes one line when it comes pretty-printed, and loses nothing but CR and LF', () => {
    const data = execution('run_1', 'running', { text: 'a\r\nb', list: [[], {}, [1, [2]]] });
    const head = '{\n  "data": ';
    const printed = JSON.stringify({ data, more: [1] }, null, 2);
    const tail = ',\n  "more": [\n    1\n  ]\n}';
    assert.ok(printed.startsWith(head) && printed.endsWith(tail));
    const lines = printed.slice(head.length, -tail.length).split('\n');
    assert.ok(lines.length > 30);
    for (const newline of ['\n', '\r\n', '\r', '\n\n', '\n\r', '\r\r\n\n']) {
      const snapshot = snapshotOf(printed.replaceAll('\n', newline));
      assert.equal(snapshot.data, lines.join(''), JSON.stringify(newline));
      assert.equal(snapshot.id, digest(lines.join('')));
    }
    const torn = '{"data":\r{\n"status"\r:\n"running"\r\n}\r}';
    assert.equal(snapshotOf(torn).data, '{"status":"running"}');
  });

  it('keeps its tabs and spaces', () => {
    const data = execution('run_1', 'running');
    const tabbed = JSON.stringify(data, null, '\t');
    const expected = tabbed.split('\n').join('');
    assert.match(expected, /^\{\t"runId": "run_1",\t"workflowId"/);
    assert.equal(snapshotOf(tabbed).data, expected);
    assert.equal(snapshotOf(`{"data":\t${tabbed}\t}`).data, expected);
  });

  it('is the object in `data` where both that and the outermost one have a status', () => {
    const inner = '{"status":"running","data":{"status":"failed"}}';
    const snapshot = snapshotOf(`{"status":"completed","data":${inner},"status":"completed"}`);
    assert.equal(snapshot.data, inner);
    assert.equal(snapshot.status, 'running');
    assert.equal(snapshot.terminal, undefined);
  });

  it('is the outermost one of these in an event of a stream, so that ids hold over tiers', () => {
    const body = '{"data":{"status":"running","data":{"status":"failed"}}}';
    const snapshot = snapshotOf(body);
    const parsed = parseExecution('run_1', Buffer.from(snapshot.data), MAPPING, 'event');
    assert.deepEqual(parsed, { kind: 'snapshot', snapshot });
  });

  it('is the whole object where `data` is no object with a status', () => {
    for (const data of [
      'null', '1', 'true', '[]', '[{"status":"no"}]', '{}', '{"status":1}', '{"Status":"no"}',
      '"{\\"status\\":\\"no\\"}"', '{"data":{"status":"no"}}', '{"__proto__":{"status":"no"}}',
      '{"status":"no"},"data":1', '{"status":"no","status":null}',
    ]) {
      const body = `{"data":${data},"status":"failed"}`;
      const { data: kept, status, terminal } = snapshotOf(`\n${body}\n`);
      assert.deepEqual([kept, status, terminal], [body, 'failed', 'error']);
    }
  });

  it('is the one in the last `data` of several, as JSON readers have it', () => {
    const [a, b, c] = ['a', 'b', 'c'].map((status) => `{"status":"${status}"}`);
    assert.equal(snapshotOf(`{"data":${a},"d\\u0061ta":${b},"data":${c}}`).data, c);
    assert.equal(snapshotOf(`{"data":${c},"data":${a},"d\\u0061ta":${b}}`).data, b);
    assert.equal(snapshotOf(`{"data":${a},"dat":${b},"x":{"data":${c}}}`).data, a);
  });
});

describe('a body that is no run', () => {
  it('is refused where one byte is not UTF-8, wherever it stands', () => {
    const body = Buffer.from('{"data":{"status":"Grüße 世界 🌍","n":[1.0,true]},"z":"é"}');
    assert.equal(snapshotOf(body).status, 'Grüße 世界 🌍');
    for (const bad of [
      [0xff], [0x80], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xf0, 0x9f],
    ]) {
      for (let at = 0; at <= body.length; at++) {
        const broken = Buffer.concat([body.subarray(0, at), Buffer.from(bad), body.subarray(at)]);
        assert.equal(whyInvalid(broken), 'not UTF-8', `${bad} at ${at}`);
      }
    }
    assert.equal(whyInvalid(Buffer.from('{"status":"x"}', 'utf16le')), 'not a JSON object');
    assert.equal(snapshotOf('{"status":"\uFFFD"}').data, '{"status":"\uFFFD"}');
  });

  it('is refused where it is not one JSON object', () => {
    for (const body of [
      '', ' ', '\n', BOM, `${BOM}${BOM}{"status":"x"}`, `{${BOM}"status":"x"}`, 'null', 'true', '1',
      '"status"', '[]', '[{"status":"running"}]', '[{"data":{"status":"running"}}]', '{', '}',
      '{"status":"running"', '{"status":"running"}}', '{"status":"running"}{}', '{"status":"a"} b',
      '{"status":"running",}', '{status:"running"}', '{\'status\':\'a\'}', '{"status":running}',
      '{"status":"a","n":01}', '{"status":"a","n":NaN}', '{"status":"a","n":1 2}', '<html></html>',
      '{"status":"a\nb"}', '{"status":"a\tb"}', '{"status":"a\0"}', '{"status":"\\x"}',
      '\u00a0{"status":"a"}', '{"status":"a"}//', '/**/{"status":"a"}', '{"data":{"status":"a"}',
      'Too many requests', '{"status":"a"}\0', '{"a":1\n2,"status":"a"}',
    ]) assert.equal(whyInvalid(body), 'not a JSON object', JSON.stringify(body));
  });

  it('is refused where no string says the status', () => {
    for (const body of [
      '{}', '{"data":{}}', '{"data":null}', '{"data":[]}', '{"Status":"a"}', '{"status ":"a"}',
      '{"status":null}', '{"status":1}', '{"status":true}', '{"status":["a"]}', '{"status":{}}',
      '{"data":{"status":0}}', '{"outputs":[{"status":"a"}]}', '{"run":{"status":"a"}}',
      '{"error":"no","code":"NOT_FOUND"}', '{"data":{"data":{"status":"a"}}}',
      '{"status":"a","status":null}', '{"data":{"status":"a"},"data":null}',
      '{"__proto__":{"status":"a"}}', '{"__proto__":{"data":{"status":"a"}}}',
      '{"data":{"__proto__":{"status":"a"}}}', '{"data":{"constructor":{"status":"a"}}}',
    ]) assert.equal(whyInvalid(body), 'no string "status"', body);
    assert.equal(Reflect.get({}, 'status'), undefined);
    for (const statusField of ['toString', 'constructor', 'valueOf', '__proto__']) {
      const mapping = { ...MAPPING, statusFields: [statusField] };
      assert.equal(whyInvalid('{"status":"a"}', mapping), `no string "${statusField}"`);
      assert.equal(snapshotOf(`{"data":{"${statusField}":"b"}}`, mapping).status, 'b');
    }
  });

  it('is refused where it is nested deeper than other readers go', () => {
    for (const [open, close] of [['[', ']'], ['{"a":', '}'], ['[{"data":', '}]']] as const) {
      const levels = open.length > 6 ? 2 : 1;
      const bare = (depth: number): string => {
        const times = Math.floor((depth - 1) / levels);
        const odd = (depth - 1) % levels === 1;
        const value = `${open.repeat(times)}${odd ? '[]' : '0'}${close.repeat(times)}`;
        return `{"status":"running","x":${value}}`;
      };
      const atLimit = bare(MAX_DEPTH);
      assert.equal(snapshotOf(atLimit).data, atLimit);
      assert.equal(whyInvalid(bare(MAX_DEPTH + 1)), `nested deeper than ${MAX_DEPTH}`);
      const enveloped = `{"data":${bare(MAX_DEPTH - 1)}}`;
      assert.equal(snapshotOf(enveloped).data, bare(MAX_DEPTH - 1));
      assert.equal(whyInvalid(`{"data":${atLimit}}`), `nested deeper than ${MAX_DEPTH}`);
      assert.equal(whyInvalid(bare(200_001)), `nested deeper than ${MAX_DEPTH}`);
    }
    assert.equal(whyInvalid('['.repeat(200_000)), 'not a JSON object');
    assert.equal(whyInvalid('{"a":'.repeat(200_000)), 'not a JSON object');
  });

  it('is not taken for deep because it is wide, or for brackets in strings', () => {
    const wide = `{"status":"running","x":[${Array(50_000).fill('[],{}').join()}]}`;
    assert.equal(snapshotOf(wide).data, wide);
    const quoted = `{"status":"running","x":"${'[{'.repeat(2_000)}","${'{'.repeat(2_000)}":0}`;
    assert.equal(snapshotOf(quoted).data, quoted);
  });
});

describe('the identity of a run', () => {
  const run = (over: object): Snapshot => snapshotOf(JSON.stringify({
    data: { runId: 'r', workflowId: 'w', createdAt: '2026', status: 'running', ...over },
  }));

  it('is its id, its workflow and when it began, and nothing else', () => {
    assert.ok(run({}).identity);
    assert.ok(isSameRun(run({}), run({ status: 'failed', outputs: [1], progress: {} })));
    assert.ok(isSameRun(run({ extra: 1 }), snapshotOf(
      '{"createdAt":"2026","workflowId":"\\u0077","runId":"r","status":"a"}',
    )));
    for (const over of [{ runId: 's' }, { workflowId: 'v' }, { createdAt: '27' }, { runId: '' }]) {
      assert.equal(isSameRun(run({}), run(over)), false, JSON.stringify(over));
    }
    for (const between of [',', '","', '\0', ' ', '']) {
      const left = run({ runId: `a${between}b`, workflowId: 'c' });
      const right = run({ runId: 'a', workflowId: `b${between}c` });
      assert.equal(isSameRun(left, right), false, between);
    }
  });

  it('is unknown, and so shared with nobody, where one of the three is no string', () => {
    for (const name of ['runId', 'workflowId', 'createdAt']) {
      for (const value of [undefined, null, 1, true, ['r'], { r: 1 }]) {
        const unknown = run({ [name]: value });
        assert.equal(unknown.identity, undefined, `${name}: ${String(value)}`);
        assert.equal(isSameRun(unknown, unknown), false);
        assert.equal(isSameRun(run({}), unknown), false);
        assert.equal(isSameRun(unknown, run({})), false);
      }
    }
    assert.equal(snapshotOf(
      '{"data":{"status":"a"},"runId":"r","workflowId":"w","createdAt":"c"}',
    ).identity, undefined);
  });
});

describe('the id of a state', () => {
  it('is the first 96 bits of its SHA-256, and so the same on every machine', () => {
    assert.equal(digest('{"status":"running"}'), 'QJRDpu5aopbczWwN');
    assert.equal(digest('{"status":"Grüße 🌍"}'), '98-sRcWTXQVo3CWv');
    assert.equal(snapshotOf('{"data":{"status":"Grüße 🌍"}}').id, '98-sRcWTXQVo3CWv');
  });

  it('is another for every other state, and always fit for a header and a query', () => {
    const ids = Array.from({ length: 2_000 }, (_, n) => snapshotOf(`{"status":"${n}"}`).id);
    assert.equal(new Set(ids).size, ids.length);
    for (const id of ids) assert.match(id, /^[\w-]{16}$/);
  });
});

/** Text as it is sent, and as it is to be kept: the same without line ends between tokens. */
type Text = readonly [sent: string, kept: string];

/** Prints random JSON in random whitespace. It never looks at a text it has made. */
class Printer {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = randomFrom(seed);
  }

  /** 0 to `n` - 1. */
  below(n: number): number {
    return Math.floor(this.#random() * n);
  }

  object(members: readonly (readonly [key: string, value: Text])[]): Text {
    const parts = members.flatMap(([key, value], n) => [
      same(n > 0 ? ',' : ''), this.space(), same(key), this.space(), same(':'), this.space(), value,
      this.space(),
    ]);
    return joined([same('{'), ...parts, same('}')]);
  }

  members(keys: readonly string[], depth: number): [string, Text][] {
    return this.#times(4, () => [this.#of(keys), this.#value(depth)]);
  }

  space(): Text {
    const tokens: Text[] = [[' ', ' '], ['\t', '\t'], ['\n', ''], ['\r\n', ''], ['\r', '']];
    return joined(this.#times(this.below(4), () => this.#of(tokens)));
  }

  #value(depth: number): Text {
    const kind = this.below(depth > 0 ? 5 : 2);
    if (kind === 0) return same(this.#of(PLAIN));
    if (kind === 1) return same(`"${this.#times(6, () => this.#of(IN_STRINGS)).join('')}"`);
    if (kind < 4) return this.object(this.members(KEYS, depth - 1));
    const items = this.#times(4, (n) => [
      same(n > 0 ? ',' : ''), this.space(), this.#value(depth - 1), this.space(),
    ]);
    return joined([same('['), ...items.flat(), same(']')]);
  }

  #of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] ?? assert.fail('no choice');
  }

  #times<T>(below: number, make: (n: number) => T): T[] {
    return Array.from({ length: below > 0 ? this.below(below) : 0 }, (_, n) => make(n));
  }
}

const same = (text: string): Text => [text, text];
const joined = (parts: readonly Text[]): Text =>
  [parts.map(([sent]) => sent).join(''), parts.map(([, kept]) => kept).join('')];

const PLAIN = [
  'null', 'true', 'false', '0', '-0', '1.0', '1e400', '-1.5E-7', '12345678901234567890', '[]', '{}',
];
const IN_STRINGS = [
  '{', '}', '[', ']', ',', ':', '\\"', '\\\\', '\\/', '\\n', '\\r', '\\u0000', '\\ud800', '\\u2028',
  '\u2028', 'data', 'status', ' ', 'é', '世', '🌍', '\x7f', '\uFEFF', '//', '\'',
];
const DATA = ['"data"', '"d\\u0061ta"', '"\\u0064\\u0061\\u0074\\u0061"'];
const STATUS = ['"status"', '"statu\\u0073"'];
const NEUTRAL = [
  '""', '"a"', '"dat"', '"da\\"ta"', '"data\\\\"', '"{"', '"}"', '":"', '"__proto__"', '"é"',
];
const KEYS = [...DATA, ...STATUS, ...NEUTRAL];

describe('a random run in a random envelope', () => {
  for (const seed of seeds(3)) {
    it(`comes out as it was put together (RUNCAST_SEED=${seed})`, () => {
      const printer = new Printer(seed);
      for (let n = 0; n < 1_000; n++) {
        const isBare = printer.below(4) === 0;
        const members = printer.members(isBare ? NEUTRAL : [...NEUTRAL, ...DATA], 4);
        members.splice(printer.below(members.length + 1), 0, ['"status"', same('"r:{\\"\\\\"')]);
        const run = printer.object(members);
        const body = isBare ? run : printer.object([
          ...printer.members(KEYS, 3), [DATA[printer.below(3)] ?? '', run],
          ...printer.members([...NEUTRAL, ...STATUS], 3),
        ]);
        const [sent] = joined([printer.space(), body, printer.space()]);
        const { data, status, id } = snapshotOf(n % 7 === 0 ? BOM + sent : sent);
        assert.equal(data, run[1], `case ${n}: ${sent}`);
        assert.deepEqual([status, id], ['r:{"\\', digest(run[1])], `case ${n}: ${sent}`);
      }
    });
  }
});
