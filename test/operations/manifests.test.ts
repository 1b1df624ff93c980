/** The Kubernetes manifests and the systemd unit: read by real parsers, held to what they say. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';

import { OPTIONS } from '../../src/options.ts';
import { testFile } from '../support/files.ts';

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
    if (all === undefined) return t.skip('no YAML parser here (apt-get install python3-yaml)');
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
    assert.match(JSON.stringify(all[3]), /"name":"runcast_streams"/);
    return undefined;
  });
});

describe('the systemd unit', () => {
  it('is one that systemd takes', async (t) => {
    const text = await readFile(path('runcast.service'), 'utf8');
    assert.match(text, /^ExecStart=\/usr\/bin\/node \/opt\/runcast\/dist\/cli\.js serve$/m);
    try {
      const verify = ['verify', '--man=no', path('runcast.service')];
      const { stderr } = await run('systemd-analyze', verify);
      const lines = stderr.split('\n').filter((line) => line.includes('runcast.service'));
      assert.deepEqual(lines, []);
    } catch (error) {
      const { code, stderr = '' } = error as { code?: unknown; stderr?: string };
      if (code === 'ENOENT' && process.env['CI'] === undefined) {
        return t.skip('no systemd-analyze here');
      }
      // What the unit is to start is not installed here; all else must be right.
      const lines = stderr.split('\n').filter((line) => line.includes('runcast')
        && !/is not executable: No such file/.test(line));
      assert.deepEqual(lines, [], stderr);
    }
    return undefined;
  });
});

describe('the proxies', () => {
  it('let a wait take the two minutes that it may', async () => {
    for (const [name, regex] of [
      ['haproxy.cfg', /set-timeout server (\d+)s if \{ path_end \/wait \}/],
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
