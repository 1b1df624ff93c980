/** Closing the upstream side while more requests are under way than it has sockets. */

import assert from 'node:assert/strict';
import { it } from 'node:test';

import { systemClock } from '../../src/core/clock.ts';
import { apiKey } from '../support/fake-source.ts';
import { MAX_SOCKETS, Upstream } from '../../src/source/upstream.ts';
import { hang, raw, startUpstream } from '../support/upstream.ts';
import { until, within } from '../support/wait.ts';

const WAITING = 88;

it('a close ends at once what waits for a socket too, and nothing of it is sent', async (t) => {
  const server = await startUpstream();
  t.after(() => server.close());
  server.run('r', hang());
  server.run('fence', raw('{}'));
  const open = (): Upstream => new Upstream({
    url: new URL(server.origin), path: '/v1/runs/{runId}', timeoutMs: 30_000, maxBodyBytes: 1_000,
  }, systemClock);
  const upstream = open();
  t.after(() => upstream.close());
  const key = apiKey('lma_a');
  const all = Promise.all(Array.from({ length: MAX_SOCKETS + WAITING }, () =>
    upstream.get('r', key)));
  await until('all sockets are taken', () => server.count('r') === MAX_SOCKETS, 10_000);

  upstream.close();
  const exchanges = await within(2_000, 'the requests under way at the close', all);
  for (const each of exchanges) assert.deepEqual(each, { kind: 'broken', why: 'closed' });
  await until('the sockets are closed', () => server.openConnections === 0);

  // What had been sent would have arrived before this.
  const other = open();
  t.after(() => other.close());
  const fence = await within(5_000, 'a request of another', other.get('fence', key));
  assert.equal(fence.kind, 'answer');
  assert.equal(server.count('r'), MAX_SOCKETS, 'requests that waited were sent after the close');
  other.close();
  // Node's agent opens one more socket for its queue, and closes it unused.
  await until('no socket is left', () => server.openConnections === 0);
  assert.equal((await within(1_000, 'a later request', upstream.get('r', key))).kind, 'broken');
});
