/**
 * The doctor behind real proxies, each set up well or in one of the ways that break streams: it
 * must see what is wrong, name the proxy where that can be known, and say what to change. What it
 * advises is what its healthy neighbour here has.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { readFileSync } from 'node:fs';
import { systemClock } from '../../../src/core/clock.ts';
import { examine } from '../../../src/doctor/prober.ts';
import { reportText } from '../../../src/doctor/report.ts';
import { judge } from '../../../src/doctor/verdicts.ts';
import type { Report } from '../../../src/doctor/verdicts.ts';
import { gatewayFor, startGateway } from '../../support/gateway.ts';
import { startCli } from '../../support/cli.ts';
import { within } from '../../support/wait.ts';
import { noHaproxy, noNginx, startHaproxy, startNginx } from '../../support/proxies.ts';

/** What is wrong, by check, and a line that must be among the advice. */
type Wrong = Readonly<Record<string, string>>;

const IDLE_MS = 3000;
/** Below {@link IDLE_MS}, and above what a busy machine may be late by. */
const CUT = '1s';
const V11 = 'proxy_http_version 1.1;';
const IGNORED = 'proxy_ignore_headers X-Accel-Buffering;';
const GZIP = 'gzip on; gzip_min_length 0; gzip_proxied any; gzip_types text/event-stream;';

async function assertReport(origin: string, name: string | undefined, wrong: Wrong): Promise<void> {
  const options = { clock: systemClock, idleMs: IDLE_MS };
  const report: Report = judge(await examine(new URL(origin), options));
  const text = reportText(origin, report);
  if (report.kind !== 'report') return assert.fail(text);
  const problems = report.checks.filter(({ verdict }) => verdict === 'problem');
  assert.deepEqual(problems.map((check) => check.name), Object.keys(wrong), text);
  for (const { name: check, changes } of problems) {
    const wanted = wrong[check] ?? '';
    const isAdvised = changes.some(({ change }) => change.includes(wanted));
    assert.ok(isAdvised, `${wanted} is not in ${text}`);
  }
  if (name !== undefined) assert.deepEqual(report.proxies, [name], text);
  return undefined;
}

// Side by side: most of the time of each is spent with waiting.
describe('behind nginx', { skip: noNginx, concurrency: 4 }, () => {
  const cases: readonly (readonly [what: string, directives: string, wrong: Wrong])[] = [
    ['as it comes all is well, for it is asked not to buffer', '', {}],
    ['with proxy_buffering on all is well, for the same reason', 'proxy_buffering on;', {}],
    ['with proxy_buffering off all is well', `proxy_buffering off; ${V11}`, {}],
    ['that ignores this and buffers, nothing comes in time', IGNORED,
      { buffering: 'proxy_buffering off;' }],
    ['that ignores this and does not buffer all is well', `${IGNORED} proxy_buffering off;`, {}],
    ['with a short proxy_read_timeout silence is cut', `proxy_read_timeout ${CUT};`,
      { silence: 'proxy_read_timeout 12s;' }],
    ['with gzip on each event comes through the compression', `${V11} ${GZIP}`, {}],
    ['with gzip on and buffers the compression holds back', `${V11} ${GZIP} ${IGNORED}`,
      { buffering: 'gzip off;' }],
    ['without accept-encoding nothing is compressed, and all is well',
      `${V11} proxy_set_header Accept-Encoding "";`, {}],
    ['that takes headers away, or changes them, is told which',
      'proxy_set_header Last-Event-ID ""; proxy_set_header X-Api-Key "a";'
      + ' proxy_hide_header Cache-Control;',
      {
        'request headers': 'proxy_set_header last-event-id $http_last_event_id;',
        'response headers': 'proxy_hide_header cache-control;',
      }],
  ];
  for (const [what, directives, wrong] of cases) {
    it(what, async (t: TestContext) => {
      const { port } = await gatewayFor(t, startGateway);
      await assertReport(await startNginx(t, port, directives), 'nginx', wrong);
    });
  }
});

it('finds behind nginx what the README shows', { skip: noNginx }, async (t) => {
  const { port } = await gatewayFor(t, startGateway, { pingIntervalMs: 15_000 });
  const origin = await startNginx(t, port, `${IGNORED} proxy_read_timeout 5s;`);
  const cli = startCli(['doctor', origin]);
  const { code } = await within(60_000, 'the end of runcast doctor', cli.exited);
  assert.equal(code, 1, cli.stdout);
  const [, shown = ''] = /```\n\$ node dist\/cli\.js doctor \S+\n([^]*?)```/
    .exec(readFileSync(new URL('../../../README.md', import.meta.url), 'utf8')) ?? [];
  // Addresses and measured times differ from run to run, words do not.
  const words = (text: string): string =>
    text.replaceAll(/https?:\S+/g, 'URL').replaceAll(/\d+\.\d s/g, 'N').trim();
  assert.equal(words(shown), words(cli.stdout));
});

describe('behind HAProxy', { skip: noHaproxy, concurrency: 4 }, () => {
  const cases: readonly (readonly [what: string, defaults: string, backend: string, Wrong])[] = [
    ['as it comes all is well', '', '', {}],
    ['that waits for the body of requests all is well', 'option http-buffer-request', '', {}],
    ['that compresses event streams they are left alone, being no-transform',
      'compression algo gzip\n  compression type text/event-stream', '', {}],
    ['with a short timeout for tunnels all is well', `timeout tunnel ${CUT}`, '', {}],
    ['with a short timeout for the server silence is cut', `timeout server ${CUT}`, '',
      { silence: 'timeout server 12s' }],
    ['that waits for the body of answers nothing comes in time', '',
      'http-response wait-for-body time 10s',
      { buffering: 'http-response wait-for-body' }],
    ['that takes the position away it is told', '', 'http-request del-header last-event-id',
      { 'request headers': 'http-request del-header last-event-id' }],
  ];
  for (const [what, defaults, backend, wrong] of cases) {
    it(what, async (t: TestContext) => {
      const { port } = await gatewayFor(t, startGateway);
      await assertReport(await startHaproxy(t, port, defaults, backend), undefined, wrong);
    });
  }
});
