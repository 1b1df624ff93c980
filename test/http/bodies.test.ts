/** Bodies that are too slow, too large, or too many at once; real sockets, on a still clock. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, request } from 'node:http';
import type { ClientRequest, IncomingMessage, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';

import type { Refusal } from '../../src/core/errors.ts';
import { Metrics } from '../../src/core/metrics.ts';
import { Bodies } from '../../src/http/bodies.ts';
import type { Body } from '../../src/http/bodies.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { until, within } from '../support/wait.ts';

const MIB = 1024 * 1024;

type Outcome = Body | Refusal | undefined;

class Lab {
  readonly clock = new FakeClock();
  readonly metrics = new Metrics();
  readonly outcomes: Outcome[] = [];
  readonly requests: IncomingMessage[] = [];
  readonly #server: Server;

  constructor(t: TestContext, maxBodyBytes: number) {
    const bodies = new Bodies(maxBodyBytes, this.clock, this.metrics);
    this.#server = createServer((incoming, response) => {
      this.requests.push(incoming);
      void bodies.read(incoming).then((outcome) => {
        this.outcomes.push(outcome);
        response.end();
      });
    }).listen(0, '127.0.0.1');
    t.after(() => {
      this.#server.closeAllConnections();
      this.#server.close();
    });
  }

  /** A request whose body is the caller's to write. */
  async open(headers: Readonly<Record<string, string>> = {}): Promise<ClientRequest> {
    if (!this.#server.listening) await once(this.#server, 'listening');
    const { port } = this.#server.address() as AddressInfo;
    const client = request({ port, host: '127.0.0.1', method: 'PUT', agent: false, headers });
    client.on('error', () => undefined);
    client.flushHeaders();
    const before = this.requests.length;
    await until('the request', () => this.requests.length > before);
    return client;
  }

  /** What became of the body that was done with next. */
  async next(): Promise<Outcome> {
    await until('an outcome', () => this.outcomes.length > 0);
    return this.outcomes.shift();
  }
}

const codeOf = (outcome: Outcome): string | undefined =>
  outcome !== undefined && 'code' in outcome ? outcome.code : undefined;

describe('a body', () => {
  it('that is not whole in ten seconds is refused, and one that is whole is not', async (t) => {
    const lab = new Lab(t, 100);
    const slow = await lab.open();
    slow.write('half of');
    await until('its half', () => (lab.requests[0]?.socket.bytesRead ?? 0) > 90);
    lab.clock.advance(9_999);
    assert.equal(lab.outcomes.length, 0);
    lab.clock.advance(1);
    assert.equal(codeOf(await lab.next()), 'REQUEST_TIMEOUT');
    assert.equal(lab.clock.pending, 0);
    (await lab.open()).end('whole');
    const outcome = await lab.next();
    assert.ok(outcome !== undefined && 'bytes' in outcome && String(outcome.bytes) === 'whole');
    assert.equal(lab.clock.pending, 0);
  });

  it('whose client is gone is nothing', async (t) => {
    const lab = new Lab(t, 100);
    const client = await lab.open();
    client.write('half');
    client.destroy();
    assert.equal(await lab.next(), undefined);
    assert.equal(lab.clock.pending, 0);
  });

  it('that says it is too large is heard out for a second and refused', async (t) => {
    const lab = new Lab(t, 100);
    const client = await lab.open({ 'content-length': '101' });
    client.write('a');
    await until('its first byte', () => lab.requests[0]?.readableFlowing === true);
    await until('the second', () => (lab.clock.nextInMs ?? Infinity) <= 1_000);
    lab.clock.advance(1_000);
    assert.equal(codeOf(await lab.next()), 'BODY_TOO_LARGE');
  });

  it('is refused where 64 MiB are not done with, until some of them are', async (t) => {
    const lab = new Lab(t, 32 * MIB);
    const held: Body[] = [];
    for (let i = 0; i < 2; i++) {
      (await lab.open()).end(Buffer.alloc(32 * MIB));
      const outcome = await within(20_000, 'a body of 32 MiB', lab.next());
      assert.ok(outcome !== undefined && 'bytes' in outcome);
      held.push(outcome);
    }
    (await lab.open()).end('one more');
    assert.equal(codeOf(await lab.next()), 'RESOURCE_UNAVAILABLE');
    assert.deepEqual(lab.metrics.samples(), [['runcast_limit_total', 'bodies', 1]]);
    held.pop()?.release();
    (await lab.open()).end('one more');
    assert.equal(codeOf(await lab.next()), undefined);
  });
});
