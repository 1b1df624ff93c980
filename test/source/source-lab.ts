/**
 * Polls and proofs together, with all in the test's hands: the clock, and upstream's answers as
 * values, each given when the test says so. No sockets.
 */

import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';

import { jsonLogger } from '../../src/core/log.ts';
import type { Admission, Admitted, ApiKey, Watch } from '../../src/core/run-source.ts';
import { Upstream } from '../../src/source/upstream.ts';
import type { Exchange } from '../../src/source/upstream.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { within } from '../support/wait.ts';
import { reading, RUN, sourceOver, Witness } from './harness.ts';

export const POLL_MS = 2_000;

const complete = (status: number, body: string | Buffer): Exchange =>
  ({ kind: 'answer', status, headers: {}, body: Buffer.from(body) });

/** 200 with these bytes. */
export const bytes = (body: string | Buffer): Exchange => complete(200, body);
export const says = (status: string, over: Readonly<Record<string, unknown>> = {}): Exchange =>
  bytes(reading(status, over).body);
export const refuses = (status: number): Exchange => complete(status, '');

interface Asked {
  readonly runId: string;
  readonly key: string;
  /** Answers, and comes back when all that follows at once has happened. */
  answer(exchange: Exchange): Promise<void>;
}

class HandUpstream extends Upstream {
  readonly asked: Asked[] = [];

  override get(runId: string, key: ApiKey): Promise<Exchange> {
    return new Promise((resolve) => {
      const answer = async (exchange: Exchange): Promise<void> => {
        resolve(exchange);
        await turn();
      };
      this.asked.push({ runId, key: key.value, answer });
    });
  }
}

export class SourceLab {
  readonly clock = new FakeClock();
  readonly log: { level: string; msg: string; requests?: number; error?: string }[] = [];
  readonly upstream = new HandUpstream({
    url: new URL('http://upstream.test'), path: '/v1/runs/{runId}', timeoutMs: 10_000,
    maxBodyBytes: 1_000_000,
  }, this.clock);
  readonly source = sourceOver(this.upstream, {
    clock: this.clock, pollIntervalMs: POLL_MS,
    log: jsonLogger('info', this.clock, (line) => this.log.push(JSON.parse(line))),
  });

  get last(): Asked {
    return this.upstream.asked.at(-1) ?? assert.fail('nothing was asked');
  }

  get count(): number {
    return this.upstream.asked.length;
  }

  /** Without a request where no answer is given, with one where one is. */
  async admission(key: ApiKey, answer?: Exchange, runId = RUN): Promise<Admission> {
    const before = this.count;
    const admission = this.source.admit(runId, key);
    assert.equal(this.count, before + (answer === undefined ? 0 : 1), `requests for ${key.value}`);
    if (answer !== undefined) await this.last.answer(answer);
    return within(1_000, `the admission of ${key.value}`, admission);
  }

  async admit(key: ApiKey, answer?: Exchange, runId = RUN): Promise<Admitted> {
    const admission = await this.admission(key, answer, runId);
    if (admission.kind === 'refused') assert.fail(`${key.value}: ${admission.refusal.code}`);
    return admission;
  }

  /** The status that `key` is shown as it comes. */
  async statusFor(key: ApiKey, answer?: Exchange, runId = RUN): Promise<string> {
    return (await this.admit(key, answer, runId)).snapshot.status;
  }

  async join(key: ApiKey, answer?: Exchange): Promise<{ witness: Witness; watch: Watch }> {
    const witness = new Witness();
    return { witness, watch: this.source.watch(await this.admit(key, answer), witness) };
  }

  /** Time goes on to the next poll, which is under way then. */
  toPoll(): void {
    const before = this.count;
    this.clock.advance(this.clock.nextInMs ?? assert.fail('no poll is due'));
    assert.equal(this.count, before + 1, 'a poll');
  }

  async poll(...answers: readonly Exchange[]): Promise<void> {
    for (const answer of answers) {
      this.toPoll();
      await this.last.answer(answer);
    }
  }
}
