/**
 * What `/metrics` says of a gateway that has done a bit of everything, in one process and over
 * workers: that Prometheus takes it, that it is true, and that it names nobody. Beside it the
 * alert rules. Prometheus' own `promtool` is the judge of both.
 */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';

import { METRICS } from '../../src/core/metrics.ts';
import { testFile } from '../support/files.ts';
import { STARTERS, gatewayFor, startGateway } from '../support/gateway.ts';
import type { StartGateway, TestGateway } from '../support/gateway.ts';
import { without } from '../support/programs.ts';
import { execution, refused, state } from '../support/upstream.ts';
import { until } from '../support/wait.ts';

const RULES = testFile('fleet/alerts.yml');
const RULE_TESTS = testFile('operations/alerts.yml');
const PUBLISH_KEY = 'pub_canary';
const noPromtool = without(['promtool'], 'prometheus');

/** Passes without a word of complaint. */
function promtool(args: readonly string[], input = ''): void {
  const { status, stdout, stderr, error } = spawnSync('promtool', args, {
    input, encoding: 'utf8', timeout: 60_000,
  });
  assert.equal(status, 0, `${String(error ?? '')}${stdout}${stderr}`);
}

class Scrape {
  readonly text: string;
  readonly #series = new Map<string, number>();

  constructor(text: string) {
    this.text = text;
    for (const line of text.split('\n').filter((each) => /^[a-z]/.test(each))) {
      const at = line.lastIndexOf(' ');
      this.#series.set(line.slice(0, at), Number(line.slice(at + 1).replace('+Inf', 'Infinity')));
    }
  }

  static async of(gateway: TestGateway): Promise<Scrape> {
    return new Scrape((await gateway.call('GET', '/metrics')).text);
  }

  of(series: string): number {
    return this.#series.get(series) ?? 0;
  }

