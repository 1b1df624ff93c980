/**
 * Events as bytes, each written out in full here. What is hostile goes through the support
 * parser, cut at every byte, and must come out as one event that says what went in.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { parseExecution, type Snapshot } from '../../src/core/execution.ts';
import { NO_ID, joinIds, splitId } from '../../src/core/event-id.ts';
import {
  TERMINAL_RETRY_MS, idLine, lossFrame, pingFrame, retryLine, stateFrame, timeoutFrame, type Frame,
} from '../../src/core/frame.ts';
import { SseParser, assertEventForm, assertStreamForm } from '../support/sse-parser.ts';

const MAPPING = { statusFields: ['status'], completeOn: ['completed'], errorOn: ['failed'] };

function snapshotOf(body: string): Snapshot {
  const parsed = parseExecution('run_1', Buffer.from(body), MAPPING);
  return parsed.kind === 'snapshot' ? parsed.snapshot : assert.fail(`${parsed.why}: ${body}`);
}

function state(terminal: Snapshot['terminal'], data: string): Frame {
  const rest = { runId: 'run_1', status: 'any', identity: undefined };
  return stateFrame({ ...rest, id: 'aB-_0123456789xy', terminal, data });
}

function assertBytes({ event, id, bytes }: Frame, name: string, itsId: string, text: string): void {
  assert.deepEqual([event, id], [name, itsId]);
  assert.equal(bytes.toString('latin1'), Buffer.from(text, 'utf8').toString('latin1'));
}

describe('an event on the wire', () => {
  const data = '{"runId":"run_1","status":"läuft","n":1.0}';

  it('is progress with the whole state', () => {
    assertBytes(state(undefined, data), 'progress', 'aB-_0123456789xy',
      `event: progress\nid: aB-_0123456789xy\ndata: ${data}\n\n`);
  });

  it('is put behind an id of its own, for a stream of several runs', () => {
    for (const [terminal, name] of [[undefined, 'progress'], ['complete', 'complete']] as const) {
      const frame = state(terminal, data);
      const text = `event: ${name}\ndata: ${data}\n\n`;
      assert.equal(frame.body.bytes.toString(), text);
      assert.equal(frame.body, frame.body, 'made once');
    }
    assert.equal(idLine('a.b').bytes.toString(), 'id: a.b\n');
    assert.equal(idLine('a', 5).bytes.toString(), 'retry: 5\nid: a\n');
  });

  it('has an id that is joined, and taken apart again where it fits', () => {
    assert.equal(joinIds(['a', NO_ID, 'c']), 'a.none.c');
    assert.deepEqual(splitId('a.none.c', 3), ['a', NO_ID, 'c']);
    for (const bad of [undefined, '', 'a', 'a.b', 'a.b.c.d']) {
      assert.deepEqual(splitId(bad, 3), [NO_ID, NO_ID, NO_ID], bad);
    }
  });

  it('is complete or error with the whole state and a retry in a day', () => {
    assert.equal(TERMINAL_RETRY_MS, 86_400_000);
    for (const name of ['complete', 'error'] as const) {
      assertBytes(state(name, data), name, 'aB-_0123456789xy',
        `event: ${name}\nid: aB-_0123456789xy\ndata: ${data}\nretry: 86400000\n\n`);
    }
  });

  it('is a ping with whole seconds, rounded down', () => {
    for (const [wallMs, seconds] of [
      [1_767_225_600_000, 1_767_225_600], [1_767_225_600_999.9, 1_767_225_600], [0, 0], [999, 0],
    ] as const) {
      assertBytes(pingFrame('abc', wallMs), 'ping', 'abc',
        `event: ping\nid: abc\ndata: ${seconds}\n\n`);
    }
  });

  it('is a ping that says when to come back, where it is told to', () => {
    assertBytes(pingFrame(NO_ID, 1_999, 2_500), 'ping', 'none',
      'event: ping\nid: none\ndata: 1\nretry: 2500\n\n');
    assertBytes(pingFrame('a', 1_999, 0), 'ping', 'a', 'event: ping\nid: a\ndata: 1\nretry: 0\n\n');
  });

  for (const [streamTimeoutMs, words] of [
    [600_000, '10 minutes'], [60_000, '1 minute'], [5_000, '5 seconds'], [250, '250 ms'],
    [3_600_000, '1 hour'], [1_000, '1 second'], [7_200_000, '2 hours'], [86_400_000, '24 hours'],
    [90_000, '90 seconds'], [1_500, '1500 ms'], [5_400_000, '90 minutes'], [61_000, '61 seconds'],
  ] as const) {
    it(`is a timeout after ${words}, without a retry of its own`, () => {
      assertBytes(timeoutFrame('abc', streamTimeoutMs), 'timeout', 'abc',
        `event: timeout\nid: abc\ndata: {"message":"Stream timeout after ${words}"}\n\n`);
    });
  }

  it('is an error with the reason where the key lost the run, and a retry in a day', () => {
    const loss = {
      runId: 'run_1', errorMessage: 'No', error: 'No', code: 'FORBIDDEN', retryable: false,
      requestId: 'q1',
    };
    assertBytes(lossFrame('abc', loss), 'error', 'abc',
      'event: error\nid: abc\ndata: {"runId":"run_1","errorMessage":"No",'
      + '"error":"No","code":"FORBIDDEN","retryable":false,"requestId":"q1"}\nretry: 86400000\n\n');
  });

  it('may have a retry line in front, which ends no event', () => {
    assert.deepEqual(retryLine(3_210).bytes, Buffer.from('retry: 3210\n'));
    const stream = Buffer.concat([retryLine(3_210).bytes, state(undefined, data).bytes]);
    const [event, ...others] = new SseParser().push(stream);
    assert.deepEqual([event?.event, event?.retry, event?.data], ['progress', 3_210, data]);
    assert.equal(others.length, 0);
  });
});

/** Feeds bytes in two parts for every cut, and one by one: one event, and with its last byte. */
function assertOneEvent(bytes: Buffer, name: string, id: string, data: string): void {
  const readIn = (parts: Iterable<Uint8Array>, how: string): void => {
    const parser = new SseParser();
    const events = [...parts].flatMap((part) => parser.push(part));
    assert.deepEqual(events.map((event) => [event.event, event.id, event.data]),
      [[name, id, data]], how);
    events.forEach(assertEventForm);
    assertStreamForm(parser);
    assert.equal(parser.unfinished, '', how);
    assert.deepEqual([parser.lastEventId, parser.silentBlocks], [id, 0]);
  };
  for (let cut = 0; cut <= bytes.length; cut++) {
    readIn([bytes.subarray(0, cut), bytes.subarray(cut)], `cut at ${cut} of ${bytes.length}`);
  }
  readIn([...bytes].map((byte) => Uint8Array.of(byte)), 'byte by byte');
  assert.equal(new SseParser().push(bytes.subarray(0, -1)).length, 0);
  // Twice in a row is twice the same event: nothing spills into what follows.
  const twice = new SseParser().push(Buffer.concat([bytes, bytes]));
  assert.deepEqual(twice.map((event) => event.data), [data, data]);
}

