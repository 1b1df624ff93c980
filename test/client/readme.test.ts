/**
 * What README shows of clients, run as it stands there: as a module in a folder of its own that
 * finds the package by its name, over a gateway of ours in place of the one on port 8080.
 */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, extname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { pictureOf } from '../../src/client/picture.ts';
import { startNode } from '../support/cli.ts';
import type { Cli } from '../support/cli.ts';
import { startGateway, useGateway } from '../support/gateway.ts';
import { isInCi } from '../support/programs.ts';
import { publicClients } from '../support/public-clients.ts';
import { state } from '../support/upstream.ts';
import { within } from '../support/wait.ts';

const ROOT = rootOf(dirname(fileURLToPath(import.meta.url)));
const MS = 60_000;
const PACKSHOT = 'https://cdn.example.com/packshot.png';
const NO_REGISTRY = 'the npm registry is out of reach';

let readme = '';
let dir = '';

/** These tests may be compiled into another folder. */
function rootOf(from: string): string {
  return existsSync(join(from, 'README.md')) ? from : rootOf(dirname(from));
}

/** The one block of README that has this in it. */
function snippet(having: string): string {
  const blocks = [...readme.matchAll(/^```(?:js)?\n([^]*?)^```$/gm)].map(([, body = '']) => body);
  const found = blocks.filter((body) => body.includes(having));
  assert.equal(found.length, 1, `blocks with ${having}`);
  return found[0] ?? '';
}

/** `runcast` in the folder's node_modules: what was built, else its source under its names. */
async function linkPackage(): Promise<void> {
  const at = join(dir, 'node_modules', 'runcast');
  await mkdir(join(dir, 'node_modules'), { recursive: true });
  if (process.env['TEST_DIST'] !== undefined) return symlink(ROOT, at, 'dir');
  await mkdir(at);
  const exports = { './client': './client.js' };
  await writeFile(join(at, 'package.json'), JSON.stringify({ type: 'module', exports }));
  const own = `../../src/client/index${extname(import.meta.url)}`;
  const source = new URL(own, import.meta.url).href;
  await writeFile(join(at, 'client.js'), `export * from '${source}';\n`);
  return undefined;
}

async function start(t: TestContext, name: string, code: string): Promise<Cli> {
  const file = join(dir, name);
  await writeFile(file, code);
  const cli = startNode(pathToFileURL(file), []);
  t.after(() => cli.stop());
  return cli;
}

