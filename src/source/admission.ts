/**
 * Proofs that a key may see a run: upstream's own answer to that key, asked for once however many
 * clients wait for it, and remembered for a while. Nobody is admitted on somebody else's proof.
 * Where a live poller already follows the run, a proof is all that a newcomer needs.
 */

import type { Clock } from '../core/clock.ts';
import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import type { Snapshot } from '../core/execution.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Admission, ApiKey, Purpose, Refused } from '../core/run-source.ts';
import type { Trace } from '../core/trace.ts';
import { readAtOf } from './answer.ts';
import type { Answer, Shown } from './answer.ts';
import { Memory } from './memory.ts';
import type { Asked } from './run-api.ts';

/** How long upstream's yes and no to a key are believed. */
const YES_MS = 60_000;
const NO_MS = 5_000;
/** Requests for a proof under way at once; above it newcomers are told to come back. */
const MAX_PENDING = 2000;
/** Apart from each other, so that invented keys cannot push good ones out. */
const YES_LIMITS = { entries: 50_000, chars: 64 * 1024 * 1024 };
const NO_LIMITS = { entries: 10_000, chars: Infinity };

interface Yes {
  readonly shown: Shown;
  /** When this key itself was last shown the run; the state may be newer. */
  readonly provedAt: number;
}

interface Denial {
  readonly askedAt: number;
  readonly refusal: Refusal;
}

/** What a live poller knows. */
export interface Live {
  readonly snapshot: Snapshot;
  /** When it came (monotonic ms). Polls come an interval apart, so between two it is fresh. */
  readonly seenAt: number;
}

/** What admissions need of their surroundings. */
export interface AdmissionPolicy {
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** A state this young is shown to a newcomer without asking again: one poll interval. */
  readonly freshMs: number;
  fetch(...asked: Asked): Promise<Answer>;
  /** Of a live poller that serves `key`, to which `shown` was shown. */
  live(shown: Shown): Live | undefined;
  /** Upstream has just shown the run to a newcomer. */
  onShown(shown: Shown): void;
}

/** The proofs of all runs and keys. */
export class Admissions {
  readonly #policy: AdmissionPolicy;
  readonly #pending = new Map<string, Promise<Admission>>();
  readonly #yes: Memory<Yes>;
  readonly #no: Memory<Denial>;

  constructor(policy: AdmissionPolicy) {
    this.#policy = policy;
    this.#yes = new Memory(policy.clock, YES_LIMITS);
    this.#no = new Memory(policy.clock, NO_LIMITS);
  }

  /** Requests under way, and proofs remembered. */
  get size(): { pending: number; proofs: number } {
    return { pending: this.#pending.size, proofs: this.#yes.size + this.#no.size };
  }

  async admit(
    runId: string, key: ApiKey, purpose: Purpose = 'follow', trace?: Trace,
  ): Promise<Admission> {
    const name = nameOf(runId, key);
    const remembered = this.#remembered(name, purpose);
    if (remembered !== undefined) return remembered;
    const pending = this.#pending.get(name);
    if (pending !== undefined) return pending;
    if (this.#pending.size >= MAX_PENDING) {
      this.#policy.metrics.count('runcast_limit_total', 'proofs');
      return refused(refuse('RESOURCE_UNAVAILABLE', { error: 'Too many joins are under way' }));
    }
    const asking = this.#ask(runId, key, trace).finally(() => this.#pending.delete(name));
    this.#pending.set(name, asking);
    return asking;
  }

  /** The state that was last shown to this key, while its yes holds. */
  shownTo(runId: string, key: ApiKey): Shown | undefined {
    return this.#yes.get(nameOf(runId, key))?.shown;
  }

  /** Upstream said yes, to a proof or to a poll. What was asked for later counts. */
  renew(shown: Shown): void {
    const name = nameOf(shown.runId, shown.key);
    if ((this.#no.get(name)?.askedAt ?? -Infinity) > shown.askedAt) return;
    this.#no.delete(name);
    const before = this.#yes.get(name);
    const provedAt = Math.max(shown.askedAt, before?.provedAt ?? -Infinity);
    const isNewer = before !== undefined && readAtOf(before.shown) > readAtOf(shown)
      && before.shown.reading.snapshot.identity === shown.reading.snapshot.identity;
    this.#believe(name, { shown: isNewer ? before.shown : shown, provedAt });
  }

  /** Upstream said no, to what was asked for at `askedAt`. False: a later yes stands. */
  deny(runId: string, key: ApiKey, refusal: Refusal, askedAt: number): boolean {
    const name = nameOf(runId, key);
    if ((this.#yes.get(name)?.provedAt ?? -Infinity) > askedAt) return false;
    this.#yes.delete(name);
    if ((this.#no.get(name)?.askedAt ?? -Infinity) > askedAt) return true;
    this.#no.set(name, { askedAt, refusal }, this.#policy.clock.now() + NO_MS, 0);
    return true;
  }

  /** What its poller knew when `key` left it: no state is shown to the key after a newer one. */
  settle(shown: Shown): void {
    const name = nameOf(shown.runId, shown.key);
    const provedAt = this.#yes.get(name)?.provedAt;
    if (provedAt !== undefined) this.#believe(name, { shown, provedAt });
  }

  #believe(name: string, yes: Yes): void {
    this.#yes.set(name, yes, yes.provedAt + YES_MS, charsOf(yes.shown));
  }

  #remembered(name: string, purpose: Purpose): Admission | undefined {
    const denial = this.#no.get(name);
    if (denial !== undefined) return refused(denial.refusal);
    const shown = this.#yes.get(name)?.shown;
    if (shown === undefined) return undefined;
    const { clock, freshMs, live } = this.#policy;
    const lives = live(shown);
    // Who is going to follow hears of what is newer as soon as the poller does.
    if (lives !== undefined && purpose === 'follow') return admitted(shown, lives.snapshot);
    const { snapshot, seenAt } = lives
      ?? { snapshot: shown.reading.snapshot, seenAt: readAtOf(shown) };
    const isFresh = snapshot.terminal !== undefined || clock.now() - seenAt < freshMs;
    return isFresh ? admitted(shown, snapshot) : undefined;
  }

  async #ask(runId: string, key: ApiKey, trace: Trace | undefined): Promise<Admission> {
    const { clock, fetch, live, onShown } = this.#policy;
    const askedAt = clock.now();
    const answer = await fetch(runId, key, this.shownTo(runId, key)?.reading, trace);
    switch (answer.kind) {
      case 'state': {
        const shown = { runId, key, reading: answer.reading, askedAt };
        this.renew(shown);
        onShown(shown);
        const denial = this.#no.get(nameOf(runId, key));
        if (denial !== undefined) return refused(denial.refusal);
        return admitted(shown, live(shown)?.snapshot ?? answer.reading.snapshot);
      }
      case 'refused':
        this.deny(runId, key, answer.refusal, askedAt);
        return refused(answer.refusal);
      case 'trouble':
        return refused(answer.refusal);
    }
  }
}

/** A run id holds no blank, so the two cannot run into each other. */
const nameOf = (runId: string, key: ApiKey): string => `${runId} ${key.value}`;

const refused = (refusal: Refusal): Refused => ({ kind: 'refused', refusal });

const admitted = ({ runId, key }: Shown, snapshot: Snapshot): Admission =>
  ({ kind: 'admitted', runId, key, snapshot });

/** Text outside of Latin-1 takes two bytes a character. */
const charsOf = ({ reading }: Shown): number => 2 * reading.snapshot.data.length;
