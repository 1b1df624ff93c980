/**
 * Run APIs of other makes, as bytes: how each one prints a run, which statuses lead to which end,
 * and how it refuses a key. They take `Authorization: Bearer` and nothing else. Acted out by the
 * one scripted upstream, on their own paths.
 */

import { raw } from './upstream.ts';
import type { Answer } from './upstream.ts';

export interface LookAlike {
  readonly name: string;
  /** Path of a run. */
  path(runId: string): string;
  /** The run in one status of `way` or `ends`: the same status, the same bytes. */
  print(runId: string, status: string): string;
  /** What a run goes through, in this order. */
  readonly way: readonly string[];
  /** Every status that ends a run, and the event that it is to become. */
  readonly ends: Readonly<Record<string, 'complete' | 'error'>>;
  /** Body of the 401. */
  readonly unauthorized: string;
}

/** The run in that status, to whoever brings the key in the right header. */
export function shown(api: LookAlike, runId: string, status: string, key: string): Answer {
  const body = api.print(runId, status);
  const isTheirs = (authorization = ''): boolean => authorization === `Bearer ${key}`;
  return ({ headers }) => (isTheirs(headers.authorization)
    ? raw(body) : raw(api.unauthorized, { status: 401 }));
}

/** One line, with numbers that no double holds. */
const prediction: LookAlike = {
  name: 'a prediction API',
  path: (runId) => `/v1/predictions/${runId}`,
  print: (runId, status) => {
    const output = status === 'succeeded' ? `["https://files.test/${runId}.png"]` : 'null';
    const error = status === 'failed' ? '"Out of memory: 1 > 0.5"' : 'null';
    return `{"id":"${runId}","model":"acme/paint","input":{"prompt":"Grüße, 世界 🌍","scale":1.0,`
      + `"seed":12345678901234567890},"logs":"a\\r\\nb\\n","output":${output},"error":${error},`
      + `"status":"${status}","urls":{"get":"https://api.test/${runId}"}}`;
  },
  way: ['starting', 'processing'],
  ends: { succeeded: 'complete', failed: 'error', canceled: 'error' },
  unauthorized: '{"title":"Unauthenticated","detail":"No valid token","status":401}',
};

const CI_ENDS = {
  success: 'complete', neutral: 'complete', skipped: 'complete',
  failure: 'error', cancelled: 'error', timed_out: 'error', stale: 'error',
  startup_failure: 'error',
} as const;

/**
 * Pretty-printed. Its `status` ends at `completed` however it went; `conclusion` says that. A run
 * that somebody must approve is `completed` too, and then goes on.
 */
const ci: LookAlike = {
  name: 'a CI API',
  path: (runId) => `/repos/acme/site/actions/runs/${runId}`,
  print: (runId, status) => {
    const isConcluded = status === 'action_required' || status in CI_ENDS;
    return `{
  "id": ${runId},
  "name": "Build",
  "status": "${isConcluded ? 'completed' : status}",
  "conclusion": ${isConcluded ? `"${status}"` : 'null'},
  "run_attempt": 1,
  "steps": [ { "name": "test", "status": "completed", "conclusion": "success" } ],
  "head_commit": { "message": "Fix\\n\\nthe build" }
}
`;
  },
  way: ['queued', 'in_progress', 'completed', 'action_required', 'in_progress'],
  ends: CI_ENDS,
  unauthorized: '{\r\n  "message": "Bad credentials"\r\n}',
};

/** Pretty-printed with CRLF. It has a `data`, but not around the run. */
const batch: LookAlike = {
  name: 'a batch API',
  path: (runId) => `/v1/batches/${runId}`,
  print: (runId, status) => [
    '{', `  "id": "${runId}",`, '  "object": "batch",',
    `  "errors": {"object": "list", "data": [{"status": "failed", "line": 3}]},`,
    `  "status": "${status}",`, '  "request_counts": {"total": 100, "completed": 95, "failed": 5},',
    '  "data": null', '}',
  ].join('\r\n'),
  way: ['validating', 'in_progress', 'finalizing', 'cancelling'],
  ends: { completed: 'complete', failed: 'error', expired: 'error', cancelled: 'error' },
  unauthorized: '{"error":{"message":"Incorrect API key","code":"invalid_api_key"}}',
};

export const LOOK_ALIKES: readonly LookAlike[] = [prediction, ci, batch];
