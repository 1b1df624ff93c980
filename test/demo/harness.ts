/** What the demo's tests share: a demo API on a clock moved by hand, and a client. */

import { request, type IncomingHttpHeaders } from 'node:http';

import { startDemoApi, type DemoApi, type DemoOptions } from '../../src/demo/run-api.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { within } from '../support/wait.ts';

export interface Output {
  id: string;
  label: string;
  type: string;
  value: string | null;
  status: string;
  error: string | null;
}

export interface Execution {
  runId: string;
  workflowId: string;
  status: string;
  errorMessage: string | null;
  startedAt: string | null;
  completedAt: string | null;
  createdAt: string;
  outputs: Output[];
  progress: {
    totalOutputs: number;
    completedOutputs: number;
    failedOutputs: number;
    percentComplete: number;
  };
}

/** A body of any of the API's forms; a test reads what it knows to be there. */
export interface Body {
  data: Execution;
  timeout?: true;
  pagination: unknown;
  error: string;
  code: string;
  retryable: boolean;
  retryAfter?: number;
  requestId: string;
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  body: Body;
}

export interface Ask {
  method?: string;
  headers?: Record<string, string>;
  body?: string;
  signal?: AbortSignal;
}

/** A demo API on a clock of its own, and a client that asks it with the first key. */
export class Demo {
  readonly clock: FakeClock;
  readonly api: DemoApi;

  private constructor(clock: FakeClock, api: DemoApi) {
    this.clock = clock;
    this.api = api;
  }

  static async start(options: DemoOptions = {}): Promise<Demo> {
    const clock = new FakeClock();
    return new Demo(clock, await startDemoApi({ clock, ...options }));
  }

  ask(path: string, { method = 'GET', headers, body, signal }: Ask = {}): Promise<Answer> {
    const url = this.api.origin + path;
    const key = { 'x-api-key': this.api.keys[0] ?? '' };
    const asked = new Promise<Answer>((resolve, reject) => {
      const options = { method, headers: headers ?? key, agent: false, ...(signal && { signal }) };
      const req = request(url, options, (res) => {
        let text = '';
        res.setEncoding('utf8').on('data', (chunk: string) => { text += chunk; });
        res.on('end', () => resolve({
          status: res.statusCode ?? 0, headers: res.headers, text, body: JSON.parse(text) as Body,
        }));
      }).on('error', reject);
      req.end(body);
    });
    return within(5_000, `${method} ${path}`, asked);
  }

  /** Makes a run and gives its id. */
  async run(inputs: unknown = {}): Promise<string> {
    const body = JSON.stringify({ inputs });
    const made = await this.ask('/v1/apps/video/runs', { method: 'POST', body });
    return made.body.data.runId;
  }

  async show(runId: string): Promise<Execution> {
    return (await this.ask(`/v1/runs/${runId}`)).body.data;
  }
}
