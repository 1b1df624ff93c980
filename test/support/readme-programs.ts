/** The README's snippets, as programs: what it shows is what is run. */

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import type { TestContext } from 'node:test';
import { pathToFileURL } from 'node:url';

const LIBRARY = new URL(`../../src/index${extname(import.meta.url)}`, import.meta.url).href;

/** The one block of JavaScript in the README that has all these words in it. */
export async function snippet(...words: string[]): Promise<string> {
  const text = await readFile(await readmePath(), 'utf8');
  const blocks = [...text.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code = '']) => code);
  const [found, another] = blocks.filter((code) => words.every((word) => code.includes(word)));
  assert.ok(found !== undefined && another === undefined, `one snippet with ${words.join()}`);
  return found;
}

/** Compiled tests lie deeper than their sources. */
async function readmePath(): Promise<URL> {
  for (let up = '../../'; ; up += '../') {
    const url = new URL(`${up}README.md`, import.meta.url);
    const isThere = await readFile(url, 'utf8').then((text) => text.startsWith('# runcast'))
      .catch(() => false);
    if (isThere) return url;
    assert.ok(up.length < 20, 'no README above this test');
  }
}

/** In a folder of its own that is gone after the test, with runcast being the one under test. */
export async function programOf(
  t: TestContext, code: string, replace: readonly (readonly [string, string])[], dir?: string,
): Promise<URL> {
  const folder = dir ?? await mkdtemp(join(tmpdir(), 'runcast-readme-'));
  if (dir === undefined) t.after(() => rm(folder, { recursive: true, force: true }));
  const library = code.replace("from 'runcast'", `from '${LIBRARY}'`);
  const program = replace.reduce((before, [from, to]) => {
    assert.ok(before.includes(from), `${from} is in the snippet`);
    return before.replaceAll(from, to);
  }, library);
  const path = join(folder, `program-${Math.random().toString(36).slice(2)}.mjs`);
  await writeFile(path, program);
  return pathToFileURL(path);
}
