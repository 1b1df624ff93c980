/** The Kubernetes manifests and the systemd unit: read by real parsers, held to what they say. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';

import { OPTIONS } from '../../src/options.ts';
import { testFile } from '../support/files.ts';
import { isInCi } from '../support/programs.ts';

const run = promisify(execFile);
const path = (name: string): string => testFile(`fleet/${name}`);

interface Manifest {
  readonly kind: string;
  readonly spec: { readonly [name: string]: unknown };
}

/** By Ruby's or Python's parser, whichever is there. */
async function manifests(): Promise<Manifest[] | undefined> {
  const programs = [
    ['python3', '-c', 'import sys, json, yaml; '
      + 'print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))'],
    ['ruby', '-ryaml', '-rjson', '-e', 'puts YAML.load_stream(File.read(ARGV[0])).to_json'],
  ];
  for (const [program = '', ...args] of programs) {
    const done = await run(program, [...args, path('kubernetes.yaml')]).catch(() => undefined);
    if (done !== undefined) return JSON.parse(done.stdout) as Manifest[];
  }
  return undefined;
}

describe('the Kubernetes manifests', () => {
  it('name paths, times and options that there are', async (t) => {
    const all = await manifests();
    if (all === undefined) {
      assert.equal(isInCi, false, 'CI has a YAML parser');
      return t.skip('no YAML parser here (apt-get install python3-yaml)');
    }
    assert.deepEqual(all.map(({ kind }) => kind),
      ['Deployment', 'Service', 'PodDisruptionBudget', 'HorizontalPodAutoscaler']);
    const text = JSON.stringify(all[0]?.spec);
    const pod = JSON.parse(text).template.spec;
    const [container] = pod.containers;
    assert.deepEqual([container.livenessProbe, container.readinessProbe]
      .map(({ httpGet }: { httpGet: { path: string } }) => httpGet.path), ['/livez', '/readyz']);
    const env = new Map<string, string>(container.env
      .map(({ name, value }: { name: string; value: string }) => [name, value]));
    const names = OPTIONS.map(({ flag }) => `RUNCAST_${flag.toUpperCase().replaceAll('-', '_')}`);
    assert.deepEqual([...env.keys()].filter((name) => !names.includes(name)), []);
    const drainS = Number(/^(\d+)s$/.exec(env.get('RUNCAST_DRAIN_TIMEOUT') ?? '')?.[1]);
    const { seconds } = container.lifecycle.preStop.sleep;
    assert.ok(pod.terminationGracePeriodSeconds > drainS + Number(seconds) + 5);
    assert.equal(container.securityContext.readOnlyRootFilesystem, true);
    assert.equal(pod.enableServiceLinks, false);
    assert.ok(env.get('RUNCAST_TICKET_SECRET') === undefined && env.has('RUNCAST_TICKET_SECRET'),
      'all replicas open each other\'s tickets, and no secret stands here');
    const [, service, budget, scaler] = all.map(({ spec }) => JSON.parse(JSON.stringify(spec)));
    assert.equal(service.clusterIP, 'None', 'what hashes has to see the pods');
    const { app } = JSON.parse(text).template.metadata.labels;
    for (const { app: selected } of [service.selector, budget.selector.matchLabels]) {
      assert.equal(selected, app);
    }
    assert.equal(budget.maxUnavailable, 1);
    assert.equal(scaler.scaleTargetRef.name, 'runcast');
    assert.deepEqual(scaler.metrics.map(({ pods }: { pods: { metric: { name: string } } }) =>
      pods.metric.name), ['runcast_streams']);
    return undefined;
  });
});

describe('the systemd unit', () => {
  it('is one that systemd takes', async (t) => {
    const text = await readFile(path('runcast.service'), 'utf8');
    assert.match(text, /^ExecStart=\/usr\/bin\/node \/opt\/runcast\/dist\/cli\.js serve$/m);
    const complaints = await verified(text);
    if (complaints === undefined) {
      assert.equal(isInCi, false, 'CI has systemd-analyze');
      return t.skip('no systemd-analyze here');
    }
    assert.deepEqual(complaints, []);
    const worse = await verified(text.replace('KillMode=mixed', 'KillMode=gently\nKilMode=mixed'));
    assert.equal(worse?.length, 2, 'it would complain');
    return undefined;
  });
});

/** What systemd has against a unit, but that the program is not installed here. */
async function verified(text: string): Promise<string[] | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'runcast-unit-'));
  try {
    const file = join(folder, 'runcast.service');
    await writeFile(file, text);
    const told = await run('systemd-analyze', ['verify', '--man=no', file])
      .catch((error: unknown) => error as { readonly code: unknown; readonly stderr: string });
    if ('code' in told && told.code === 'ENOENT') return undefined;
    const { stderr } = told;
    return stderr.split('\n').filter((line) => line.includes('runcast.service')
      && !/is not executable: No such file/.test(line));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

describe('the proxies', () => {
  it('let a wait take the two minutes that it may', async () => {
    for (const [name, regex] of [
      ['haproxy.cfg', /set-timeout server (\d+)s if \{ path_end \/wait \}/],
      ['Caddyfile', /handle @wait \{\s+import replicas (\d+)s/],
      ['nginx.conf', /location ~ \S+\/wait\$ \{[^}]*proxy_read_timeout (\d+)s;/],
    ] as const) {
      const [, seconds] = regex.exec(await readFile(path(name), 'utf8')) ?? [];
      assert.ok(Number(seconds) > 120, `${name}: ${seconds} s`);
    }
  });
});

describe('the README', () => {
  it('shows HAProxy\'s configuration as it is run', async () => {
    const [, shown = ''] = (await readFile(path('haproxy.cfg'), 'utf8')).split(/(?=^defaults$)/m);
    assert.ok(shown.length > 1_000);
    const readme = await readFile(testFile('../README.md'), 'utf8');
    assert.ok(readme.includes(shown.trimEnd()), 'the README shows another one');
  });
});
