/**
 * What the scripted upstream can be told to say, good and bad: each helper makes an Answer (a
 * value, so that a test reads as a script) and `serve` acts it out on a response.
 */

import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** What an answer given as a function may look at. */
export interface Asked {
  readonly runId: string;
  readonly key: string | undefined;
  readonly headers: IncomingHttpHeaders;
  /** 1 for the first request of this run, whatever was scripted then. */
  readonly n: number;
}

type Fields = Readonly<Record<string, unknown>>;

type Scripted =
  | { kind: 'state'; status: string; over: Fields }
  | { kind: 'raw'; status: number; headers: OutgoingHttpHeaders; body: Buffer }
  | { kind: 'hang' }
  | { kind: 'headersThenHang' }
  | { kind: 'drip'; body: Buffer; everyMs: number }
  | { kind: 'truncate'; body: Buffer }
  | { kind: 'reset' }
  | { kind: 'resetMidBody'; body: Buffer }
  | { kind: 'endless' }
  | { kind: 'delay'; ms: number; answer: Answer }
  | { kind: 'act'; act: (res: ServerResponse, asked: Asked) => void }
  | { kind: 'perKey'; answers: Readonly<Record<string, Answer>>; otherwise: Answer };

export type Answer = Readonly<Scripted> | ((asked: Asked) => Answer);

/** 200 with `{"data": execution(runId, status, over)}`, the id being the one asked for. */
export const state = (status: string, over: Fields = {}): Answer =>
  ({ kind: 'state', status, over });

/** These very bytes: JSON with 200 unless said otherwise. */
export const raw = (
  body: string | Buffer,
  { status = 200, headers = {} }: { status?: number; headers?: OutgoingHttpHeaders } = {},
): Answer => ({ kind: 'raw', status, headers, body: Buffer.from(body) });

/** The run API's error envelope. `headers` for `retry-after` and the like. */
export const refused = (
  status: number,
  code: string,
  error = `scripted ${code}`,
  headers: OutgoingHttpHeaders = {},
): Answer => {
  const retryable = status === 429 || status >= 500;
  const body = JSON.stringify({ error, code, retryable, requestId: 'req_upstream' });
  return raw(body, { status, headers });
};

export const redirect = (location: string, status = 302): Answer =>
  raw('', { status, headers: { location } });

/** Takes the request and never answers. */
export const hang = (): Answer => ({ kind: 'hang' });

/** 200 and headers at once, then not one byte of the body. */
export const headersThenHang = (): Answer => ({ kind: 'headersThenHang' });

/** A right answer, one byte every `everyMs`: alive by any idle timeout, late by any deadline. */
export const drip = (body: string | Buffer, everyMs: number): Answer =>
  ({ kind: 'drip', body: Buffer.from(body), everyMs });

/** All of `body`, but the content-length promised more: then FIN. */
export const truncate = (body: string | Buffer): Answer =>
  ({ kind: 'truncate', body: Buffer.from(body) });

/** RST instead of an answer. */
export const reset = (): Answer => ({ kind: 'reset' });

/** The head and the first half of `body`, then RST. */
export const resetMidBody = (body: string | Buffer): Answer =>
  ({ kind: 'resetMidBody', body: Buffer.from(body) });

/** A JSON string that never ends, as fast as it is taken, until the other side closes. */
export const endless = (): Answer => ({ kind: 'endless' });

export const delay = (ms: number, answer: Answer): Answer => ({ kind: 'delay', ms, answer });

export const perKey = (answers: Readonly<Record<string, Answer>>, otherwise: Answer): Answer =>
  ({ kind: 'perKey', answers, otherwise });

/** Whatever `act` does with the response. */
export const act = (by: (res: ServerResponse, asked: Asked) => void): Answer =>
  ({ kind: 'act', act: by });

