/**
 * Run APIs of other makes, each in front of the program started by the very command that the
 * README gives for it: whole runs to every end there is, in that API's own bytes.
 */

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startCli } from '../support/cli.ts';
import type { Cli } from '../support/cli.ts';
import { KEY, assertEnded, names } from '../support/gateway.ts';
import { LOOK_ALIKES, shown } from '../support/look-alikes.ts';
import type { LookAlike } from '../support/look-alikes.ts';
import { commandsBelow } from '../support/readme.ts';
import { openStream } from '../support/sse-client.ts';
import type { SseStream } from '../support/sse-client.ts';
import { startUpstream } from '../support/upstream.ts';
import type { Upstream } from '../support/upstream.ts';

const COMMANDS = commandsBelow('Other run APIs');
const SERVE = COMMANDS.filter(([program]) => program === 'node');
const [CURL = [], ...OTHER_CURLS] = COMMANDS.filter(([program]) => program === 'curl');

/** What the README says to start for that API, but over this upstream, and on any port. */
function argumentsFor(api: LookAlike, upstream: Upstream): string[] {
  const fitting = SERVE.filter((words) => words.includes(api.path('{runId}')));
  assert.equal(fitting.length, 1, `examples for ${api.name}`);
  const [node, script, ...args] = fitting[0] ?? [];
  assert.deepEqual([node, script, args[0]], ['node', 'dist/cli.js', 'serve']);
  const at = args.indexOf('--upstream') + 1;
  assert.match(args[at] ?? '', /^https:\/\/[a-z.]+$/);
  return [
    ...args.with(at, upstream.origin), '--port', '0', '--poll-interval', '40ms',
    '--ping-interval', '1h', '--log-level', 'warn',
  ];
}

/** The header and the path of the README's curl line. */
function requestFor(runId: string): { headers: Record<string, string>; path: string } {
  const [, , , header = '', url = ''] = CURL;
  const [name = '', value = ''] = header.replace('KEY', KEY).split(': ');
  return { headers: { [name]: value }, path: new URL(url.replace('RUN_ID', runId)).pathname };
}

/** All that a client gets is on one line. */
const delivered = (api: LookAlike, runId: string, status: string): string =>
  api.print(runId, status).replace(/[\r\n]/g, '');

class Scene {
  readonly upstream: Upstream;
  readonly #api: LookAlike;
  readonly #cli: Cli;
  #origin = '';

  constructor(api: LookAlike, upstream: Upstream) {
    this.upstream = upstream;
    this.#api = api;
    this.#cli = startCli(argumentsFor(api, upstream));
  }

  async untilListening(): Promise<void> {
    [, this.#origin = ''] = await this.#cli.stdoutLine(/ is at (http:\S+)\/ /, 60_000);
  }

  async close(): Promise<void> {
    await this.#cli.stop();
    await this.upstream.close();
    assert.equal(this.#cli.stderr, '', 'nothing to warn of');
  }

  show(runId: string, status: string): void {
    this.upstream.run(this.#api.path(runId), shown(this.#api, runId, status, KEY));
  }

  join(runId: string, headers?: Record<string, string>): Promise<SseStream> {
    const asked = requestFor(runId);
    return openStream(this.#origin + asked.path, { headers: headers ?? asked.headers });
  }

  async look(runId: string): Promise<string> {
    const { headers, path } = requestFor(runId);
    return (await fetch(this.#origin + path.replace(/\/stream$/, ''), { headers })).text();
  }
}

function lookAlikeTests(api: LookAlike): void {
  let scene: Scene;
  before(async () => {
    scene = new Scene(api, await startUpstream());
    await scene.untilListening();
  });
  after(() => scene.close());

  Object.entries(api.ends).forEach(([end, verdict], n) => {
    it(`is streamed to ${end}, which is ${verdict}`, async () => {
      const runId = `30433642${n}`;
      const { way } = api;
      scene.show(runId, way[0] ?? '');
      const stream = await scene.join(runId);
      for (const status of way) {
        scene.show(runId, status);
        const { data } = await stream.next('progress');
        assert.equal(data, delivered(api, runId, status));
      }
      assert.equal(await scene.look(runId), `{"data":${stream.events.at(-1)?.data}}`);
      scene.show(runId, end);
      await assertEnded(stream);
      assert.deepEqual(names(stream), [...way.map(() => 'progress'), verdict]);
      assert.equal(stream.events.at(-1)?.data, delivered(api, runId, end));

      const again = await scene.join(runId);
      await assertEnded(again);
      assert.deepEqual(names(again), [verdict]);
      const asked = scene.upstream.requests.filter(({ path }) => path === api.path(runId));
      assert.ok(asked.length > way.length);
      const forms = new Set(asked.map(({ headerForm, key }) => `${headerForm} ${key}`));
      assert.deepEqual([...forms], [`authorization ${KEY}`]);
    });
  });

  it('is asked with a key in the header that it came in, and its refusals are known', async () => {
    scene.show('1', api.way[0] ?? '');
    for (const [headers, code] of [
      [{ 'x-api-key': KEY }, 'AUTH_INVALID_KEY'],
      [{ authorization: 'Bearer b' }, 'AUTH_INVALID_KEY'],
      [{}, 'AUTH_MISSING_KEY'],
    ] as const) {
      const refused = await scene.join('1', headers);
      await refused.ended;
      assert.equal(refused.response.status, 401);
      assert.equal((JSON.parse(refused.raw.toString()) as { code: string }).code, code);
    }
    const forms = scene.upstream.requests.filter(({ path }) => path === api.path('1'))
      .map(({ headerForm, key }) => `${headerForm} ${key}`);
    assert.deepEqual(forms, [`x-api-key ${KEY}`, 'authorization b']);
  });
}

describe('other run APIs, as the README says to start in front of them', () => {
  it('have one example each, and one line to follow a run', () => {
    assert.equal(SERVE.length, LOOK_ALIKES.length);
    assert.equal(COMMANDS.length, SERVE.length + 1);
    assert.deepEqual([CURL.slice(0, 3), OTHER_CURLS], [['curl', '-N', '-H'], []]);
    assert.equal(CURL.at(-1), 'http://127.0.0.1:8080/v1/runs/RUN_ID/stream');
  });

  for (const api of LOOK_ALIKES) {
    describe(api.name, { concurrency: true }, () => lookAlikeTests(api));
  }
});
