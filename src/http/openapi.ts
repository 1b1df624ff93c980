/**
 * The HTTP surface as an OpenAPI 3.2 document, served at `/openapi.json`. Loaded only when somebody
 * asks for it. `test/integration/openapi.test.ts` holds it against real answers.
 */

import { VERSION } from '../core/version.ts';
import { COMPONENTS, errors, headersOf, json, ref } from './openapi-parts.ts';
import type { Part } from './openapi-parts.ts';

const RUN = { parameters: [ref('parameters', 'runId')] };
const KEYED = { security: [{ key: [] }, { bearer: [] }] };
const OPEN = { security: [] };
const UPSTREAMS = [401, 403, 404, 429, 502, 504];
const LAST_ID = { schema: { type: 'string' } };
const EVENTS = 'text/event-stream';

const streamed = (description: string, schema: string, ...headers: readonly string[]): Part => ({
  description,
  headers: headersOf('x-accel-buffering', 'vary', 'content-encoding', ...headers),
  content: { [EVENTS]: { itemSchema: ref('schemas', schema) } },
});

/** What goes without a body has the request's id only. */
const bare = (description: string, ...headers: readonly string[]): Part =>
  ({ description, headers: headersOf(...headers) });

/** In place of a key. */
const TICKETED = { name: 'ticket', in: 'query', schema: { type: 'string' } };

const body = (description: string): Part => ({
  required: true,
  content: { 'application/json': { schema: { type: 'object', description } } },
});

const query = (name: string, schema: Part): Part => ({ name, in: 'query', schema });

const STREAM_ANSWERS: Part = {
  200: streamed('Events; or where only the time is not right, one ping that says when to come '
    + 'back', 'Event', 'x-runcast-refused'),
  204: bare('All is over, and the client has seen it'),
  ...errors(...UPSTREAMS),
};

const STREAM: Part = {
  ...RUN,
  get: {
    operationId: 'streamRun', summary: 'Every change of a run, until it is over', ...KEYED,
    parameters: [
      { name: 'last-event-id', in: 'header', ...LAST_ID }, query('lastEventId', LAST_ID.schema),
      TICKETED,
    ],
    responses: STREAM_ANSWERS,
  },
};

const STREAMS: Part = {
  get: {
    operationId: 'streamRuns', summary: 'Every change of up to 50 runs, until all are over',
    ...KEYED,
    parameters: [
      { ...query('runId', { type: 'array', items: { type: 'string' } }), required: true },
      query('ticket', { type: 'array', items: { type: 'string' } }),
      { name: 'last-event-id', in: 'header', ...LAST_ID }, query('lastEventId', LAST_ID.schema),
    ],
    responses: STREAM_ANSWERS,
  },
};

const TICKET: Part = {
  ...RUN,
  post: {
    operationId: 'issueTicket', summary: 'The key, sealed for this run and for a while', ...KEYED,
    responses: { 200: json('What may stand in a URL', 'Ticket'), ...errors(...UPSTREAMS) },
  },
};

const ONE_RUN: Part = {
  ...RUN,
  get: {
    operationId: 'getRun', summary: 'One look at a run', ...KEYED,
    parameters: [{ name: 'if-none-match', in: 'header', schema: { type: 'string' } }, TICKETED],
    responses: {
      200: json('The state', 'State', 'etag', 'vary'),
      304: bare('The client has it', 'etag', 'vary'),
      ...errors(...UPSTREAMS),
    },
  },
  put: {
    operationId: 'publishRun', summary: 'The state, from a backend that owns the run',
    description: 'Only with --publish-key.', security: [{ publishKey: [] }],
    requestBody: body('Upstream\'s JSON for the run, bare or in data.'),
    responses: { 202: json('Taken', 'Accepted'), ...errors(401, 413) },
  },
};

const WAIT: Part = {
  ...RUN,
  get: {
    operationId: 'waitForRun', summary: 'The state as soon as the run is over', ...KEYED,
    parameters: [
      query('timeout', { type: 'integer', minimum: 1, maximum: 120, default: 60 }), TICKETED,
    ],
    responses: {
      200: json('The end; or the newest state when the time is up', 'WaitState'),
      ...errors(...UPSTREAMS),
    },
  },
};

const POKE: Part = {
  ...RUN,
  post: {
    operationId: 'pokeRun', summary: 'There may be news of the run', ...OPEN,
    responses: { 202: json('The same for every run', 'Accepted'), ...errors() },
  },
};

const WEBHOOK: Part = {
  post: {
    operationId: 'receiveWebhook', summary: 'The run API\'s signed webhook', ...OPEN,
    description: '404 without --upstream-key and --webhook-jwks. Signed over timestamp.body with '
      + 'Ed25519, in headers that begin as --webhook-header-prefix says.',
    requestBody: body('The run in data.'),
    responses: { 200: json('Taken', 'Received'), ...errors(401, 404, 413) },
  },
};

function probe(operationId: string, summary: string, schema: string, ...more: number[]): Part {
  const states = Object.fromEntries(more.map((status) => [status, json('Not now', schema)]));
  const responses = { 200: json('So it is', schema), ...errors(404), ...states };
  return { get: { operationId, summary, ...OPEN, responses } };
}

