/**
 * The RunSource and the Intake of a worker: asks the primary, which holds the pollers, the proofs
 * and the limits. Nothing downstream can tell it from polling.
 */

import assert from 'node:assert';

import type { Clock, Timer } from '../core/clock.ts';
import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import type { Pass, Settled, Toll } from '../core/forward.ts';
import type { Delivery, Intake } from '../core/intake.ts';
import type {
  Admission, Admitted, ApiKey, Purpose, RunObserver, RunSource, Watch,
} from '../core/run-source.ts';
import type { Trace } from '../core/trace.ts';
import type { Machine, Stats } from '../core/machine.ts';
import { Followed, isFollowing } from './followed.ts';
import type { Following } from './followed.ts';
import type { FromPrimary, FromWorker, Port } from './messages.ts';

type Told = Extract<FromPrimary, { kind: 'stats' | 'metrics' | 'pushed' | 'entered' }>;

interface Asked {
  readonly runId: string;
  readonly key: ApiKey;
  readonly timer: Timer;
  readonly resolve: (admission: Admission) => void;
}

interface Question {
  readonly timer: Timer;
  readonly resolve: (told: Told | undefined) => void;
}

const CLOSED: Admission = {
  kind: 'refused',
  refusal: refuse('RESOURCE_UNAVAILABLE', { error: 'The gateway is shutting down' }),
};
const SILENT = refuse('RESOURCE_UNAVAILABLE', { error: 'The gateway does not answer itself' });
const SILENCE: Admission = { kind: 'refused', refusal: SILENT };

/** Numbers are at hand, and who probes gives up after a second. */
const TELL_TIMEOUT_MS = 800;

/** The source behind every gateway in a worker. */
export class IpcSource implements RunSource, Intake, Machine, Toll {
  readonly #port: Port<FromWorker, FromPrimary>;
  readonly #clock: Clock;
  readonly #admitTimeoutMs: number;
  readonly #asked = new Map<number, Asked>();
  readonly #questions = new Map<number, Question>();
  readonly #followed = new Map<number, Followed>();
  #n = 0;
  /** From a send that found no room until that has left. */
  #isFull = false;
  #isClosed = false;

  /** `admitTimeoutMs`: after it a primary that stands still is given up; upstream's is in it. */
  constructor(port: Port<FromWorker, FromPrimary>, clock: Clock, admitTimeoutMs: number) {
    this.#port = port;
    this.#clock = clock;
    this.#admitTimeoutMs = admitTimeoutMs;
  }

  /** Takes the primary's messages; those that are not for a source are left alone. */
  onMessage(message: FromPrimary): void {
    switch (message.kind) {
      case 'admitted':
        return this.#onAdmitted(message);
      case 'refused':
        this.#take(message.n)?.resolve({ kind: 'refused', refusal: message.refusal });
        return undefined;
      case 'snapshot':
        this.#followed.get(message.watch)?.onSnapshot(message.snapshot);
        if (message.snapshot.terminal !== undefined) this.#followed.delete(message.watch);
        return undefined;
      case 'ended':
        this.#followed.delete(message.watch);
        return undefined;
      case 'lost':
        return this.#followed.get(message.watch)?.onLost(message.key, message.loss);
      case 'stats': case 'metrics': case 'pushed': case 'entered':
        return this.#settle(message.n, message);
      case 'start': case 'accept': case 'drain':
        return undefined;
    }
  }

  admit(
    runId: string, key: ApiKey, purpose: Purpose = 'follow', trace?: Trace,
  ): Promise<Admission> {
    if (this.#isClosed) return Promise.resolve(CLOSED);
    const n = ++this.#n;
    return new Promise((resolve) => {
      const timer = this.#clock.setTimeout(
        () => this.#take(n)?.resolve(SILENCE), this.#admitTimeoutMs,
      );
      this.#asked.set(n, { runId, key, timer, resolve });
      this.#port.send({ kind: 'admit', n, runId, key, purpose, ...trace && { trace } });
    });
  }

  watch(admitted: Admitted, observer: RunObserver): Watch {
    if (!isFollowing(admitted)) throw new Error('watched what this source did not admit');
    return admitted.followed.watch(admitted, observer);
  }

