/**
 * Response heads, byte for byte, and what is read from request heads. These go through Node's
 * own parser, on a wire without a port: what it joins and drops is part of the matter.
 */

import assert from 'node:assert/strict';
import { createServer, type IncomingMessage } from 'node:http';
import { Duplex } from 'node:stream';
import { describe, it } from 'node:test';

import {
  acceptsGzip, hasBody, jsonHead, lastEventIdOf, requestIdOf, streamHead, wantsEvents,
} from '../../src/http/headers.ts';
import { within } from '../support/wait.ts';

/** A request with these header lines, as Node reads it. */
function received(...lines: string[]): Promise<IncomingMessage> {
  const head = ['GET / HTTP/1.1', 'host: gateway.test', ...lines, '', ''].join('\r\n');
  const wire = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
  const request = new Promise<IncomingMessage>((resolve, reject) => {
    createServer(resolve).on('clientError', reject).emit('connection', wire);
    wire.push(Buffer.from(head, 'latin1'));
  });
  return within(2_000, head, request);
}

describe('the head of an answer', () => {
  it('of a stream keeps it from being stored, transformed, buffered, guessed at or shared', () => {
    assert.deepEqual(streamHead('q1', false), {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store, no-transform',
      'x-accel-buffering': 'no',
      'x-content-type-options': 'nosniff',
      'x-request-id': 'q1',
      'connection': 'close',
    });
  });

  it('of a compressed stream says so, also to caches', () => {
    const head = streamHead('q1', true);
    assert.deepEqual([head['content-encoding'], head['vary']], ['gzip', 'accept-encoding']);
  });

  it('of JSON keeps it from being stored or guessed at', () => {
    assert.deepEqual(jsonHead('q2'), {
      'content-type': 'application/json; charset=utf-8',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'x-request-id': 'q2',
    });
  });

  it('is a new object each time, so that one answer cannot change another', () => {
    assert.notEqual(streamHead('a', false), streamHead('a', false));
    assert.notEqual(jsonHead('a'), jsonHead('a'));
  });
});

describe('the id of a request', () => {
  const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

  it('is the client\'s own where that is short and plain', async () => {
    for (const id of ['a', '0', 'req_1-2.3:4', 'A'.repeat(128), '-', '__proto__']) {
      assert.equal(requestIdOf(await received(`X-Request-ID:  ${id} `)), id);
    }
  });

  it('is a new one where it is long, odd, empty, doubled, the key or not there', async () => {
    const seen = new Set<string>();
    for (const lines of [
      [], ['x-request-id:'], [`x-request-id: ${'a'.repeat(129)}`], ['x-request-id: a b'],
      ['x-request-id: a,b'], ['x-request-id: a', 'x-request-id: b'], ['x-request-id: <script>'],
      ['x-request-id: a"b'], ['x-request-id: a;b'], ['x-request-id: é'], ['x-request-id: a\tb'],
      ['x-request-id: a/b'],
      ['x-request-id: lma_a', 'x-api-key: lma_a'], ['x-request-id: t', 'authorization: Bearer t'],
      ['x-request-id: {"a":1}'], ['x-request-id: %0d%0a'],
    ]) {
      const id = requestIdOf(await received(...lines));
      assert.match(id, UUID, lines.join());
      seen.add(id);
    }
    assert.equal(seen.size, 16);
  });
});

describe('a request for events', () => {
  it('names text/event-stream, wherever and however it does', async () => {
    for (const accept of [
      'text/event-stream', 'TEXT/Event-Stream', ' text/event-stream ', 'text/event-stream;q=0.9',
      'text/event-stream ; charset=utf-8', 'text/event-stream, */*', '*/*, text/event-stream',
      'application/json,text/event-stream,text/html', 'a/b;q=0.1,\ttext/event-stream\t;q=1',
      ', text/event-stream', 'text/event-stream,',
    ]) assert.equal(wantsEvents(await received(`accept: ${accept}`)), true, accept);
    const twice = await received('accept: application/json', 'Accept: text/event-stream');
    assert.equal(wantsEvents(twice), true);
  });

  it('is not one that would merely take them, or names something like it', async () => {
    for (const accept of [
      '', '*/*', 'text/*', 'application/json', 'text/event-streams', 'xtext/event-stream',
      'text/event-stream-v2', 'text/event', 'text/event-stream/x', 'application/text/event-stream',
      'text / event-stream', 'application/json; profile=text/event-stream', 'text/event_stream',
    ]) assert.equal(wantsEvents(await received(`accept: ${accept}`)), false, accept);
    assert.equal(wantsEvents(await received()), false);
    assert.equal(wantsEvents(await received('content-type: text/event-stream')), false);
  });
});

