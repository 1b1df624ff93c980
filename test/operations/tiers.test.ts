/**
 * A run with more watchers than one replica holds: the README's arithmetic, and the same in small
 * with real processes. One run API, one root that polls it, leaves that relay the root's stream,
 * and watchers on each. By default three leaves; one in a thousand of a million watchers is
 *
 *     LEAVES=27 WATCHERS=1000 TEST_DIST=1 node --import tsx --test test/operations/tiers.test.ts
 */

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';

import { testFile } from '../support/files.ts';
import { assertEnded, names } from '../support/gateway.ts';
import { Program, metric, startProcesses, startProgram } from '../support/processes.ts';
import type { SseStream } from '../support/sse-client.ts';
import { startUpstream, state } from '../support/upstream.ts';
import type { Upstream } from '../support/upstream.ts';
import { until } from '../support/wait.ts';

const RUN = 'hot';
const LEAVES = Number(process.env['LEAVES'] ?? 3);
const WATCHERS = Number(process.env['WATCHERS'] ?? 90);
const POLL_MS = 200;
const CHANGES = 10;
const MS = 60_000;

interface Load {
  readonly leaves: number;
  readonly watchersOfLeaf: number;
  readonly upstreamPerMinute: number;
  /** Of one leaf, when all streams end after ten minutes and come back. */
  readonly joinsPerSecond: number;
  readonly pingsPerSecond: number;
  readonly cpuSecondsOfChange: number;
}

/** With the defaults: polls every 2 s, pings every 15 s, streams of 10 minutes. */
function loadOf(watchers: number, held: number, frameUs: number): Load {
  const leaves = Math.ceil(watchers / held);
  const watchersOfLeaf = Math.floor(watchers / leaves);
  return {
    leaves, watchersOfLeaf, upstreamPerMinute: 60 / 2,
    joinsPerSecond: Math.round(watchersOfLeaf / 600),
    pingsPerSecond: Math.round(watchersOfLeaf / 15),
    cpuSecondsOfChange: Number((watchersOfLeaf * frameUs / 1e6).toFixed(2)),
  };
}

async function startLeaf(t: TestContext, upstream: Upstream, root: Program): Promise<Program> {
  const cli = startProcesses(t, 1, ['--upstream', root.origin, '--port', '0', '--source', 'stream',
    '--max-streams-per-key', `${WATCHERS}`]);
  const [, url = ''] = await cli.stdoutLine(/ is at (http:\S+)\/ /, MS);
  const leaf = new Program(cli, upstream, false, url);
  t.after(() => leaf.stop());
  return leaf;
}

/** Of all leaves: what they asked the root for beside the streams. */
async function asked(leaves: readonly Program[]): Promise<number> {
  const counts = leaves.flatMap(({ port }) =>
    [metric(port, 'runcast_polls_total'), metric(port, 'runcast_proofs_total')]);
  return (await Promise.all(counts)).reduce((sum, each) => sum + each, 0);
}

describe('tiers for a run with a million watchers', () => {
  it('come to what the README says', async () => {
    const load = loadOf(1_000_000, 38_000, 10);
    assert.deepEqual(load, {
      leaves: 27, watchersOfLeaf: 37_037, upstreamPerMinute: 30, joinsPerSecond: 62,
      pingsPerSecond: 2_469, cpuSecondsOfChange: 0.37,
    });
    const readme = (await readFile(testFile('../README.md'), 'utf8')).replace(/\s+/g, ' ');
    for (const said of [
      `${load.leaves} leaves`, `the root sends ${load.leaves} streams`,
      '37,037', '0.37 s of one core',
      `${load.upstreamPerMinute} requests a minute`, `${load.joinsPerSecond} joins a second`,
      '2,469 pings',
    ]) assert.ok(readme.includes(said), `the README does not say "${said}"`);
  });

  it('have one poller, one stream to each leaf, and lose no end', async (t) => {
    const upstream = await startUpstream();
    t.after(() => upstream.close());
    upstream.run(RUN, state('running', { step: 0 }));
    const root = await startProgram(t, 1, {
      upstream, flags: ['--poll-interval', `${POLL_MS}ms`],
    });
    const leaves = await Promise.all(Array.from({ length: LEAVES }, () =>
      startLeaf(t, upstream, root)));
    const streams: SseStream[] = [];
    for (let i = 0; i < WATCHERS; i += LEAVES) {
      const next = leaves.slice(0, WATCHERS - i);
      streams.push(...await Promise.all(next.map((leaf) => leaf.join(RUN))));
    }
    for (const stream of streams) await stream.next('progress', MS);
    await until('one stream to each leaf', async () => (await root.stats()).streams === LEAVES, MS);
    const joined = await asked(leaves);

    const [from, before] = [performance.now(), upstream.count(RUN)];
    for (let step = 1; step <= CHANGES; step++) {
      upstream.run(RUN, state('running', { step }));
      for (const stream of streams) {
        await stream.next(({ data }) => data.includes(`"step":${step}`), MS);
      }
    }
    const polls = upstream.count(RUN) - before;
    const due = (performance.now() - from) / POLL_MS;
    t.diagnostic(`${WATCHERS} watchers, ${LEAVES} leaves: ${CHANGES} changes told to all in`
      + ` ${Math.round(due * POLL_MS)} ms by ${polls} polls`);
    assert.ok(polls >= CHANGES && polls <= due + 2, `${polls} polls where ${due} were due`);
    assert.equal(await asked(leaves), joined, 'leaves ask for nothing while they have a stream');
    assert.deepEqual((await root.stats()), { streams: LEAVES, runs: 1 });

    upstream.run(RUN, state('completed', { step: CHANGES }));
    for (const stream of streams) {
      await assertEnded(stream, MS);
      assert.deepEqual(names(stream, 'ping', 'progress'), ['complete']);
    }
    await until('no stream left', async () => (await root.stats()).streams === 0, MS);
  });
});
