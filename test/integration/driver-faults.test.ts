/**
 * Every fault of the table over the drivers that do more than poll. At connect: a client that
 * joins is refused as it should be; a run whose own way to be followed is broken from the first
 * request on is followed without it. In mid-stream: nothing but pings, and then the result. In
 * each case the end arrives once, when upstream has told it, and no other end ever.
 *
 * Left out, with the reason:
 * - `poll` is faults.test.ts: it has no way of its own beside the status of the run.
 * - Two workers: drivers live in the primary and know nothing of them; faults.test.ts has both.
 * - A way that breaks later and for good is the list's alone, which is given up after three
 *   failures; `wait` and `stream` ask anew each time, as at the first. There silence is left out:
 *   three time-outs of 8 s each.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { FaultyRun } from '../support/faulty-run.ts';
import type { Way } from '../support/faulty-run.ts';
import { FAULTS, LATE } from '../support/faults.ts';
import type { Told } from '../support/faults.ts';
import { assertEnded, gatewayFor, names, startGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import type { ReceivedEvent, SseStream } from '../support/sse-client.ts';
import { execution } from '../support/upstream.ts';
import type { Answer } from '../support/upstream.ts';

const DRIVERS = ['wait', 'stream', 'list'] as const;
type Source = (typeof DRIVERS)[number];

const LIMITS = {
  upstreamTimeoutMs: 8_000, maxBodyBytes: 1_000_000, pingIntervalMs: 200, pollIntervalMs: 200,
};
/** Tests at once: each has a gateway and an upstream of its own, for a limit is one for all. */
const CONCURRENCY = 80;
const RUN = 'r1';

interface Lab {
  readonly gateway: TestGateway;
  readonly run: FaultyRun;
}

async function labFor(t: TestContext, sourceKind: Source): Promise<Lab> {
  const gateway = await gatewayFor(t, startGateway, { ...LIMITS, sourceKind });
  return { gateway, run: new FaultyRun(gateway.upstream, RUN) };
}

const pingAfter = (stream: SseStream, at = performance.now()): Promise<ReceivedEvent> =>
  stream.next((event) => event.event === 'ping' && event.at > at);

/** Followed in the driver's own way: a change was seen. */
async function follow({ gateway, run }: Lab, way: Way): Promise<SseStream> {
  const stream = await gateway.join(RUN);
  await stream.next('progress');
  await run.untilAsked(way);
  run.to('running', 1);
  await stream.next(({ data }) => data.includes('"step":1'));
  return stream;
}

async function assertResult(stream: SseStream, { data }: FaultyRun): Promise<void> {
  assert.equal((await stream.next('complete', 40_000)).data, data);
  await assertEnded(stream);
  assert.deepEqual(names(stream, 'ping', 'progress'), ['complete']);
}

async function refuses(lab: Lab, answer: Answer, told: Told): Promise<void> {
  const { gateway, run } = lab;
  run.break(answer);
  const [plain, source] = await Promise.all([gateway.ask(RUN), gateway.join(RUN)]);
  const { code, retryable } = JSON.parse(plain.text) as Record<string, unknown>;
  assert.deepEqual([plain.status, code, retryable], [...told, true]);
  assert.equal(await source.ended, 'end');
  assert.equal(source.response.headers['x-runcast-refused'], told.join(' '));
  assert.deepEqual(names(source), ['ping']);
  run.mend();
  const stream = await gateway.join(RUN);
  assert.equal((await stream.next(() => true)).event, 'progress');
  run.to('completed');
  await assertResult(stream, run);
}

/** Only its own way is broken, and stays it. */
async function goesWithout({ gateway, run }: Lab, answer: Answer, way: Way): Promise<void> {
  run.break(answer, [way]);
  const stream = await gateway.join(RUN);
  await stream.next('progress');
  await run.untilMet(way);
  await pingAfter(stream);
  run.to('completed');
  await assertResult(stream, run);
}

/** The run ends while all is broken. */
async function waits(lab: Lab, answer: Answer, way: Way): Promise<void> {
  const { run } = lab;
  const stream = await follow(lab, way);
  run.break(answer);
  await run.untilMet(way);
  if (way === 'stream') await run.untilMet('status');
  await pingAfter(stream);
  run.to('completed');
  await pingAfter(stream);
  run.mend();
  await assertResult(stream, run);
  assert.deepEqual(names(stream, 'ping'), ['progress', 'progress', 'complete']);
}