function page(operationId: string, summary: string, type: string, ...headers: string[]): Part {
  const schema = { type: type === 'application/json' ? 'object' : 'string' };
  const content = { [type]: { schema } };
  const answer = { description: summary, headers: headersOf(...headers), content };
  return { get: { operationId, summary, ...OPEN, responses: { 200: answer, ...errors(404) } } };
}

/** Of the doctor: there to be looked for. */
const SAMPLES = ['etag', 'retry-after', 'x-runcast-refused'];

const DOCTOR: Part = {
  get: {
    operationId: 'doctor', summary: 'What is on the way here: a page, or facts', ...OPEN,
    parameters: [ref('parameters', 'nonce')],
    responses: {
      200: {
        description: 'A page for who asks for HTML, facts for others',
        headers: headersOf(
          'vary', 'x-runcast-doctor', ...SAMPLES, 'content-security-policy', 'referrer-policy',
        ),
        content: {
          'application/json': { schema: ref('schemas', 'Facts') },
          'text/html': { schema: { type: 'string' } },
        },
      },
      ...errors(),
    },
  },
};

const FACTS: Part = {
  get: {
    operationId: 'doctorFacts', summary: 'Which headers arrived, and how', ...OPEN,
    parameters: [ref('parameters', 'nonce')],
    responses: {
      200: json('Never what is in them', 'Facts', 'vary', 'x-runcast-doctor', ...SAMPLES),
      ...errors(),
    },
  },
};

const PROBE_STREAM: Part = {
  get: {
    operationId: 'doctorStream', summary: 'Events at a pace', ...OPEN,
    parameters: [
      ref('parameters', 'nonce'), query('gapMs', { type: 'number' }),
      query('seconds', { type: 'number' }), query('gzip', { enum: ['1'] }),
    ],
    responses: {
      200: streamed('Events, and their end', 'Probe', 'x-runcast-doctor', 'x-runcast-refused'),
      ...errors(),
    },
  },
};

const MODULE = { name: 'module', in: 'path', required: true, schema: { type: 'string' } };

const SCRIPT: Part = {
  parameters: [MODULE],
  ...page('doctorModule', 'A module of the page', 'text/javascript'),
};

/** A part of the page at `/`. */
function livePart(operationId: string, summary: string, type: string, ...more: string[]): Part {
  const { get } = page(operationId, summary, type, 'etag', ...more) as Record<'get', Part>;
  const unchanged = bare('The client has it', 'etag', ...more);
  const responses = { ...get['responses'] as Part, 304: unchanged };
  return { get: { ...get, description: 'Only with --page.', responses } };
}

/** Where HEAD is answered as GET is, without the body. */
const HEADS = ['/v1/runs/{runId}', '/livez', '/readyz', '/healthz', '/metrics', '/openapi.json',
  '/doctor', '/doctor.json', '/doctor/js/{module}', '/', '/page/style.css', '/page/js/{module}'];

const PATHS: Readonly<Record<string, Part>> = {
  '/v1/runs/stream': STREAMS,
  '/v1/runs/{runId}/stream': STREAM,
  '/v1/runs/{runId}/ticket': TICKET,
  '/v1/runs/{runId}': ONE_RUN,
  '/v1/runs/{runId}/wait': WAIT,
  '/v1/runs/{runId}/poke': POKE,
  '/v1/webhooks/runs': WEBHOOK,
  '/livez': probe('live', 'Alive, whatever upstream does', 'Live'),
  '/readyz': probe('ready', 'Taking new streams', 'Live', 503),
  '/healthz': probe('health', 'Alive, with the numbers of the moment', 'Health'),
  '/metrics': page('metrics', 'Prometheus text', 'text/plain', 'retry-after'),
  '/openapi.json': page('openapi', 'This document', 'application/json'),
  '/doctor': DOCTOR,
  '/doctor.json': FACTS,
  '/doctor/stream': PROBE_STREAM,
  '/doctor/js/{module}': SCRIPT,
  '/': livePart('page', 'Runs as they go, for people', 'text/html',
    'content-security-policy', 'referrer-policy'),
  '/page/style.css': livePart('pageStyle', 'How the page looks', 'text/css'),
  '/page/js/{module}': {
    parameters: [MODULE],
    ...livePart('pageModule', 'A module of the page', 'text/javascript'),
  },
};

/** The document. */
export const OPENAPI: Part = {
  openapi: '3.2.0',
  info: {
    title: 'runcast', version: VERSION, license: { name: 'MIT', identifier: 'MIT' },
    description: 'Live streams of runs, in front of a run API that is polled once for each. With '
      + '--forward on every other request below /v1 is upstream\'s to answer. Where origins are '
      + 'allowed, their preflights get a 204 on every path.',
  },
  paths: Object.fromEntries(Object.entries(PATHS).map(([path, item]) =>
    [path, HEADS.includes(path) ? { ...item, head: headOf(item['get'] as Part) } : item])),
  components: COMPONENTS,
};

function headOf(get: Part): Part {
  return { ...get, operationId: `${String(get['operationId'])}Head` };
}
