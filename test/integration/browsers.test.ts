/** What the README tells pages to do, with an EventSource that has no headers. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';

import { startNode } from '../support/cli.ts';
import { STARTERS, gatewayFor } from '../support/gateway.ts';
import type { StartGateway } from '../support/gateway.ts';
import { publicClients } from '../support/public-clients.ts';
import { programOf, snippet } from '../support/readme-programs.ts';
import { state } from '../support/upstream.ts';
import { until, within } from '../support/wait.ts';

const clients = await publicClients();
const skip = clients === undefined && 'the npm registry is out of reach';

async function pageTest(t: TestContext, start: StartGateway): Promise<void> {
  const gateway = await gatewayFor(t, start);
  gateway.upstream.run('demo-1', state('running'));
  const head = `import * as all from '${clients?.resolve('eventsource5')}';\n`
    + 'globalThis.EventSource = all.EventSource;\n';
  const code = head + await snippet('new EventSource(new URL(data.url');
  const replace = [['http://127.0.0.1:8080', gateway.origin] as const];
  const page = startNode(await programOf(t, code, replace), []);
  t.after(() => page.stop());
  await page.stdoutLine(/^running$/, 60_000);
  await until('a stream', async () => (await gateway.stats()).streams === 1);
  gateway.upstream.run('demo-1', state('completed'));
  const { code: exit } = await within(20_000, 'the end of the page', page.exited);
  assert.equal(exit, 0, page.stderr);
}

describe('a page that follows a run by a ticket', { skip }, () => {
  for (const [name, start] of STARTERS) it(`over ${name}`, (t) => pageTest(t, start));
});
