/** What an event of a stream says: of which run it is, its state, or that access was lost. Pure. */

import { NO_ID, splitId } from '../core/event-id.ts';
import type { RunState } from './events.ts';

/**
 * Whose state has come: that of the run whose place in the joined ids has changed, for a state
 * need not name its run. What it names counts only where more places or none have changed.
 */
export function whoseState(
  runIds: readonly string[], lastId: string, id: string, named: unknown,
): string | undefined {
  if (runIds.length === 1) return runIds[0];
  const before = splitId(lastId, runIds.length);
  const now = splitId(id, runIds.length);
  // A gateway that was not told where we are begins with places that have no id yet.
  const changed = runIds.filter((_, i) => now[i] !== before[i] && now[i] !== NO_ID);
  return changed.length === 1 ? changed[0] : runIds.find((runId) => runId === named);
}

/** An object, or undefined for anything else. */
export function objectOf(json: string): RunState | undefined {
  try {
    const value: unknown = JSON.parse(json);
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isObject ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

/** Access that was lost, or a run that is gone. */
export interface Loss {
  readonly code: string;
  readonly errorMessage: string;
  readonly requestId: string;
}

/** Just what the gateway says itself: a state may have a code and a request id too. */
export function isLoss(data: RunState): data is RunState & Loss {
  const { runId, errorMessage, error, code, retryable, requestId, ...others } = data;
  const texts = [runId, errorMessage, error, code, requestId];
  return texts.every((text) => typeof text === 'string') && error === errorMessage
    && retryable === false && Object.keys(others).length === 0;
}
