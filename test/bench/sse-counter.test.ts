/**
 * The counter of the load client: the same for any cuts, with its memory and without, against
 * the tests' own parser; HTTP around the stream; gzip; and what is no stream.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { constants, createGzip } from 'node:zlib';
import { Memory, SseCounter } from '../../bench/support/sse-counter.ts';
import type { CountedEvent, CounterListener, Head } from '../../bench/support/sse-counter.ts';
import { randomFrom, seeds } from '../support/random.ts';
import { SseParser } from '../support/sse-parser.ts';
import { until } from '../support/wait.ts';

/** Writes down what it is told. */
class Notes implements CounterListener {
  readonly events: CountedEvent[] = [];
  readonly times: number[] = [];
  head: Head | undefined;
  ends = 0;
  broken: string[] = [];

  onHead(head: Head): boolean {
    this.head = head;
    return head.status === 200;
  }

  onEvent(event: CountedEvent, readAt: number): void {
    this.events.push(event);
    this.times.push(readAt);
  }

  onEnd(): void {
    this.ends++;
  }

  onBroken(reason: string): void {
    this.broken.push(reason);
  }
}

const CHUNKED = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n'
  + 'Transfer-Encoding: chunked\r\n\r\n';
const PLAIN = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n';
const chunk = (body: Buffer | string): Buffer => {
  const bytes = Buffer.from(body);
  const size = Buffer.from(`${bytes.length.toString(16)}\r\n`);
  return Buffer.concat([size, bytes, Buffer.from('\r\n')]);
};

/** Given piece by piece from one and the same read buffer, as sockets do. */
function feed(bytes: Buffer, sizes: () => number, memory?: Memory): Notes {
  const shared = Buffer.alloc(bytes.length + 64, 'x\n\n');
  const notes = new Notes();
  const counter = new SseCounter(notes, memory);
  for (let from = 0; from < bytes.length;) {
    const length = bytes.copy(shared, 0, from, from + Math.max(1, sizes()));
    counter.push(shared, length, from + 1);
    shared.fill('data: "at":9\n\n');
    from += length;
  }
  counter.eof();
  return notes;
}

const STATES = ['é', '', 'x'.repeat(300)].map((text, i) =>
  `{"runId":"bench-0","status":"running","at":${1_000_000 + i},"text":"${text}"}`);

/** Blocks of all kinds, most of them repeated. */
function streamFrom(random: () => number): string {
  const kinds = [
    ...STATES.map((state, i) => `event: progress\nid: s${i}\ndata: ${state}\n\n`),
    ...STATES.map((state, i) => `event: progress\nid: s${i}\ndata: ${state}\n\n`),
    'event: ping\nid: s0\ndata: 1700000000\n\n', 'retry: 2500\n', ': a comment\n\n',
    'data\n\n', 'id: alone\n\n', 'event:complete\r\nid:é\r\ndata:{"at":17}\r\n\r\n', '\n',
    'data: a\ndata: b\n\n',
    'data: {"at":x}\n\n', 'data: {"at":12345678901234567}\n\n', 'data: "at":5\n\n', 'colon: x\n',
  ];
  return Array.from({ length: 60 }, () => kinds[Math.floor(random() * kinds.length)]).join('');
}

/** Cuts the text into chunks anywhere, or one for each block. */
function chunksOf(text: string, random: () => number): Buffer {
  const bytes = Buffer.from(text);
  if (random() < 0.5) {
    return Buffer.concat(text.split(/(?<=\n\r?\n)/).map((block) => chunk(block)));
  }
  const parts: Buffer[] = [];
  for (let from = 0; from < bytes.length;) {
    const size = 1 + Math.floor(random() * 200);
    parts.push(chunk(bytes.subarray(from, from + size)));
    from += size;
  }
  return Buffer.concat(parts);
}

