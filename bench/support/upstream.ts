/**
 * The run API behind runcast in the bench, as a process of its own: `GET /v1/runs/{id}` of any
 * run with any key. An entry; `contenders/polling.ts` starts it.
 *
 * To be free of a poll's phase it holds an answer until that run's next change, and answers at
 * once where a change was due since its last answer. Either way the state says when it was due,
 * so a gateway that asks late is charged for it. Without `hold` it answers what is current, at
 * once. Over its channel it says how many requests it has had.
 */

import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';
import { givenPlan, listen } from '../contenders/entries/common.ts';
import { States } from '../contenders/states.ts';

/** What it is started with, beside the plan. */
export interface UpstreamOptions {
  readonly hold: boolean;
}

/** Its answer to any message. */
export interface UpstreamCount {
  /** For runs, since its start; held ones included. */
  readonly requests: number;
}

interface Run {
  /** Of the state it was last answered with. */
  shownAt: number;
  readonly held: Set<ServerResponse>;
}

const plan = givenPlan<UpstreamOptions>();
const states = new States(plan);
const runs = new Map<string, Run>();
/** Names of runs with held answers: one timer for all looks only at these. */
const holding = new Set<string>();
let requests = 0;

const server = createServer({ keepAliveTimeout: 75_000 }, (req, res) => {
  const [, name] = /^\/v1\/runs\/([\w-]{1,128})(?:\?|$)/.exec(req.url ?? '') ?? [];
  if (req.method !== 'GET' || name === undefined) {
    res.writeHead(404).end();
    return;
  }
  requests++;
  const run = runs.get(name) ?? { shownAt: 0, held: new Set() };
  runs.set(name, run);
  const at = states.currentAt();
  if (plan.hold && at <= run.shownAt) {
    run.held.add(res);
    holding.add(name);
    res.on('close', () => run.held.delete(res));
  } else {
    run.shownAt = at;
    answer(res, states.json(name, at));
  }
});
server.maxRequestsPerSocket = 0;
listen(server);

states.follow((at) => {
  const names = [...holding];
  holding.clear();
  for (const name of names) {
    const run = runs.get(name);
    if (run === undefined || run.held.size === 0) continue;
    const json = states.json(name, at);
    run.shownAt = at;
    for (const res of run.held) answer(res, json);
    run.held.clear();
  }
});

process.on('message', () => process.send?.({ requests } satisfies UpstreamCount));

function answer(res: ServerResponse, json: string): void {
  const body = `{"data":${json}}`;
  const length = { 'content-length': body.length };
  res.writeHead(200, { 'content-type': 'application/json', ...length }).end(body);
}
