/**
 * A stream of upstream's at all of its bytes: cut anywhere it tells what arrived whole and nothing
 * else, and no bit of it turned over makes an end, or a refusal, of a run that goes on.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { StreamNews } from '../../src/source/event-stream.ts';
import { EventStream } from '../../src/source/event-stream.ts';
import { MAPPING } from '../support/fake-source.ts';
import { randomFrom, seeds } from '../support/random.ts';
import { A, reading, RUN, step } from './harness.ts';

const HEAD = { kind: 'answer', status: 200, body: Buffer.alloc(0) } as const;
const HEADERS = { 'content-type': 'text/event-stream' };

const event = (type: string, data: string): string => `event: ${type}\nid: x\ndata: ${data}\n\n`;
const going = [
  `retry: 3000\n${event('progress', step(0).snapshot.data)}`, event('ping', '1767225600'),
  `: hello\r\n\r\n${event('progress', step(1).snapshot.data)}`,
];
const whole = [...going, event('complete', reading('completed').snapshot.data)];

/** What a stream tells that has these pieces and then that end. */
function told(pieces: readonly Uint8Array[], why: string | undefined): StreamNews[] {
  const news: StreamNews[] = [];
  const stream = new EventStream({
    runId: RUN, key: A, mapping: MAPPING, wallNow: 0, maxBodyBytes: 100_000,
  }, (each) => news.push(each));
  stream.onHead({ ...HEAD, headers: HEADERS });
  for (const piece of pieces) stream.onBytes(piece);
  stream.onEnd(why);
  return news;
}

const statesOf = (news: readonly StreamNews[]): string[] => news.flatMap((each) =>
  each.kind === 'event' && each.answer?.kind === 'state'
    ? [each.answer.reading.snapshot.data] : []);

for (const seed of seeds(1)) {
  describe(`an event stream (RUNCAST_SEED=${seed})`, () => {
    it('that is cut anywhere tells the events that are whole', () => {
      const random = randomFrom(seed);
      const bytes = Buffer.from(whole.join(''));
      const states = statesOf(told([bytes], undefined));
      assert.equal(states.length, 3);
      const ends = [0, 2, 3].map((i) => Buffer.byteLength(whole.slice(0, i + 1).join('')));
      for (let cut = 0; cut < bytes.length; cut++) {
        const at = Math.floor(random() * (cut + 1));
        const news = told([bytes.subarray(0, at), bytes.subarray(at, cut)],
          cut % 2 === 0 ? 'cut short' : undefined);
        const expected = states.slice(0, ends.filter((end) => end <= cut).length);
        assert.deepEqual(statesOf(news), expected, `cut at ${cut}`);
        assert.equal(news.at(-1)?.kind, 'end');
      }
    });

    it('with a bit turned over anywhere tells no end and no refusal', () => {
      const random = randomFrom(seed + 1);
      const bytes = Buffer.from(going.join(''));
      let taken = 0;
      for (let at = 0; at < bytes.length; at++) {
        const turned = Buffer.from(bytes);
        turned[at] = (turned[at] ?? 0) ^ (1 << Math.floor(random() * 8));
        for (const news of told([turned], 'cut short')) {
          if (news.kind !== 'event' || news.answer === undefined) continue;
          assert.equal(news.answer.kind, 'state', `byte ${at}`);
          const { terminal } = news.answer.kind === 'state' ? news.answer.reading.snapshot : {};
          assert.equal(terminal, undefined, `byte ${at}`);
          taken++;
        }
      }
      assert.ok(taken > bytes.length, `${taken} states in ${bytes.length} streams`);
    });
  });
}