  /** A hint, of which anybody may send any number: while the channel is full it is dropped. */
  poke(runId: string): void {
    if (this.#isFull || this.#isClosed) return;
    this.#isFull = !this.#port.send({ kind: 'poke', runId }, () => (this.#isFull = false));
  }

  publish(runId: string, body: Buffer): Promise<Refusal | undefined> {
    const text = body.toString('base64');
    return this.#push((n) => ({ kind: 'publish', n, runId, body: text }));
  }

  deliver({ runId, timestamp, signature, body }: Delivery): Promise<Refusal | undefined> {
    const text = body.toString('base64');
    return this.#push((n) => ({ kind: 'deliver', n, runId, timestamp, signature, body: text }));
  }

  /** The budget is the primary's. */
  async enter(): Promise<Pass | Refusal> {
    const told = await this.#question((n) => ({ kind: 'enter', n }), this.#admitTimeoutMs);
    if (told?.kind !== 'entered') return SILENT;
    const { n, refusal } = told;
    return refusal ?? ((settled) => {
      this.#port.send({ kind: 'passed', n, ...settled && { settled: limitsOf(settled) } });
    });
  }

  /** Of the whole machine, as the primary counts them. */
  async stats(): Promise<Stats | undefined> {
    const told = await this.#question((n) => ({ kind: 'stats', n }));
    return told?.kind === 'stats' ? told.stats : undefined;
  }

  /** Of the whole machine, as text. */
  async metrics(): Promise<string | undefined> {
    const told = await this.#question((n) => ({ kind: 'metrics', n }));
    return told?.kind === 'metrics' ? told.text : undefined;
  }

  /** The primary is gone, or is let go: nobody gets an answer any more. */
  close(): void {
    this.#isClosed = true;
    for (const n of [...this.#asked.keys()]) this.#take(n)?.resolve(CLOSED);
    for (const n of [...this.#questions.keys()]) this.#settle(n);
    this.#followed.clear();
  }

  async #push(message: (n: number) => FromWorker): Promise<Refusal | undefined> {
    const told = await this.#question(message, this.#admitTimeoutMs);
    return told?.kind === 'pushed' ? told.refusal : SILENT;
  }

  #question(
    message: (n: number) => FromWorker, timeoutMs = TELL_TIMEOUT_MS,
  ): Promise<Told | undefined> {
    if (this.#isClosed) return Promise.resolve(undefined);
    const n = ++this.#n;
    return new Promise((resolve) => {
      const timer = this.#clock.setTimeout(() => this.#settle(n), timeoutMs);
      this.#questions.set(n, { timer, resolve });
      this.#port.send(message(n));
    });
  }

  #settle(n: number, told?: Told): void {
    const question = this.#questions.get(n);
    this.#questions.delete(n);
    if (question === undefined) {
      // A place that comes too late is not used.
      if (told?.kind === 'entered' && !told.refusal) this.#port.send({ kind: 'passed', n });
      return;
    }
    this.#clock.clearTimeout(question.timer);
    question.resolve(told);
  }

  /** Of each admission asked for, one answer is taken. */
  #take(n: number): Asked | undefined {
    const asked = this.#asked.get(n);
    this.#asked.delete(n);
    if (asked !== undefined) this.#clock.clearTimeout(asked.timer);
    return asked;
  }

  #onAdmitted(message: Extract<FromPrimary, { kind: 'admitted' }>): void {
    const { n, watch } = message;
    const asked = this.#take(n);
    const leave = (): void => void this.#port.send({ kind: 'leave', n });
    // Also of an answer that comes too late: the next one to this watch may lean on its state.
    const followed = this.#followed.get(watch) ?? new Followed();
    if (watch > 0) this.#followed.set(watch, followed);
    if (message.snapshot) followed.onSnapshot(message.snapshot);
    if (asked === undefined) return leave();
    const { runId, key, resolve } = asked;
    const { newest: snapshot } = followed;
    assert(snapshot, 'the first admission to a watch brings its state');
    const losses = followed.losses(key.value);
    const admission: Following = {
      kind: 'admitted', runId, key, snapshot, leave, followed, losses,
    };
    return resolve(admission);
  }
}

/** Of a head, what tells of limits: the rest may be large, and is nobody's business. */
function limitsOf({ status, headers }: Settled): Settled {
  const limits = Object.entries(headers)
    .filter(([name]) => /ratelimit|^(?:retry-after|date)$/.test(name));
  return { status, headers: Object.fromEntries(limits) };
}
