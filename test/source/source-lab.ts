/**
 * Polls and proofs together, with all in the test's hands: the clock, and upstream's answers as
 * values, each given when the test says so. No sockets.
 */

import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';

import { jsonLogger } from '../../src/core/log.ts';
import type { Admission, Admitted, ApiKey, Watch } from '../../src/core/run-source.ts';
import type { Reading } from '../../src/source/answer.ts';
import type { Driver, DriverOptions } from '../../src/source/driver.ts';
import type { PollingSource } from '../../src/source/polling-source.ts';
import type { Rate } from '../../src/source/quota.ts';
import type { StreamListener } from '../../src/source/stream-request.ts';
import { Upstream } from '../../src/source/upstream.ts';
import type { Exchange, Extra } from '../../src/source/upstream.ts';
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
  /** What follows the run's path. */
  readonly suffix: string;
  /** Answers, and comes back when all that follows at once has happened. */
  answer(exchange: Exchange): Promise<void>;
}

/** A stream that was opened: what upstream says in it is the test's. */
export class Opened {
  readonly runId: string;
  readonly key: string;
  readonly lastEventId: string;
  isClosed = false;
  readonly #listener: StreamListener;
  #hasHead = false;

  constructor(runId: string, key: string, lastEventId: string, listener: StreamListener) {
    this.runId = runId;
    this.key = key;
    this.lastEventId = lastEventId;
    this.#listener = listener;
  }

  async head(status: number, headers: Readonly<Record<string, string>> = {}): Promise<void> {
    this.#hasHead = true;
    this.#listener.onHead({ kind: 'answer', status, headers, body: Buffer.alloc(0) });
    await turn();
  }

  async opens(headers: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.head(200, { 'content-type': 'text/event-stream; charset=utf-8', ...headers });
  }

  /** After a head, if there was none yet. */
  async sends(bytes: string | Buffer): Promise<void> {
    if (!this.#hasHead) await this.opens();
    this.#listener.onBytes(Buffer.from(bytes));
    await turn();
  }

  /** Its id is upstream's own, and means nothing here. */
  async event(type: string, data: string): Promise<void> {
    await this.sends(`event: ${type}\nid: theirs\ndata: ${data}\n\n`);
  }

  async state(of: Reading, type = 'progress'): Promise<void> {
    await this.event(type, of.snapshot.data);
  }

  async ping(): Promise<void> {
    await this.event('ping', '1767225600');
  }

  async ends(why?: string): Promise<void> {
    this.#listener.onEnd(why);
    await turn();
  }

  close(): void {
    if (!this.#hasHead && !this.isClosed) {
      this.#listener.onHead({ kind: 'broken', why: 'closed' });
    }
    this.isClosed = true;
  }
}

class HandUpstream extends Upstream {
  readonly asked: Asked[] = [];
  readonly opened: Opened[] = [];

  override open(
    runId: string, key: ApiKey, suffix: string, lastEventId: string, listener: StreamListener,
  ): () => void {
    assert.equal(suffix, '/stream');
    const opened = new Opened(runId, key.value, lastEventId, listener);
    this.opened.push(opened);
    return () => opened.close();
  }

  override get(runId: string, key: ApiKey, { suffix = '' }: Extra = {}): Promise<Exchange> {
    return new Promise((resolve) => {
      const answer = async (exchange: Exchange): Promise<void> => {
        resolve(exchange);
        await turn();
      };
      this.asked.push({ runId, key: key.value, suffix, answer });
    });
  }
}

/** What varies between labs. */
export interface LabOptions {
  readonly driver?: (options: DriverOptions) => Driver;
  readonly rate?: Rate;
  readonly random?: () => number;
}

export class SourceLab {
  readonly clock = new FakeClock();
  readonly log: { level: string; msg: string; requests?: number; error?: string }[] = [];
  readonly upstream = new HandUpstream({
    url: new URL('http://upstream.test'), path: '/v1/runs/{runId}', timeoutMs: 10_000,
    maxBodyBytes: 1_000_000,
  }, this.clock);
  readonly source: PollingSource;

  constructor(options: LabOptions = {}) {
    this.source = sourceOver(this.upstream, {
      clock: this.clock, pollIntervalMs: POLL_MS, ...options,
      log: jsonLogger('info', this.clock, (line) => this.log.push(JSON.parse(line))),
    });
  }

  /** The stream that was opened last. */
  get stream(): Opened {
    return this.upstream.opened.at(-1) ?? assert.fail('no stream was opened');
  }

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