  get series(): readonly string[] {
    return [...this.#series.keys()];
  }
}

/** Streams of all kinds, refusals, pushes, looks, trouble. */
async function live(gateway: TestGateway): Promise<void> {
  const { upstream } = gateway;
  upstream.run('canary-run', state('running'));
  upstream.run('canary-bad', refused(500, 'INTERNAL'));
  const gzip = { headers: { 'accept-encoding': 'gzip' } };
  const streams = await Promise.all([
    gateway.join('canary-run'), gateway.join('canary-run', { key: 'lma_canary' }),
    gateway.join('canary-run', gzip), gateway.join('canary-run', { query: '?x=canary-query' }),
  ]);
  const left = await gateway.join('canary-run');
  await left.next('progress');
  left.destroy();
  const key = { 'x-api-key': 'lma_canary' };
  await gateway.call('GET', '/v1/runs/canary-run', key);
  await gateway.call('GET', '/v1/runs/canary-run/wait?timeout=1', key);
  await gateway.call('GET', '/v1/runs/canary-bad', key);
  await gateway.call('GET', '/v1/runs/canary-run', { 'x-api-key': 'canary-nonsense' });
  await gateway.call('GET', '/canary-path');
  await gateway.call('POST', '/v1/runs/canary-run/poke');
  await gateway.call('POST', '/v1/webhooks/runs', { 'x-lamina-webhook-signature': 'canary' }, '{}');
  await gateway.polls('canary-run', 2);
  const end = JSON.stringify(execution('canary-run', 'completed'));
  const publisher = { authorization: `Bearer ${PUBLISH_KEY}` };
  assert.equal((await gateway.call('PUT', '/v1/runs/canary-run', publisher, end)).status, 202);
  for (const stream of streams) await stream.ended;
}

function scrapeTests(start: StartGateway, processes: number): void {
  it('is what Prometheus takes, is true, and names nobody', async (t) => {
    const gateway = await gatewayFor(t, start, {
      publishKeys: [PUBLISH_KEY], upstreamKey: 'lma_canary_own',
      upstreamRate: { requests: 10_000, perMs: 60_000 },
    });
    await live(gateway);
    // Workers tell theirs once a second.
    await until('all of it to be counted', async () => {
      const scrape = await Scrape.of(gateway);
      return scrape.of('runcast_streams_closed_total{reason="complete"}') === 4
        && scrape.of('runcast_streams') === 0
        && scrape.of('runcast_streams_closed_total{reason="timeout"}') === 1;
    });
    const scrape = await Scrape.of(gateway);
    const { text } = scrape;
    if (noPromtool === false) promtool(['check', 'metrics'], text);
    else t.diagnostic(noPromtool);
    assert.doesNotMatch(text, /canary|\/v1\/|lma_/);
    for (const series of scrape.series) {
      const labels = /^[a-z_]+(?:\{[a-z]+="[\w .+-]{1,40}"\})?$/;
      assert.match(series, labels, 'one label of plain words at most');
    }
    assert.ok(scrape.series.length < 150, `${scrape.series.length} series`);

    assert.equal(scrape.of('runcast_streams_opened_total'), 6);
    assert.equal(scrape.of('runcast_streams_closed_total{reason="client"}'), 1);
    assert.equal(scrape.of('runcast_streams_unfinished_total'), 2);
    assert.equal(scrape.of('runcast_events_total{event="complete"}'), 4);
    for (const series of [
      'runcast_event_bytes_total', 'runcast_budget_left', 'runcast_polls_total',
      'runcast_proofs_total', 'runcast_pushes_total{kind="publish"}',
      'runcast_sent_bytes_total{encoding="gzip"}', 'runcast_sent_bytes_total{encoding="identity"}',
      'runcast_upstream_answers_total{kind="trouble"}',
      'runcast_refusals_total{code="AUTH_INVALID_KEY"}',
      'runcast_refusals_total{code="NOT_FOUND"}', 'runcast_webhooks_refused_total{reason="head"}',
    ]) assert.ok(scrape.of(series) > 0, `${series} in ${text}`);
    const asked = scrape.of('runcast_upstream_request_seconds_count');
    assert.equal(asked, gateway.upstream.requests.length);
    const sent = scrape.of('runcast_sent_bytes_total{encoding="identity"}');
    assert.ok(scrape.of('runcast_event_bytes_total') > sent * 0.9, 'events are most of it');
    if (processes > 1) processTests(scrape);
  });
}

/** The program tells of its own processes; a library would tell of its host. */
function processTests(scrape: Scrape): void {
  for (const name of Object.keys(METRICS).filter((each) => /^(?:process|nodejs)_/.test(each))) {
    const isInfo = name === 'nodejs_version_info';
    const series = isInfo ? `${name}{version="${process.version}"}` : name;
    assert.ok(scrape.of(series) > 0, series);
  }
  assert.ok(scrape.of('process_resident_memory_bytes') > 60e6, 'three processes');
  const ageSeconds = Date.now() / 1000 - scrape.of('process_start_time_seconds');
  assert.ok(ageSeconds > 0 && ageSeconds < 600, `${ageSeconds} s old`);
}

describe('/metrics', () => {
  STARTERS.forEach(([name, start], i) => {
    describe(`over ${name}`, () => scrapeTests(start, i === 0 ? 1 : 3));
  });
});

/** How many alerts of this name fire where all goes on as it did between two scrapes. */
async function assertFiring(name: string, from: Scrape, to: Scrape, count: number): Promise<void> {
  const series = to.series.filter((each) => each.startsWith('runcast_')).map((each) => {
    const rises = /_total\b/.test(each);
    const step = rises ? Math.max(0, to.of(each) - from.of(each)) : 0;
    return { series: each, values: `${to.of(each)}+${step}x60` };
  });
  const expr = `count(ALERTS{alertname="${name}", alertstate="firing"}) or vector(0)`;
  const tests = [{ interval: '1m', input_series: series, promql_expr_test: [
    { expr, eval_time: '30m', exp_samples: [{ labels: '{}', value: count }] },
  ] }];
  const folder = await mkdtemp(join(tmpdir(), 'runcast-alerts-'));
  try {
    const file = join(folder, 'tests.yml');
    const body = { rule_files: [RULES], evaluation_interval: '1m', tests };
    await writeFile(file, JSON.stringify(body));
    promtool(['test', 'rules', file]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A gateway with this budget and ten runs that it would ask for 250 times a second. */
async function assertBudget(t: TestContext, requests: number, isUsedUp: boolean): Promise<void> {
  const upstreamRate = { requests, perMs: 4_000 };
  const gateway = await gatewayFor(t, startGateway, { upstreamRate });
  for (let i = 0; i < 10; i++) {
    gateway.upstream.run(`run-${i}`, state('running'));
    await gateway.join(`run-${i}`);
  }
  const from = await Scrape.of(gateway);
  await gateway.polls('run-0', 4);
  const to = await Scrape.of(gateway);
  assert.ok(to.of('runcast_budget_left') >= requests / 10, 'some of it is left');
  await assertFiring('RuncastBudgetUsedUp', from, to, isUsedUp ? 1 : 0);
}

describe('the alert rules', () => {
  it('tell that the budget is used up though a tenth is left', { skip: noPromtool }, async (t) => {
    await assertBudget(t, 40, true);
    await assertBudget(t, 10_000, false);
  });

  it('are rules, and come when they should', { skip: noPromtool }, () => {
    promtool(['check', 'rules', RULES]);
    promtool(['test', 'rules', RULE_TESTS]);
  });

  it('are about metrics that there are', () => {
    const rules = readFileSync(RULES, 'utf8');
    const used = [...rules.matchAll(/\bruncast_[a-z_]+/g)].map(([name]) => name);
    assert.ok(used.length > 8, 'they are about something');
    const names = Object.entries(METRICS).flatMap(([name, { type }]) =>
      type === 'histogram' ? [`${name}_bucket`, `${name}_count`, `${name}_sum`] : [name]);
    assert.deepEqual(used.filter((name) => !names.includes(name)), []);
  });
});
