/**
 * What npm would publish: the compiled files and the types of the two entries, nothing else; held
 * to what tools for package authors ask, and used as somebody does who has nothing but it.
 */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, normalize } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';

import { startNode } from '../support/cli.ts';
import { testFile } from '../support/files.ts';
import { installed } from '../support/packages.ts';
import { openStream } from '../support/sse-client.ts';

const ROOT = testFile('..');
const run = promisify(execFile);
/** It was 690,000 with every declaration. What is left is code, and a tenth of it the README. */
const MAX_BYTES = 540_000;
/** Exact: what they ask for changes. */
const PUBLINT = 'publint@0.3.25';
const ATTW = '@arethetypeswrong/cli@0.18.5';

/** Runs npm, or what it has installed, with nothing of this process's own test run. */
async function call(program: string, args: readonly string[], cwd: string): Promise<string> {
  const env = Object.fromEntries(Object.entries(process.env)
    .filter(([name]) => !/^(NODE_|npm_|RUNCAST_)/i.test(name)));
  const { stdout } = await run(program, args, { cwd, env, timeout: 120_000 });
  return stdout;
}

interface Packed {
  readonly filename: string;
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string }[];
}

/** Of the entries, the declarations that they name, and those that these name. */
async function declarations(...entries: string[]): Promise<Set<string>> {
  const found = new Set<string>();
  const read = async (path: string): Promise<void> => {
    if (found.has(path)) return;
    found.add(path);
    const text = await readFile(join(ROOT, path), 'utf8');
    for (const [, name = ''] of text.matchAll(/(?:from|import\() ?'(\.[^']+)\.ts'/g)) {
      await read(normalize(join(dirname(path), `${name}.d.ts`)));
    }
  };
  for (const entry of entries) await read(entry);
  return found;
}

const skip = process.env['TEST_DIST'] === undefined && 'what is packed is what was built';

describe('the package', { skip }, () => {
  let folder: string;
  let packed: Packed;
  let tarball: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'runcast-pack-'));
    // Without the scripts: these would build under the feet of other tests.
    const told = await call('npm', [
      'pack', '--json', '--ignore-scripts', '--loglevel=error', '--pack-destination', folder,
    ], ROOT);
    [packed] = JSON.parse(told) as [Packed];
    tarball = join(folder, packed.filename);
    await writeFile(join(folder, 'package.json'), '{ "private": true }');
    await call('npm', ['install', '--no-audit', '--no-fund', '--offline', tarball], folder);
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it('holds every module, the types that its entries name, and nothing else', async () => {
    const sources = (await readdir(join(ROOT, 'src'), { recursive: true }))
      .filter((path) => path.endsWith('.ts'));
    assert.deepEqual(packed.files.map(({ path }) => path).sort(), [
      'LICENSE', 'README.md', 'package.json',
      ...sources.map((path) => `dist/${path.replace(/\.ts$/, '.js')}`),
      ...await declarations('dist/index.d.ts', 'dist/client/index.d.ts'),
    ].sort());
  });

  it('is no larger than it was', () => {
    assert.ok(packed.unpackedSize <= MAX_BYTES, `${packed.unpackedSize} bytes unpacked`);
  });

  it('brings nothing with it, and runs nothing when it is installed', async () => {
    const all = await readdir(join(folder, 'node_modules'));
    assert.deepEqual(all.filter((name) => !name.startsWith('.')), ['runcast']);
    const text = await readFile(join(folder, 'node_modules/runcast/package.json'), 'utf8');
    const { dependencies, scripts } = JSON.parse(text) as
      Record<'dependencies' | 'scripts', Record<string, string>>;
    assert.deepEqual(dependencies, {});
    const names = ['preinstall', 'install', 'postinstall', 'prepare'];
    assert.deepEqual(names.filter((name) => name in scripts), []);
  });

  it('runs in an empty folder: npx runcast serve', async (t) => {
    const npx = new URL(`file://${join(folder, 'node_modules/.bin/runcast')}`);
    const cli = startNode(npx, ['serve', '--port', '0', '--poll-interval', '100ms'], {
      cwd: folder,
    }, []);
    t.after(() => cli.stop());
    assert.equal((await call('npx', ['--no-install', 'runcast', '--version'], folder)).trim(),
      (JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { version: string })
        .version);
    const [, url = ''] = await cli.stdoutLine(/ is at (http:\S+)\/ /);
    const stream = await openStream(`${url}/v1/runs/demo-quick/stream`, {
      headers: { 'x-api-key': 'lma_demo' },
    });
    t.after(() => stream.destroy());
    assert.equal(stream.response.status, 200);
  });

  it('is imported, required and type-checked by somebody who has nothing but it', async () => {
    await writeFile(join(folder, 'use.mts'), `
      import { createGateway } from 'runcast';
      import type { Gateway, Purpose, RunSource, Trace } from 'runcast';
      import { watchRun } from 'runcast/client';
      const gateway: Gateway = createGateway({ upstream: 'http://127.0.0.1:9', port: 0 });
      export const events = watchRun('http://127.0.0.1:9/v1/runs/r/stream', { apiKey: 'k' });
      export const source: RunSource | undefined = undefined;
      export type { Purpose, Trace };
      // @ts-expect-error: there is no such option
      createGateway({ upstreams: '' });
      void gateway.close();
    `);
    const modern = ['--module', 'nodenext', '--target', 'es2023', '--strict'];
    await call(join(ROOT, 'node_modules/.bin/tsc'), [
      '--noEmit', ...modern, '--types', 'node', '--typeRoots', join(ROOT, 'node_modules/@types'),
      'use.mts',
    ], folder).catch((error: { stdout?: string }) => assert.fail(error.stdout));
    const script = 'const { createGateway } = require("runcast");'
      + 'const { watchRun } = require("runcast/client");'
      + 'console.log(typeof createGateway, typeof watchRun)';
    assert.equal((await call(process.execPath, ['-e', script], folder)).trim(),
      'function function');
  });

  it('is what publint and Are the types wrong? ask for', { timeout: 300_000 }, async (t) => {
    const tools = await installed(PUBLINT, ATTW);
    if (tools === undefined) return t.skip('they cannot be installed');
    t.after(() => rm(tools, { recursive: true, force: true }));
    const bin = join(tools, 'node_modules/.bin');
    const told = (error: { stdout?: string; stderr?: string }): never =>
      assert.fail(`${error.stdout}${error.stderr}`);
    assert.match(await call(join(bin, 'publint'), ['--strict', tarball], folder).catch(told),
      /All good!/);
    await call(join(bin, 'attw'), [tarball, '--profile', 'esm-only'], folder).catch(told);
    return undefined;
  });
});
