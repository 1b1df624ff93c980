/**
 * One run of the scripted upstream by every way that leads to it: its status, `/wait`, its event
 * stream, and a list that shows it alone. Any of the ways can be broken and mended; what is under
 * way by then breaks with it.
 */

import type { ServerResponse } from 'node:http';
import { act, execution, raw, resetNow, serve, state } from './answers.ts';
import type { Answer, Asked } from './answers.ts';
import type { Upstream } from './upstream.ts';
import { until } from './wait.ts';

export const WAYS = ['status', 'wait', 'stream', 'list'] as const;
export type Way = (typeof WAYS)[number];

/** Upstream answers `/wait` so late where the run is not over. */
const HELD_MS = 1_000;

export class FaultyRun {
  readonly runId: string;
  #status = 'running';
  #step = 0;
  #fault: { readonly answer: Answer; readonly ways: readonly Way[] } | undefined;
  readonly #asked = { status: 0, wait: 0, stream: 0, list: 0 };
  readonly #met = { status: 0, wait: 0, stream: 0, list: 0 };
  readonly #waits = new Map<ServerResponse, Asked>();
  readonly #streams = new Set<ServerResponse>();

  /** Running. The list is one for all runs of an upstream: the last of them has it. */
  constructor(upstream: Upstream, runId: string) {
    this.runId = runId;
    const path = `/v1/runs/${runId}`;
    upstream.run(runId, this.#by('status', () => state(this.#status, this.#over)));
    upstream.run(`${path}/wait`, this.#by('wait', () => this.#wait()));
    upstream.run(`${path}/stream`, this.#by('stream', () => this.#stream()));
    upstream.run('/v1/runs', this.#by('list', () => this.#list()));
  }

  /** What it is now, as upstream writes it. */
  get data(): string {
    return JSON.stringify(execution(this.runId, this.#status, this.#over));
  }

  /** Streams that are open. */
  get streams(): number {
    return this.#streams.size;
  }

  /** It changes, and whoever hangs on it is told. */
  to(status: string, step = this.#step): void {
    this.#status = status;
    this.#step = step;
    if (this.#isOver) for (const res of this.#waits.keys()) this.#endWait(res);
    this.say(this.#event());
    if (this.#isOver) for (const res of this.#streams) res.end();
  }

  /** These bytes, to all streams. */
  say(bytes: string | Buffer): void {
    for (const res of this.#streams) res.write(bytes);
  }

  /** All streams end, by FIN behind the last chunk, or cut. */
  endStreams(how: 'end' | 'cut'): void {
    for (const res of this.#streams) {
      this.#streams.delete(res);
      if (how === 'end') res.end();
      else res.socket?.end();
    }
  }

  /** From now on these ways are answered so; what hangs on them is, too. */
  break(answer: Answer, ways: readonly Way[] = WAYS): void {
    this.#fault = { answer, ways };
    if (ways.includes('stream')) for (const res of this.#streams) resetNow(res.socket);
    if (!ways.includes('wait')) return;
    for (const [res, asked] of this.#waits) {
      this.#met.wait++;
      this.#waits.delete(res);
      serve(answer, asked, res);
    }
  }

  mend(): void {
    this.#fault = undefined;
  }

  untilAsked(way: Way, times = 1): Promise<void> {
    return until(`${this.runId}: ${times} by ${way}`, () => this.#asked[way] >= times, 30_000);
  }

  untilMet(way: Way, times = 1): Promise<void> {
    return until(`${this.runId}: broken ${way}`, () => this.#met[way] >= times, 40_000);
  }

  get #over(): { readonly step: number } {
    return { step: this.#step };
  }

  get #isOver(): boolean {
    return this.#status !== 'running';
  }

  #by(way: Way, answer: () => Answer): Answer {
    return () => {
      this.#asked[way]++;
      if (!this.#fault?.ways.includes(way)) return answer();
      this.#met[way]++;
      return this.#fault.answer;
    };
  }

  #wait(): Answer {
    return act((res, asked) => {
      this.#waits.set(res, asked);
      const timer = setTimeout(() => this.#endWait(res), this.#isOver ? 0 : HELD_MS);
      res.once('close', () => {
        clearTimeout(timer);
        this.#waits.delete(res);
      });
    });
  }

  #endWait(res: ServerResponse): void {
    const asked = this.#waits.get(res);
    if (asked === undefined) return;
    this.#waits.delete(res);
    const late = this.#isOver ? '' : ',"timeout":true';
    serve(raw(`{"data":${this.data}${late}}`), asked, res);
  }

  #stream(): Answer {
    return act((res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.write(this.#event());
      this.#streams.add(res);
      res.once('close', () => this.#streams.delete(res));
      if (this.#isOver) res.end();
    });
  }

  #list(): Answer {
    const summary = { runId: this.runId, status: this.#status, step: this.#step };
    return raw(JSON.stringify({ data: [summary], pagination: { hasMore: false } }));
  }

  #event(): string {
    const type = { completed: 'complete', failed: 'error' }[this.#status] ?? 'progress';
    return `event: ${type}\ndata: ${this.data}\n\n`;
  }
}
