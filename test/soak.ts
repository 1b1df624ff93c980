/**
 * A churn soak: clients join and leave in every way there is, against the program with two
 * workers, and its memory is watched. Run by .ci/run as
 * `node --import tsx test/soak.ts --seconds 60`; prints a line every few seconds and exits 1 when
 * memory grows, a visit goes wrong or something is left behind.
 */

import { once } from 'node:events';
import { parseArgs } from 'node:util';

import { startCli } from './support/cli.ts';
import { get, rssBytes, workersOf } from './support/processes.ts';
import { openRaw, openStream } from './support/sse-client.ts';
import { resetNow, startUpstream, state } from './support/upstream.ts';
import { until, within } from './support/wait.ts';

const AT_ONCE = 40;
const RUNS = 25;
const LINE_MS = 5_000;
const LOOK_MS = 250;
/** The heap is grown into in the first part; from then on the least of each part is compared. */
const WARM_UP = 0.4;
/** Of a process: so much more is no leak yet. */
const MAX_GROWTH = 0.1;
const MAX_GROWTH_BYTES = 12e6;

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' } } });
const seconds = Number(values.seconds);
if (!(seconds >= 5)) throw new Error(`--seconds: got ${values.seconds}, expected 5 or more`);

interface Look {
  readonly at: number;
  readonly rss: ReadonlyMap<number, number>;
}

const upstream = await startUpstream();
for (let i = 0; i < RUNS; i++) {
  upstream.run(`soak-${i}`, ({ n }) => state('running', { n, pad: 'x'.repeat(i * 200) }));
}
upstream.run('soak-over', state('completed'));
const cli = startCli([
  'serve', '--workers', '2', '--port', '0', '--upstream', upstream.origin, '--log-level', 'warn',
  '--poll-interval', '100ms', '--ping-interval', '500ms',
]);
const [, origin = ''] = await cli.stdoutLine(/ is at (http:\S+)\/ /, 20_000);
const port = Number(new URL(origin).port);
const pid = cli.pid ?? 0;
const pids = [pid, ...workersOf(pid)];
const startedAt = performance.now();
const endsAt = startedAt + seconds * 1000;
const looks: Look[] = [];
let visits = 0;

/** One client, from its coming to its going. */
async function visit(i: number): Promise<void> {
  const run = `soak-${i % RUNS}`;
  const key = `lma_${i % 7}`;
  if (i % 5 === 4) {
    const { socket, closed } = openRaw(port,
      `GET /v1/runs/${run}/stream HTTP/1.1\r\nhost: x\r\nx-api-key: ${key}\r\n\r\n`);
    await once(socket, i % 2 === 0 ? 'connect' : 'data');
    resetNow(socket);
    await closed;
    return;
  }
  const runId = i % 5 === 3 ? 'soak-over' : run;
  const url = `${origin}/v1/runs/${runId}/stream?lastEventId=${i}`;
  const stream = await openStream(url, { headers: { 'x-api-key': key }, headMs: 15_000 });
  if (runId === 'soak-over') await stream.next('complete');
  else for (let n = 0; n < i % 4; n++) await stream.next('progress', 15_000);
  if (runId !== 'soak-over') stream.destroy();
  await within(5_000, 'the end of a visit', stream.ended);
}

async function visitor(): Promise<void> {
  while (performance.now() < endsAt) {
    const i = visits++;
    await visit(i);
    // What is remembered of requests is this process's, and would be most of its memory.
    if (i % 1_000 === 0) upstream.requests.length = 0;
  }
}

function look(): void {
  looks.push({
    at: performance.now() - startedAt,
    rss: new Map(pids.map((each) => [each, rssBytes(each)])),
  });
}

function line(): string {
  const { at = 0, rss } = looks.at(-1) ?? {};
  const sizes = [...rss?.values() ?? []].map((bytes) => (bytes / 1e6).toFixed(1).padStart(7));
  return `${(at / 1000).toFixed(0).padStart(5)} s ${sizes.join('')} MB  ${visits} visits`;
}

/** The least memory of a process between two moments, as shares of the whole time. */
function least(of: number, from: number, to: number): number {
  const [start, end] = [from * seconds * 1000, to * seconds * 1000];
  return Math.min(...looks.filter(({ at }) => at >= start && at < end)
    .map(({ rss }) => rss.get(of) ?? 0));
}

function growth(): string[] {
  const half = (1 - WARM_UP) / 2;
  return pids.flatMap((each, i) => {
    const before = least(each, WARM_UP, WARM_UP + half);
    const after = least(each, WARM_UP + half, 1);
    const name = i === 0 ? 'the primary' : `worker ${i}`;
    const text = `${name}: ${(before / 1e6).toFixed(1)} MB, then ${(after / 1e6).toFixed(1)} MB`;
    process.stdout.write(`${text}\n`);
    return after - before > Math.max(MAX_GROWTH * before, MAX_GROWTH_BYTES) ? [text] : [];
  });
}

const problems: string[] = [];
process.stdout.write('   time  primary  workers\n');
const looking = setInterval(look, LOOK_MS);
const telling = setInterval(() => process.stdout.write(`${line()}\n`), LINE_MS);
try {
  await Promise.all(Array.from({ length: AT_ONCE }, visitor));
  const { streams = -1, runs = -1 } = await (async () => {
    let left: { streams?: number; runs?: number } = {};
    await until('nothing left', async () => {
      left = JSON.parse(await get(port, '/healthz')) as typeof left;
      return left.streams === 0 && left.runs === 0;
    }, 5_000).catch(() => undefined);
    return left;
  })();
  if (streams !== 0 || runs !== 0) problems.push(`${streams} streams and ${runs} runs are left`);
  if (workersOf(pid).some((each) => !pids.includes(each))) problems.push('a worker died');
  if (cli.stderr !== '') problems.push(`it logged: ${cli.stderr.slice(0, 2_000)}`);
} catch (error) {
  problems.push(String(error), cli.stderr);
} finally {
  clearInterval(looking);
  clearInterval(telling);
}
problems.push(...growth());
const { code } = await cli.stop(12_000);
if (code !== 0) problems.push(`exit code ${code}`);
await upstream.close();
process.stdout.write(`${visits} visits, ${(visits / seconds).toFixed(0)} a second\n`);
for (const problem of problems) process.stdout.write(`PROBLEM: ${problem}\n`);
process.exitCode = problems.length === 0 ? 0 : 1;