describe('README', () => {
  const gateway = useGateway(startGateway, { keyPrefix: 'lma_' });
  const here = (code: string): string => code.replaceAll('http://127.0.0.1:8080', gateway().origin);

  before(async () => {
    readme = await readFile(join(ROOT, 'README.md'), 'utf8');
    dir = await mkdtemp(join(tmpdir(), 'runcast-readme-'));
    await writeFile(join(dir, 'package.json'), '{"type":"module"}');
    await linkPackage();
  });
  after(() => rm(dir, { recursive: true, force: true }));

  it('follows a run with runcast/client to its end, and then the process ends', async (t) => {
    gateway().upstream.run('demo-1', state('running', { progress: { percentComplete: 7 } }));
    const cli = await start(t, 'client.mjs', here(snippet('event.type === \'lost\'')));
    await cli.stdoutLine(/^running \{ percentComplete: 7 \}$/, MS);
    gateway().upstream.run('demo-1', state('completed', { outputs: [{ id: 'o1' }] }));
    assert.deepEqual(await within(MS, 'the end of it', cli.exited), { code: 0, signal: null });
    assert.match(cli.stdout, /\[ \{ id: 'o1' \} \]\n$/);
  });

  it('follows a run with the eventsource package', async (t) => {
    const clients = await publicClients();
    if (clients === undefined) return t.skip(NO_REGISTRY);
    const url = clients.resolve('eventsource5');
    gateway().upstream.run('demo-2', state('running'));
    const code = here(snippet('from \'eventsource\'')).replace('\'eventsource\'', `'${url}'`)
      .replace('demo-1', 'demo-2');
    const cli = await start(t, 'eventsource.mjs', code);
    await cli.stdoutLine(/^running$/, MS);
    gateway().upstream.run('demo-2', state('completed', { outputs: [{ id: 'o2' }] }));
    assert.equal((await within(MS, 'the end of it', cli.exited)).code, 0);
    assert.match(cli.stdout, /\[ \{ id: 'o2' \} \]/);
    return undefined;
  });

  it('has a hook that React runs, which leaves one run for another', async (t) => {
    const specs = ['react@19', 'react-test-renderer@19'];
    const install = ['install', '--no-audit', '--no-fund', '--no-save', '--prefix', dir, ...specs];
    try {
      await promisify(execFile)('npm', install, { timeout: 120_000, cwd: dir });
    } catch (error) {
      if (isInCi) throw error;
      return t.skip(NO_REGISTRY);
    }
    // npm takes away what it does not know.
    await rm(join(dir, 'node_modules', 'runcast'), { recursive: true, force: true });
    await linkPackage();
    await writeFile(join(dir, 'hook.mjs'), snippet('export function useRun'));
    gateway().upstream.run('one', state('running'));
    gateway().upstream.run('two', state('completed'));
    const cli = await start(t, 'react.mjs', `
      import { createElement } from 'react';
      import { act, create } from 'react-test-renderer';
      import { useRun } from './hook.mjs';

      globalThis.IS_REACT_ACT_ENVIRONMENT = true;
      const shown = [];
      const App = ({ id, apiKey }) => {
        const url = '${gateway().origin}/v1/runs/' + id + '/stream';
        const { event, error } = useRun(url, { apiKey });
        const text = error?.code ?? event?.data.status ?? 'nothing';
        shown.push(id + ' ' + text);
        return text;
      };
      // What is set within act() is rendered at its end.
      const until = async (text) => {
        while (shown.at(-1) !== text) await act(() => new Promise((go) => setTimeout(go, 5)));
      };
      let root;
      const show = (props) => act(() => {
        if (root === undefined) root = create(createElement(App, props));
        else root.update(createElement(App, props));
      });
      await show({ id: 'one', apiKey: 'lma_a' });
      await until('one running');
      await show({ id: 'two', apiKey: 'lma_a' });
      await until('two completed');
      await show({ id: 'a.b', apiKey: 'lma_a' });
      await until('a.b VALIDATION_ERROR');
      await act(() => root.unmount());
      console.log(JSON.stringify(shown));
    `);
    const [line] = await cli.stdoutLine(/^\[.*\]$/, MS);
    const shown = JSON.parse(line) as string[];
    assert.deepEqual([...new Set(shown)], [
      'one nothing', 'one running', 'two nothing', 'two completed',
      'a.b nothing', 'a.b VALIDATION_ERROR',
    ], 'never another run\'s');
    // One that went on watching would keep the process.
    assert.equal((await within(MS, 'the end of it', cli.exited)).code, 0);
    return undefined;
  });

  it('shows the picture that runcast watch draws', () => {
    const done = { status: 'completed', error: null };
    const pending = { status: 'pending', type: 'pending', value: null, error: null };
    const cause = 'The model gave no answer in time';
    const lines = pictureOf('demo-1', {
      status: 'running', startedAt: '2026-01-01T00:00:00Z', progress: { percentComplete: 54 },
      outputs: [
        { ...done, label: 'Script', type: 'text', value: 'A hand turns the label to the front.' },
        { ...done, label: 'Packshot', type: 'image', value: PACKSHOT },
        { ...pending, label: 'Scene', status: 'error', error: cause },
        { ...pending, label: 'Clip' },
        { ...pending, label: 'Caption' },
      ],
    }, { columns: 80, rows: 24, hasColor: false, wallNow: Date.parse('2026-01-01T00:00:12Z') });
    assert.equal(`${lines.join('\n')}\n`, snippet('demo-1  running'));
  });
});
