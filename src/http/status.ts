/** `GET /v1/runs/{runId}`: one look at a run, for those who keep asking. */

import type { Snapshot } from '../core/execution.ts';
import type { Entrance } from './entrance.ts';
import type { Exchange } from './exchange.ts';
import { matchesTag } from './headers.ts';

/** Answers with the state, or with 304 to a client that has it. */
export async function answerStatus(
  exchange: Exchange, runId: string, entrance: Entrance,
): Promise<void> {
  const key = entrance.keyOf(exchange, runId);
  if (key === undefined) return;
  const admitted = await entrance.admit(exchange, runId, key, 'look');
  if (admitted === undefined) return;
  admitted.leave?.();
  const { snapshot } = admitted;
  const headers = {
    'etag': `"${snapshot.id}"`,
    // To be kept, but shown to nobody without asking: the tag says whether it still holds.
    'cache-control': 'private, no-cache',
    'vary': 'x-api-key, authorization',
  };
  if (matchesTag(exchange.request, snapshot.id)) exchange.notModified(headers);
  else exchange.json(200, stateBody(snapshot), headers);
}

/** Upstream's own JSON in its envelope: not printed again, so it is what upstream said. */
export function stateBody({ data }: Snapshot, isTimeout = false): string {
  return `{"data":${data}${isTimeout ? ',"timeout":true' : ''}}`;
}
