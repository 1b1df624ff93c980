/**
 * The least that asking can be: `http.get` over connections that stay open, the body read into
 * one Buffer and forgotten; whatever is the same for each request is made once. Client n asks for
 * run bench-(n % runs), each beginning a little later than the one before, as streams that join.
 * Prints `polling` once each client has had an answer.
 */

import { Agent, get } from 'node:http';
import type { IncomingMessage, RequestOptions } from 'node:http';
import { endWithStarter } from './common.ts';

/** What it is started with. */
export interface BareGetPlan {
  readonly origin: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly clients: number;
  readonly runs: number;
  readonly intervalMs: number;
  /** From one client's first request to the next one's. */
  readonly apartMs: number;
  /** And up to this much more, at random. */
  readonly jitterMs: number;
}

/** Runcast's own. */
const AGENT = { keepAlive: true, maxSockets: 512, maxFreeSockets: 256 };

const plan = JSON.parse(process.argv[2] ?? '') as BareGetPlan;
const { clients, runs, intervalMs, apartMs, jitterMs } = plan;
const { hostname, port } = new URL(plan.origin);
const agent = new Agent(AGENT);
const headers = { accept: 'application/json', ...plan.headers };
let answered = 0;
/** The last body: read, not used. */
export let body: Buffer;

const onEnd = (response: IncomingMessage, chunks: readonly Buffer[]): void => {
  body = Buffer.concat(chunks);
  if (response.statusCode !== 200) process.stderr.write(`upstream: ${response.statusCode}\n`);
  if (++answered === clients) process.stdout.write('polling\n');
};

const ask = (options: RequestOptions): void => {
  get(options, (response) => {
    const chunks: Buffer[] = [];
    response.on('data', (chunk: Buffer) => chunks.push(chunk));
    response.on('end', () => onEnd(response, chunks));
  }).on('error', (error) => process.stderr.write(`${String(error)}\n`));
};

/** At `dueMs`, and an interval later, and so on; a late one does not make the others late. */
const askFrom = (options: RequestOptions, dueMs: number): void => {
  setTimeout(() => {
    ask(options);
    askFrom(options, dueMs + intervalMs);
  }, Math.max(0, dueMs - performance.now()));
};

endWithStarter();
const startMs = performance.now();
for (let client = 0; client < clients; client++) {
  const path = `/v1/runs/bench-${client % runs}`;
  const phaseMs = client * apartMs + Math.random() * jitterMs;
  askFrom({ hostname, port, path, agent, headers }, startMs + phaseMs);
}
