/** The command that runs the cases: what it refuses before it measures anything. */

import assert from 'node:assert/strict';
import { extname } from 'node:path';
import { test } from 'node:test';
import { startNode } from '../support/cli.ts';
import { within } from '../support/wait.ts';

const RUN = new URL(`../../bench/run${extname(import.meta.url)}`, import.meta.url);

test('what is too short to publish, or a part of it, needs a folder of its own', async () => {
  const args = [['--quick'], ['--only', 'runcast'], ['--quick', '--out', 'bench/results']];
  for (const options of args) {
    const cli = startNode(RUN, ['digest', ...options]);
    const { code } = await within(9_000, 'the refusal', cli.exited);
    assert.equal(code, 2, cli.stderr);
    assert.match(cli.stderr, /--quick and --only: only with --out/);
  }
});
