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
import type { Admission, ApiKey, Refused } from '../core/run-source.ts';
import type { Answer, Reading, Shown } from './answer.ts';

/** How long upstream's yes and no to a key are believed. */
const YES_MS = 60_000;
const NO_MS = 5_000;
/** Requests for a proof under way at once; above it newcomers are told to come back. */
const MAX_PENDING = 2000;
/** Proofs kept at most, and characters of run state kept with them; the oldest go first. */
const MAX_PROOFS = 50_000;
const MAX_CHARS = 64 * 1024 * 1024;

type Proof =
  | { readonly kind: 'yes'; readonly until: number; readonly shown: Shown }
  | { readonly kind: 'no'; readonly until: number; readonly since: number;
      readonly refusal: Refusal };

/** What admissions need of their surroundings. */
export interface AdmissionPolicy {
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** A state this young is shown to a newcomer without asking again: one poll interval. */
  readonly freshMs: number;
  fetch(runId: string, key: ApiKey, known: Reading | undefined): Promise<Answer>;
  /** The newest state of a live poller that serves `key`, to which `shown` was shown. */
  live(shown: Shown): Snapshot | undefined;
  /** Upstream has just shown the run to a newcomer. */
  onShown(shown: Shown): void;
}

/** The proofs of all runs and keys. */
export class Admissions {
  readonly #policy: AdmissionPolicy;
  readonly #pending = new Map<string, Promise<Admission>>();
  /** Oldest first: an entry that is renewed goes to the end. */
  readonly #proofs = new Map<string, Proof>();
  #chars = 0;

  constructor(policy: AdmissionPolicy) {
    this.#policy = policy;
  }

  /** Requests under way, and proofs remembered. */
  get size(): { pending: number; proofs: number } {
    return { pending: this.#pending.size, proofs: this.#proofs.size };
  }

  async admit(runId: string, key: ApiKey): Promise<Admission> {
    const name = nameOf(runId, key);
    const remembered = this.#remembered(name);
    if (remembered !== undefined) return remembered;
    const pending = this.#pending.get(name);
    if (pending !== undefined) return pending;
    if (this.#pending.size >= MAX_PENDING) {
      this.#policy.metrics.count('runcast_limit_total', 'proofs');
      return refused(refuse('RESOURCE_UNAVAILABLE', { error: 'Too many joins are under way' }));
    }
    const asking = this.#ask(runId, key).finally(() => this.#pending.delete(name));
    this.#pending.set(name, asking);
    return asking;
  }

  /** The state that was last shown to this key, while its yes holds. */
  shownTo(runId: string, key: ApiKey): Shown | undefined {
    const proof = this.#proof(nameOf(runId, key));
    return proof?.kind === 'yes' ? proof.shown : undefined;
  }

  /** Upstream said yes, to a proof or to a poll. */
  renew(shown: Shown): void {
    const name = nameOf(shown.runId, shown.key);
    const before = this.#proof(name);
    // A slow yes may be older than a no that came meanwhile.
    if (before?.kind === 'no' && before.since > shown.askedAt) return;
    this.#remember(name, { kind: 'yes', until: shown.askedAt + YES_MS, shown });
  }

  deny(runId: string, key: ApiKey, refusal: Refusal): void {
    const since = this.#policy.clock.now();
    const until = since + NO_MS;
    this.#remember(nameOf(runId, key), { kind: 'no', until, since, refusal });
  }

  /** The run is over: a key whose yes still holds is shown the end without asking again. */
  settle(runId: string, key: ApiKey, reading: Reading): void {
    const name = nameOf(runId, key);
    const proof = this.#proof(name);
    if (proof?.kind !== 'yes') return;
    this.#remember(name, { ...proof, shown: { ...proof.shown, reading } });
  }

  #remembered(name: string): Admission | undefined {
    const proof = this.#proof(name);
    if (proof === undefined) return undefined;
    if (proof.kind === 'no') return refused(proof.refusal);
    const { shown } = proof;
    const { snapshot } = shown.reading;
    const { clock, freshMs, live } = this.#policy;
    const isFresh = snapshot.terminal !== undefined || clock.now() - shown.askedAt < freshMs;
    const newest = live(shown) ?? (isFresh ? snapshot : undefined);
    return newest && admitted(shown, newest);
  }

  async #ask(runId: string, key: ApiKey): Promise<Admission> {
    const { clock, fetch, live, onShown } = this.#policy;
    const askedAt = clock.now();
    const answer = await fetch(runId, key, this.shownTo(runId, key)?.reading);
    switch (answer.kind) {
      case 'state': {
        const shown = { runId, key, reading: answer.reading, askedAt };
        this.renew(shown);
        onShown(shown);
        return admitted(shown, live(shown) ?? answer.reading.snapshot);
      }
      case 'refused':
        this.deny(runId, key, answer.refusal);
        return refused(answer.refusal);
      case 'trouble':
        return refused(answer.refusal);
    }
  }

  #proof(name: string): Proof | undefined {
    const proof = this.#proofs.get(name);
    if (proof === undefined || proof.until > this.#policy.clock.now()) return proof;
    this.#forget(name, proof);
    return undefined;
  }

  #remember(name: string, proof: Proof): void {
    const before = this.#proofs.get(name);
    if (before !== undefined) this.#forget(name, before);
    this.#proofs.set(name, proof);
    this.#chars += charsOf(proof);
    const now = this.#policy.clock.now();
    for (const [oldName, old] of this.#proofs) {
      const isOver = this.#proofs.size > MAX_PROOFS || this.#chars > MAX_CHARS;
      if (!isOver && old.until > now) break;
      this.#forget(oldName, old);
    }
  }

  #forget(name: string, proof: Proof): void {
    this.#proofs.delete(name);
    this.#chars -= charsOf(proof);
  }
}

/** A run id holds no blank, so the two cannot run into each other. */
const nameOf = (runId: string, key: ApiKey): string => `${runId} ${key.value}`;

const refused = (refusal: Refusal): Refused => ({ kind: 'refused', refusal });

const admitted = ({ runId, key }: Shown, snapshot: Snapshot): Admission =>
  ({ kind: 'admitted', runId, key, snapshot });

/** The body and the text of it are both held. */
function charsOf(proof: Proof): number {
  return proof.kind === 'yes' ? 2 * proof.shown.reading.body.length : 0;
}