describe('upstream faults', { concurrency: CONCURRENCY }, () => {
  for (const driver of DRIVERS) {
    for (const [name, answer, told] of FAULTS) {
      it(`${driver}: ${name} when joining is told as ${told.join(' ')}`, async (t) => {
        await refuses(await labFor(t, driver), answer, told);
      });

      it(`${driver}: a run is followed without a way that has ${name}`, async (t) => {
        await goesWithout(await labFor(t, driver), answer, driver);
      });

      it(`${driver}: ${name} in mid-stream is nothing but pings, then the result`, async (t) => {
        await waits(await labFor(t, driver), answer, driver);
      });

      if (driver !== 'list' || told === LATE) continue;
      it(`${driver}: a list that has ${name} from some time on is given up`, async (t) => {
        const lab = await labFor(t, driver);
        const stream = await follow(lab, 'list');
        lab.run.break(answer, ['list']);
        await lab.run.untilMet('list');
        lab.run.to('completed');
        await assertResult(stream, lab.run);
      });
    }
  }
});

const RUNNING = JSON.stringify(execution(RUN, 'running', { step: 1 }));
const OVER = JSON.stringify(execution(RUN, 'completed', { step: 1 }));
const event = (type: string, data: string): string => `event: ${type}\ndata: ${data}\n\n`;

/** What upstream's own stream says in between, and how it goes on. */
const SAID: readonly (readonly [name: string, bytes: string | Buffer, then?: 'end' | 'cut'])[] = [
  ['nothing, and is cut', '', 'cut'],
  ['nothing, and ends', '', 'end'],
  ['half an end, and is cut', event('complete', OVER).slice(0, 300), 'cut'],
  ['half an end, and ends', event('complete', OVER).slice(0, 300), 'end'],
  ['an end without its blank line, and is cut', event('complete', OVER).slice(0, -1), 'cut'],
  ['an end without its blank line, and ends', event('complete', OVER).slice(0, -1), 'end'],
  ['half a change, and then an end of it', `event: progress\ndata: {"status"\ndata: }\n\n`],
  ['an end of a run that is not over', event('complete', RUNNING)],
  ['an error of a run that is not over', event('error', RUNNING)],
  ['an end with a page', event('complete', '<!doctype html>')],
  ['an end with nothing', event('complete', '')],
  ['an end in a list', event('complete', `[${OVER}]`)],
  ['an end with half a JSON', event('complete', OVER.slice(0, -1))],
  ['an end that is deep', event('complete', `{"status":"completed","x":${'['.repeat(1e5)}`)],
  ['an end with bytes that are no UTF-8',
    Buffer.from(event('complete', '{"status":"completed","x":"\xff"}'), 'latin1')],
  ['an end over the limit', event('complete', OVER.replace('}', `,"x":"${'x'.repeat(1.1e6)}"}`))],
  ['a line without end', `data: ${'x'.repeat(1.1e6)}`],
  ['lines without end', 'data: x\n'.repeat(1.5e5)],
  ['an error that will pass', event('error', '{"code":"X","retryable":true}')],
  ['an error without a code', event('error', '{"error":"x"}')],
  ['an error that is no JSON', event('error', 'x')],
  ['its time-out', event('timeout', '{"message":"Stream timeout after 10 minutes"}')],
  ['what nobody knows', `${event('verdict', OVER)}: ${OVER}\n\nid: \0\nretry: x\ncomplete\n\n`],
  ['an end as a comment', `: ${event('complete', OVER).replaceAll('\n', '\n: ')}\n\n`],
];

describe('a stream of upstream\'s that says', { concurrency: CONCURRENCY }, () => {
  for (const [name, bytes, then] of SAID) {
    it(`${name}, tells no end, and the end is told later`, async (t) => {
      const lab = await labFor(t, 'stream');
      const { run } = lab;
      const stream = await follow(lab, 'stream');
      run.say(bytes);
      if (then !== undefined) run.endStreams(then);
      await pingAfter(stream);
      await pingAfter(stream);
      assert.deepEqual(names(stream, 'ping'), ['progress', 'progress']);
      run.to('completed');
      await assertResult(stream, run);
      assert.deepEqual(names(stream, 'ping'), ['progress', 'progress', 'complete']);
    });
  }
});
