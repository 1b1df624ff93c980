/**
 * What the answers for several runs come to before there is a stream: one of them may be slow, or
 * a no, and the others are not to suffer for it.
 */

import type { Clock, Timer } from '../core/clock.ts';
import type { Refusal } from '../core/errors.ts';
import { REFUSED_ID } from '../core/event-id.ts';
import type { Admission } from '../core/run-source.ts';

/** Where one run may be seen, the stream waits no longer than this for the answers to others. */
const GRACE_MS = 500;

/** What becomes of a request for several runs. */
export type Verdict =
  | { readonly kind: 'open' }
  /** The client has all that there will ever be. */
  | { readonly kind: 'seen' }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** All answers; where one is a yes, after 500 ms those that are there: others are undefined. */
export function firstAnswers(
  asked: readonly Promise<Admission>[], clock: Clock,
): Promise<(Admission | undefined)[]> {
  const answers = asked.map((): Admission | undefined => undefined);
  return new Promise((resolve) => {
    let left = asked.length;
    let timer: Timer | undefined;
    const settle = (): void => {
      if (timer !== undefined) clock.clearTimeout(timer);
      resolve([...answers]);
    };
    for (const [i, each] of asked.entries()) {
      void each.then((answer) => {
        answers[i] = answer;
        if (--left === 0) settle();
        else if (answer.kind === 'admitted') timer ??= clock.setTimeout(settle, GRACE_MS);
      });
    }
  });
}

/** Is the run over, and has the client its end? */
export function hasSeen(answer: Admission | undefined, id: string | undefined): boolean {
  return answer?.kind === 'admitted'
    && answer.snapshot.terminal !== undefined && answer.snapshot.id === id;
}

/**
 * `ids`: what the client has of each run. A refusal of the whole request needs all runs refused: in
 * the same way for good, or what is left to tell only for now. Anything else is told in a stream.
 */
export function verdictOn(
  answers: readonly (Admission | undefined)[], ids: readonly string[],
): Verdict {
  const news = answers.filter((answer, i) => {
    const isToldNo = ids[i] === REFUSED_ID && isFinal(answer);
    return !isToldNo && !hasSeen(answer, ids[i]);
  });
  if (news.length === 0) return { kind: 'seen' };
  const refusals = news.flatMap((each) => each?.kind === 'refused' ? [each.refusal] : []);
  const [first] = refusals;
  if (first === undefined || refusals.length < news.length) return { kind: 'open' };
  const passing = refusals.filter(({ retryable }) => retryable);
  if (passing.length === refusals.length) {
    return { kind: 'refused', refusal: lastToPass(first, passing) };
  }
  const isOneNo = refusals.length === answers.length
    && refusals.every(({ status, code }) => status === first.status && code === first.code);
  return isOneNo ? { kind: 'refused', refusal: first } : { kind: 'open' };
}

function isFinal(answer: Admission | undefined): boolean {
  return answer?.kind === 'refused' && !answer.refusal.retryable;
}

/** Coming back before that would be too early for at least one. */
function lastToPass(first: Refusal, refusals: readonly Refusal[]): Refusal {
  return refusals.reduce(
    (last, each) => (each.retryAfterMs ?? 0) > (last.retryAfterMs ?? 0) ? each : last, first);
}