describe('a body', () => {
  it('is announced by its length or by a transfer coding', async () => {
    for (const line of [
      'content-length: 1', 'Content-Length: 0005', 'transfer-encoding: chunked',
      'Transfer-Encoding: gzip, chunked',
    ]) assert.equal(hasBody(await received(line)), true, line);
  });

  it('is not announced by a length of nothing, or by other headers', async () => {
    for (const lines of [
      [], ['content-length: 0'], ['content-length: 00'], ['content-type: text/plain'],
      ['te: chunked'], ['trailer: a'],
    ]) assert.equal(hasBody(await received(...lines)), false, lines.join());
  });
});

describe('where a client left off', () => {
  const position = async (search: string, ...lines: string[]): Promise<string | undefined> =>
    lastEventIdOf(await received(...lines), new URLSearchParams(search));

  it('is in the header, or for those who cannot send one in the query', async () => {
    for (const id of ['QJRDpu5aopbczWwN', 'none', '-_-.~', '0', 'a'.repeat(1_024)]) {
      assert.equal(await position('', `Last-Event-ID: ${id}`), id);
      assert.equal(await position(`lastEventId=${id}`), id);
    }
  });

  it('is in the header where both say something: a URL is as old as its client', async () => {
    assert.equal(await position('lastEventId=first', 'last-event-id: second'), 'second');
    assert.equal(await position('lastEventId=first&lastEventId=other'), 'first');
  });

  it('is nowhere where no one could have been sent there by us', async () => {
    for (const id of [
      '', ' ', 'a b', 'a,b', 'a\tb', '"a"', '<b>', '{"a":1}', 'é', '🌍', 'a'.repeat(1_025),
      'a/b', 'a%0ab', 'a=b', 'a:b', '*', 'W/"a"',
    ]) {
      const line = `last-event-id: ${Buffer.from(id).toString('latin1')}`;
      assert.equal(await position('', line), undefined, JSON.stringify(id));
      const search = `lastEventId=${encodeURIComponent(id)}`;
      assert.equal(await position(search), undefined, JSON.stringify(id));
    }
    for (const id of ['a\nb', 'a\r\nid: b', 'a\n', '\0', 'a\0b']) {
      assert.equal(await position(`lastEventId=${encodeURIComponent(id)}`), undefined);
    }
    assert.equal(await position('', 'last-event-id: a', 'last-event-id: b'), undefined);
    assert.equal(await position(''), undefined);
    assert.equal(await position('lasteventid=a&last-event-id=b&LastEventId=c'), undefined);
  });
});

describe('gzip', () => {
  const accept = (encodings: string): Promise<IncomingMessage> =>
    received('host: x', `accept-encoding: ${encodings}`);

  it('is taken by those who say so, in any case and place', async () => {
    for (const encodings of [
      'gzip', 'GZip', 'deflate, gzip', 'gzip;q=0.1', 'br;q=1 , gzip ; q=0.5', 'x-gzip', '*',
      'identity, *;q=0.1',
    ]) assert.equal(acceptsGzip(await accept(encodings)), true, encodings);
  });

  it('is not taken by those who do not, or who weigh it with nothing', async () => {
    for (const encodings of [
      '', 'identity', 'br, deflate', 'gzip;q=0', 'gzip;q=0.000, br', '*;q=0', 'gzip;q=0, *',
      'gzipped', 'gzip;q=x',
    ]) assert.equal(acceptsGzip(await accept(encodings)), false, encodings);
    assert.equal(acceptsGzip(await received('host: x')), false);
  });
});
