/** Paths and queries of the doctor into routes, as values. Pure. */

import { refuse } from '../core/errors.ts';
import type { Refusal } from '../core/errors.ts';
import { MAX_PROBE_SECONDS, MIN_GAP_MS, NONCE, PROBE_PATHS } from '../doctor/probes.ts';

/** What of the doctor a request is for. A nonce is null where there is none, or no proper one. */
export type DoctorRoute =
  | { readonly kind: 'doctor' | 'doctor-facts'; readonly nonce: string | null }
  | {
    readonly kind: 'doctor-stream';
    readonly nonce: string | null;
    /** From one event to the next. */
    readonly gapMs: number;
    /** Until the last one. */
    readonly lengthMs: number;
    /** Compressed, where the request allows it. */
    readonly isPacked: boolean;
  }
  | { readonly kind: 'doctor-script'; readonly name: string }
  | { readonly kind: 'refused'; readonly refusal: Refusal; readonly allow?: string };

const SCRIPTS = '/doctor/js/';
const DEFAULT_GAP_MS = 250;
const DEFAULT_SECONDS = 3;

/** Undefined: it is not for the doctor. */
export function parseDoctorRoute(path: string, query: URLSearchParams): DoctorRoute | undefined {
  const given = query.get('nonce');
  const nonce = given !== null && NONCE.test(given) ? given : null;
  switch (path) {
    case '/doctor':
      return { kind: 'doctor', nonce };
    case `/${PROBE_PATHS.facts}`:
      return { kind: 'doctor-facts', nonce };
    case `/${PROBE_PATHS.stream}`:
      return streamRoute(nonce, query);
    default:
      if (!path.startsWith(SCRIPTS)) return undefined;
      return { kind: 'doctor-script', name: path.slice(SCRIPTS.length) };
  }
}

function streamRoute(nonce: string | null, query: URLSearchParams): DoctorRoute {
  const gapMs = numberOf(query.get('gapMs') ?? `${DEFAULT_GAP_MS}`);
  const seconds = numberOf(query.get('seconds') ?? `${DEFAULT_SECONDS}`);
  const lengthMs = seconds * 1000;
  const isBounded = gapMs >= MIN_GAP_MS && gapMs <= MAX_PROBE_SECONDS * 1000
    && lengthMs >= MIN_GAP_MS && seconds <= MAX_PROBE_SECONDS;
  if (!isBounded) {
    const error = `gapMs is ${MIN_GAP_MS} or more, seconds up to ${MAX_PROBE_SECONDS}`;
    return { kind: 'refused', refusal: refuse('VALIDATION_ERROR', { error }) };
  }
  return { kind: 'doctor-stream', nonce, gapMs, lengthMs, isPacked: query.get('gzip') === '1' };
}

/** NaN where it is no plain number. */
function numberOf(text: string): number {
  return /^\d{1,6}(?:\.\d{1,3})?$/.test(text) ? Number(text) : NaN;
}