const HOSTILE = [
  '\n', '\r', '\r\n', '\n\n', '\n\nevent: x\ndata: y\n\n', '\rid: evil\r', ' data: x', ': comment',
  'data:', '', '\0', '\t', '"', '\\', '\\n', '{"a":"}\\"', '\u0085\u2028\u2029', '\uFEFF', '\uFFFD',
  'Grüße 世界 🌍', '\u{10FFFF}\u{10000}\uFFFF', '\uD800', '\uDC00\uD800', '\x7f\x1b[31m', ' ',
];

describe('what is hostile in a state', () => {
  for (const text of HOSTILE) {
    it(`stays inside its one event: ${JSON.stringify(text)}`, () => {
      const json = JSON.stringify({ [text]: text, list: [text], status: 'running' });
      assertOneEvent(stateFrame(snapshotOf(json)).bytes, 'progress', snapshotOf(json).id, json);
    });
  }

  it('stays inside its one event where upstream wrote it unescaped or otherwise escaped', () => {
    for (const json of [
      '{"status":"completed","a":"\u2028\u2029\u0085\x7f\uFEFF"}',
      '{"status":"completed","a":"\\u000a\\u000d\\u0000\\ud800\\udfff\\u2028\\/"}',
      ' \t{ "status"\t: "completed" , "a" : 1e400 } ',
    ]) {
      const snapshot = snapshotOf(json);
      assert.equal(snapshot.data, json.trim());
      assertOneEvent(stateFrame(snapshot).bytes, 'complete', snapshot.id, json.trim());
    }
  });

  it('does not come through as lines of its own where upstream prints in lines', () => {
    const printed = JSON.stringify({ data: { status: 'failed', a: ['\n'] } }, null, 2);
    for (const newline of ['\n', '\r\n', '\r']) {
      const snapshot = snapshotOf(printed.replaceAll('\n', newline));
      const line = '{    "status": "failed",    "a": [      "\\n"    ]  }';
      assertOneEvent(stateFrame(snapshot).bytes, 'error', snapshot.id, line);
    }
  });

  it('stays inside its one event where it is the reason of a loss', () => {
    for (const text of HOSTILE) {
      const facts = { runId: 'r', errorMessage: text, error: text, code: text, retryable: false };
      const { bytes } = lossFrame(NO_ID, facts);
      assertOneEvent(bytes, 'error', NO_ID, JSON.stringify(facts));
      const [event] = new SseParser().push(bytes);
      assert.deepEqual(JSON.parse(event?.data ?? ''), facts);
    }
  });
});

describe('a stream of events', () => {
  it('reads back as what was sent, in order, with the last id known at each', () => {
    const frames = [
      state(undefined, '{"a":"é"}'), pingFrame('p', 5_000), timeoutFrame('p', 600_000),
      state('complete', '{"a":"🌍"}'), lossFrame('l', { code: 'X' }),
    ];
    const stream = Buffer.concat([retryLine(2_000).bytes, ...frames.map(({ bytes }) => bytes)]);
    for (let cut = 0; cut <= stream.length; cut++) {
      const parser = new SseParser();
      const parts = [stream.subarray(0, cut), stream.subarray(cut)];
      const events = parts.flatMap((part) => parser.push(part));
      assert.deepEqual(events.map(({ event, id }) => [event, id]),
        frames.map(({ event, id }) => [event, id]), `cut at ${cut}`);
      assert.deepEqual(events.map(({ retry }) => retry),
        [2_000, undefined, undefined, 86_400_000, 86_400_000]);
      events.forEach(assertEventForm);
      assertStreamForm(parser);
    }
  });
});