/** A complete ExecutionStatus of a run with two outputs. The same arguments, the same bytes. */
export function execution(runId: string, status: string, over: Fields = {}): Fields {
  const isOver = ['completed', 'failed', 'cancelled'].includes(status);
  const completed = status === 'completed' ? 2 : status === 'queued' ? 0 : 1;
  const failed = status === 'failed' ? 1 : 0;
  const output = (id: string, label: string, type: string, value: string, place: number) => {
    if (place < completed) return { id, label, type, value, status: 'completed', error: null };
    const bad = { status: 'error', error: 'The model gave no answer' };
    const rest = failed > 0 ? bad : { status: 'pending', error: null };
    return { id, label, type: 'pending', value: null, ...rest };
  };
  return {
    runId,
    workflowId: 'wf_test',
    status,
    outputs: [
      output('out_1', 'Poster', 'image', 'https://files.test/poster.png', 0),
      output('out_2', 'Caption', 'text', 'Grüße, 世界 🌍', 1),
    ],
    errorMessage: failed > 0 ? 'One output failed' : null,
    startedAt: status === 'queued' ? null : '2026-01-01T00:00:01.000Z',
    completedAt: isOver ? '2026-01-01T00:00:09.000Z' : null,
    createdAt: '2026-01-01T00:00:00.000Z',
    progress: {
      totalOutputs: 2,
      completedOutputs: completed,
      failedOutputs: failed,
      percentComplete: completed * 50,
    },
    ...over,
  };
}

const JSON_TYPE = { 'content-type': 'application/json; charset=utf-8' };

/** Acts `answer` out. Timers end with the response. */
export function serve(answer: Answer, asked: Asked, res: ServerResponse): void {
  if (typeof answer === 'function') return serve(answer(asked), asked, res);
  switch (answer.kind) {
    case 'state': {
      const data = execution(asked.runId, answer.status, answer.over);
      return serve(raw(JSON.stringify({ data })), asked, res);
    }
    case 'raw': {
      const length = { 'content-length': answer.body.length };
      res.writeHead(answer.status, { ...JSON_TYPE, ...length, ...answer.headers });
      res.end(answer.body);
      return;
    }
    case 'hang':
      return;
    case 'headersThenHang':
      res.writeHead(200, JSON_TYPE).flushHeaders();
      return;
    case 'drip':
      return serveDrip(res, answer.body, answer.everyMs);
    case 'truncate':
      res.writeHead(200, { ...JSON_TYPE, 'content-length': answer.body.length + 10 });
      res.write(answer.body, () => res.socket?.end());
      return;
    case 'reset':
      return resetNow(res.socket);
    case 'resetMidBody': {
      const { body } = answer;
      res.writeHead(200, { ...JSON_TYPE, 'content-length': body.length });
      res.write(body.subarray(0, body.length / 2));
      // Time to arrive first: libuv takes an RST that comes with unread bytes for a FIN.
      return after(res, 50, () => resetNow(res.socket));
    }
    case 'endless':
      return serveEndless(res);
    case 'act':
      return answer.act(res, asked);
    case 'delay':
      return after(res, answer.ms, () => serve(answer.answer, asked, res));
    case 'perKey': {
      const own = Object.hasOwn(answer.answers, asked.key ?? '');
      return serve((own && answer.answers[asked.key ?? '']) || answer.otherwise, asked, res);
    }
  }
}

/**
 * RST and nothing before it. `socket.resetAndDestroy()` ends the socket first, so that now and
 * then a FIN goes out ahead of the RST; this sets the flag it sets, and only destroys.
 */
export function resetNow(socket: Socket | null): void {
  if (socket === null) return;
  Reflect.set(socket, 'resetAndClosing', true);
  socket.destroy();
}

function after(res: ServerResponse, ms: number, act: () => void): void {
  const timer = setTimeout(act, ms);
  res.once('close', () => clearTimeout(timer));
}

function serveDrip(res: ServerResponse, body: Buffer, everyMs: number): void {
  res.writeHead(200, { ...JSON_TYPE, 'content-length': body.length });
  res.flushHeaders();
  let sent = 0;
  const timer = setInterval(() => {
    res.write(body.subarray(sent, ++sent));
    if (sent >= body.length) res.end();
  }, everyMs);
  res.once('close', () => clearInterval(timer));
  res.once('finish', () => clearInterval(timer));
}

function serveEndless(res: ServerResponse): void {
  const chunk = Buffer.alloc(65_536, 'a');
  res.writeHead(200, JSON_TYPE).write('{"data":{"status":"running","x":"');
  const pump = (): void => {
    while (!res.destroyed && res.write(chunk));
  };
  res.on('drain', pump);
  pump();
}
