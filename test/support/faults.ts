/**
 * The table of all that can be wrong with an answer of the run API. What a client is told that
 * joins just then stands beside it.
 */

import { gzipSync } from 'node:zlib';
import {
  drip, endless, execution, hang, headersThenHang, raw, redirect, refused, reset, resetMidBody,
  truncate,
} from './answers.ts';
import type { Answer } from './answers.ts';

/** Status and code of a refusal. */
export type Told = readonly [status: number, code: string];

export const DOWN: Told = [502, 'UPSTREAM_UNAVAILABLE'];
export const LATE: Told = [504, 'UPSTREAM_UNAVAILABLE'];
export const NONSENSE: Told = [502, 'UPSTREAM_INVALID'];

const body = JSON.stringify({ data: execution('r1', 'completed') });
const deep = (open: string, close: string): string =>
  `{"data":{"status":"completed","x":${open.repeat(100_000)}1${close.repeat(100_000)}}}`;
const html = '<!doctype html><title>200</title>';

/** What upstream does, and what a plain client that joins just then is told. */
export const FAULTS: readonly (readonly [name: string, answer: Answer, told: Told])[] = [
  ['500 with an envelope', refused(500, 'INTERNAL_ERROR'), DOWN],
  ['502 with a page', raw(html, { status: 502, headers: { 'content-type': 'text/html' } }), DOWN],
  ['503 with Retry-After', refused(503, 'X', 'x', { 'retry-after': '1' }), DOWN],
  ['503 with the body of a finished run', raw(body, { status: 503 }), DOWN],
  ['429 in plain text', raw('Too many requests', {
    status: 429, headers: { 'content-type': 'text/plain', 'retry-after': '1' },
  }), [429, 'RATE_LIMITED']],
  ['a reset', reset(), DOWN],
  ['a reset in the middle of the body', resetMidBody(body), DOWN],
  ['an end in the middle of the body', truncate(body), DOWN],
  ['silence', hang(), LATE],
  ['silence after the headers', headersThenHang(), LATE],
  ['a body that drips', drip(body, 20), LATE],
  ['a body without end', endless(), NONSENSE],
  ['a body over the limit', raw(body.replace('}}', `,"x":"${'x'.repeat(1e6)}"}}`)), NONSENSE],
  ['a page with 200', raw(html, { headers: { 'content-type': 'text/html' } }), NONSENSE],
  ['half a JSON', raw(body.slice(0, -2)), NONSENSE],
  ['arrays 100,000 deep', raw(deep('[', ']')), NONSENSE],
  ['objects 100,000 deep', raw(deep('{"a":', '}')), NONSENSE],
  ['a run without a status', raw('{"data":{"runId":"r1"}}'), NONSENSE],
  ['a run whose status is a number', raw('{"data":{"status":3}}'), NONSENSE],
  ['a list', raw('[{"status":"completed"}]'), NONSENSE],
  ['a list in the envelope', raw('{"data":[{"status":"completed"}]}'), NONSENSE],
  ['null', raw('null'), NONSENSE],
  ['an empty body', raw(''), NONSENSE],
  ['204', raw('', { status: 204 }), NONSENSE],
  ['bytes that are no UTF-8',
    raw(Buffer.from('{"data":{"status":"completed","x":"\xff\xfe"}}', 'latin1')), NONSENSE],
  ['gzip that nobody asked for', raw(gzipSync(body), { headers: { 'content-encoding': 'gzip' } }),
    NONSENSE],
  ['an odd 4xx', refused(418, 'TEAPOT'), NONSENSE],
  ['408', refused(408, 'TIMEOUT'), DOWN],
  ['302', redirect('http://127.0.0.1:9/v1/runs/r1'), NONSENSE],
  ['304 that nobody asked for', raw('', { status: 304 }), NONSENSE],
  ['half of the bytes asked for', raw(body, { status: 206 }), NONSENSE],
];
