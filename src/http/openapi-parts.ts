/** What the operations of `openapi.ts` share: schemas, headers and answers, as components. */

import { ERROR_CODES, refuse } from '../core/errors.ts';
import { RUN_ID } from '../core/run-id.ts';

/** Any part of a document. */
export type Part = Readonly<Record<string, unknown>>;

/** A reference to a component. */
export const ref = (kind: string, name: string): Part => ({ $ref: `#/components/${kind}/${name}` });

const text = { type: 'string' };
const flag = { type: 'boolean' };
const count = { type: 'integer', minimum: 0 };
const object = (properties: Part, required = Object.keys(properties)): Part =>
  ({ type: 'object', properties, required });
const data = (properties: Part): Part =>
  ({ ...object({ data: object(properties) }), additionalProperties: false });

const STATES = ['ok', 'draining', 'silent', 'ready'];
const ARRIVALS = ['whole', 'changed', 'missing'];

const SCHEMAS: Part = {
  Run: {
    ...object({ status: text }, []),
    description: 'Upstream\'s own JSON for the run, as it came. Its status is a string, in the '
      + 'member that --status-field names.',
  },
  State: { ...object({ data: ref('schemas', 'Run') }), additionalProperties: false },
  WaitState: {
    ...object({ data: ref('schemas', 'Run'), timeout: { const: true } }, ['data']),
    additionalProperties: false,
  },
  Accepted: data({ accepted: { const: true } }),
  Received: data({ received: { const: true } }),
  Ticket: data({ ticket: text, expiresAt: text, url: text }),
  Error: {
    ...object({
      error: text,
      code: {
        ...text,
        description: `Where upstream refused the key, its own code; otherwise one of ${
          ERROR_CODES.join(', ')}.`,
      },
      retryable: flag,
      retryAfter: { type: 'integer', minimum: 1, description: 'Seconds.' },
      requestId: text,
    }, ['error', 'code', 'retryable', 'requestId']),
    additionalProperties: false,
  },
  Live: { ...object({ status: { enum: STATES } }), additionalProperties: false },
  Health: object({ status: { const: 'ok' }, streams: count, runs: count }),
  Facts: object({
    nonce: { type: ['string', 'null'] },
    httpVersion: text,
    requestHeaders: { type: 'object', additionalProperties: { enum: ARRIVALS } },
    responseHeaders: { type: 'array', items: text },
    proxyHeaders: { type: 'array', items: text },
    pingIntervalMs: count,
    compress: flag,
  }),
  Event: {
    ...object({
      event: { enum: ['progress', 'complete', 'error', 'timeout', 'ping'] },
      id: { ...text, description: 'Names the state: to come back with as Last-Event-ID.' },
      data: { ...text, description: 'JSON; of a ping, Unix time in seconds.' },
      retry: { type: 'integer', minimum: 0, description: 'Milliseconds.' },
    }, ['event', 'id', 'data']),
  },
  Probe: object({ event: text, data: text }, []),
};

const header = (description: string, pattern?: string): Part =>
  ({ description, schema: pattern === undefined ? text : { ...text, pattern } });

const HEADERS: Part = {
  'x-request-id': header('The client\'s own where it is short and plain.', '^[\\w.:-]{1,128}$'),
  'cache-control': header('What caches may do with it: mostly nothing.'),
  'x-content-type-options': header('Always nosniff.', '^nosniff$'),
  'vary': header('What else the answer depends on.'),
  'etag': header('The id of the state.', '^"[^"]+"$'),
  'allow': header('Methods that there are.'),
  'retry-after': header('Seconds.', '^[1-9]\\d*$'),
  'x-accel-buffering': header('Always no: what makes nginx pass events on at once.', '^no$'),
  'content-encoding': header('gzip, where the client takes it.', '^gzip$'),
  'x-runcast-refused': header('Why this stream is one ping and its end.', '^\\d{3} [A-Z_]+$'),
  'x-runcast-doctor': header('The nonce of the request.'),
  'content-security-policy': header('Of the page.'),
  'referrer-policy': header('Of the page.'),
};

const NAMES = ['x-request-id', 'cache-control', 'x-content-type-options'];

/** The headers of an answer: those of all, and more. */
export function headersOf(...more: readonly string[]): Part {
  return Object.fromEntries([...NAMES, ...more].map((name) => [name, ref('headers', name)]));
}

/** An answer in JSON. */
export function json(description: string, schema: string, ...headers: readonly string[]): Part {
  const content = { 'application/json': { schema: ref('schemas', schema) } };
  return { description, headers: headersOf(...headers), content };
}

const TEXTS = ERROR_CODES.map((code) => refuse(code));

/** By status, every error that there may be. */
const ERRORS: Part = Object.fromEntries([...new Set([...TEXTS.map(({ status }) => status), 504])]
  .map((status) => {
    const codes = status === 504 ? ['UPSTREAM_UNAVAILABLE']
      : TEXTS.filter((each) => each.status === status).map(({ code }) => code);
    const headers = status === 405 ? ['allow'] : ['retry-after'];
    return [`E${status}`, json(codes.join(' or '), 'Error', ...headers)];
  }));

/** Every operation may give them: to no whole request, or where we fail or are full ourselves. */
const ANYWHERE = [400, 405, 408, 431, 500, 503];

/** Errors by status, those that any operation may give included. */
export function errors(...statuses: readonly number[]): Part {
  const all = [...new Set([...ANYWHERE, ...statuses])].sort((a, b) => a - b);
  return Object.fromEntries(all.map((status) => [status, ref('responses', `E${status}`)]));
}

/** All that is referred to. */
export const COMPONENTS: Part = {
  schemas: SCHEMAS,
  headers: HEADERS,
  responses: ERRORS,
  parameters: {
    runId: {
      name: 'runId', in: 'path', required: true,
      schema: { ...text, pattern: RUN_ID.source },
    },
    nonce: { name: 'nonce', in: 'query', schema: text },
  },
  securitySchemes: {
    key: { type: 'apiKey', in: 'header', name: 'x-api-key' },
    bearer: { type: 'http', scheme: 'bearer' },
    publishKey: { type: 'http', scheme: 'bearer', description: 'A --publish-key.' },
  },
};
