/** A hub with a stream of several runs in it, whose answers a test gives. */

import { refuse } from '../../src/core/errors.ts';
import type { ErrorCode } from '../../src/core/errors.ts';
import type { Snapshot } from '../../src/core/execution.ts';
import type { Admission } from '../../src/core/run-source.ts';
import type { StreamPolicy } from '../../src/hub/stream.ts';
import { FakeSink } from '../support/fake-sink.ts';
import { admittedAs, snapshotOf } from '../support/fake-source.ts';
import { House } from './harness.ts';

export const step = (runId: string, n = 0): Snapshot => snapshotOf(runId, 'running', { step: n });
export const over = (runId: string, status = 'completed'): Snapshot => snapshotOf(runId, status);
export const joined = (...states: (Snapshot | string)[]): string =>
  states.map((each) => typeof each === 'string' ? each : each.id).join('.');

/** A house with a bundle in it; `answers` are the answers to every question, by run. */
export class Lab extends House {
  sink = new FakeSink();
  readonly answers = new Map<string, Admission>();
  readonly asked: string[] = [];
  /** Places that were given back. */
  readonly left: string[] = [];

  yes(snapshot: Snapshot): this {
    const { runId } = snapshot;
    const leave = (): void => void this.left.push(runId);
    this.answers.set(runId, { ...admittedAs('lma_a', snapshot), leave });
    return this;
  }

  no(runId: string, code: ErrorCode, retryAfterMs?: number): this {
    const timed = retryAfterMs === undefined ? {} : { retryAfterMs };
    this.answers.set(runId, { kind: 'refused', refusal: refuse(code, timed) });
    return this;
  }

  /** Follows all that there is an answer for; over another connection once the first is gone. */
  open(lastEventId?: string): this {
    const wanted = [...this.answers].map(([runId, answer]) => ({
      runId, answer, answered: Promise.resolve(answer),
      ask: async () => {
        this.asked.push(runId);
        return this.answers.get(runId) ?? answer;
      },
    }));
    if (this.sink.isClosed) this.sink = new FakeSink();
    this.hub.bundle(wanted, { sink: this.sink, requestId: 'req_1', lastEventId });
    return this;
  }

  /** Event and run of all so far: `progress a`. */
  get told(): string[] {
    return this.sink.events.map(({ event, data }) => {
      const { runId } = JSON.parse(data) as { runId?: string };
      return runId === undefined ? event : `${event} ${runId}`;
    });
  }

  get lastId(): string | undefined {
    return this.sink.last?.id;
  }

  static running(...runIds: string[]): Lab {
    const lab = new Lab();
    for (const runId of runIds) lab.yes(step(runId));
    return lab;
  }

  static with(policy: Partial<StreamPolicy>, ...runIds: string[]): Lab {
    const lab = new Lab(policy);
    for (const runId of runIds) lab.yes(step(runId));
    return lab;
  }
}