describe('the counter of event streams', () => {
  let hits = 0;
  for (const seed of seeds(10)) {
    it(`counts the same for any cuts, with its memory and without (seed ${seed})`, () => {
      const random = randomFrom(seed);
      const memory = new Memory(1 + Math.floor(random() * 5));
      for (let round = 0; round < 10; round++) {
        const text = streamFrom(random);
        const isChunked = random() < 0.7;
        const bytes = isChunked
          ? Buffer.concat([Buffer.from(CHUNKED), chunksOf(text, random), Buffer.from('0\r\n\r\n')])
          : Buffer.from(PLAIN + text);
        const maxSize = [1, 5, 40, 400, 1e6][Math.floor(random() * 5)] ?? 1;
        const sizes = (): number => 1 + Math.floor(random() * maxSize);
        const slow = feed(bytes, sizes);
        const fast = feed(bytes, sizes, memory);
        const right = new SseParser().push(Buffer.from(text));
        const shown = ({ events }: Notes) => events.map(({ type, retryMs }) => [type, retryMs]);
        assert.deepEqual(slow.broken, []);
        assert.deepEqual(shown(slow), right.map(({ event, retry }) => [event, retry]), 'slow');
        assert.deepEqual(fast.events, slow.events);
        assert.deepEqual(shown(fast), right.map(({ event, retry }) => [event, retry]));
        assert.deepEqual([slow.ends, fast.ends, slow.broken, fast.broken], [1, 1, [], []]);
      }
      hits += memory.hits;
    });
  }

  it('finds pieces again in some of these: the short way was gone', (t) => {
    if (process.env['RUNCAST_SEED'] !== undefined) return t.skip('one seed may have no such piece');
    assert.ok(hits > 0);
  });

  it('knows id and time of each event, and when it was read', () => {
    const frame = chunk(`event: progress\nid: s0\ndata: ${STATES[0]}\n\n`);
    const notes = new Notes();
    const memory = new Memory();
    const counter = new SseCounter(notes, memory);
    for (const [bytes, at] of [[Buffer.from(CHUNKED), 1], [frame, 2], [frame, 3]] as const) {
      counter.push(bytes, bytes.length, at);
    }
    const event = { type: 'progress', id: 's0', retryMs: undefined, at: 1_000_000 };
    assert.deepEqual([notes.events, notes.times, memory.hits], [[event, event], [2, 3], 1]);
    assert.equal(counter.eof(), false, 'the end of the connection within a stream is a cut');
    assert.equal(notes.ends, 0);
  });

  it('does not take a remembered piece for a part of a chunk', () => {
    const memory = new Memory();
    const block = 'data: a\n\n';
    feed(Buffer.from(PLAIN + block + block), () => 1e6, memory);
    const chunked = `${CHUNKED}${chunk(block + block)}0\r\n\r\n`;
    const inside = feed(Buffer.from(chunked), () => 1e6, memory);
    assert.equal(inside.events.length, 2);
    assert.equal(inside.ends, 1);
  });

  it('ends by content-length, by trailers and with what the listener does not want', () => {
    const sized = 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ndata: a\n\n';
    const trailed = `${CHUNKED}${chunk('data: a\n\n')}0;x=y\r\nchecksum: 1\r\nb: 2\r\n\r\n`;
    for (const text of [sized, trailed]) {
      for (const size of [1, 2, 3, 7, 1000]) {
        const { events, ends } = feed(Buffer.from(text), () => size, new Memory());
        assert.deepEqual([events.length, ends], [1, 1], `${size} of ${text}`);
      }
    }
    const refused = feed(Buffer.from('HTTP/1.1 503 No\r\nRetry-After: 2\r\n\r\n{}'), () => 1);
    assert.deepEqual([refused.head?.status, refused.head?.headers.get('retry-after')], [503, '2']);
    assert.deepEqual([refused.events, refused.ends, refused.broken], [[], 0, []]);
  });

  it('says once what is no HTTP', () => {
    const texts = [
      'SSH-2.0-x\r\n\r\n', `${CHUNKED}nine\r\n`, `${CHUNKED}1\r\nabcd\r\n`, 'x'.repeat(2e4),
    ];
    for (const text of texts) {
      for (const size of [1, 1e6]) {
        const { broken, ends } = feed(Buffer.from(text), () => size);
        assert.deepEqual([broken.length, ends], [1, 0], text.slice(0, 100));
      }
    }
  });

  for (const seed of seeds(3)) {
    it(`unpacks gzip as it comes, to its end (seed ${seed})`, async () => {
      const random = randomFrom(seed);
      const text = streamFrom(random);
      const packed = await gzipped(text.split(/(?<=\n\n)/));
      const head = CHUNKED.replace('\r\n\r\n', '\r\nContent-Encoding: gzip\r\n\r\n');
      const last = Buffer.from('0\r\n\r\n');
      const bytes = Buffer.concat([Buffer.from(head), ...packed.map(chunk), last]);
      const notes = feed(bytes, () => 1 + Math.floor(random() * 300), new Memory());
      await until('the end of gzip', () => notes.ends + notes.broken.length > 0);
      const types = new SseParser().push(Buffer.from(text)).map(({ event }) => event);
      assert.deepEqual(notes.events.map(({ type }) => type), types);
      assert.deepEqual([notes.ends, notes.broken], [1, []]);
      assert.ok(notes.times.every((at, i) => at >= (notes.times[i - 1] ?? 1)));
      const cut = Buffer.from(bytes);
      cut[bytes.length - 12] = (cut[bytes.length - 12] ?? 0) ^ 1;
      const wrong = feed(cut, () => 1e6);
      await until('the check of the trailer', () => wrong.ends + wrong.broken.length > 0);
      assert.match(wrong.broken.join(), /gzip/);
    });
  }
});

/** Each block flushed, as one Buffer each; the trailer last. */
async function gzipped(blocks: readonly string[]): Promise<Buffer[]> {
  const gzip = createGzip({ flush: constants.Z_SYNC_FLUSH });
  const parts: Buffer[] = [];
  gzip.on('data', (part: Buffer) => parts.push(part));
  for (const block of blocks) {
    await new Promise<void>((resolve) => gzip.write(block, () => resolve()));
  }
  gzip.end();
  await once(gzip, 'end');
  return parts;
}
