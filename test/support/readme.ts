/** The README's own commands, so that a test runs what a reader would paste. */

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Every command in the `sh` blocks below the heading `## <heading>`, as its words. */
export function commandsBelow(heading: string): string[][] {
  const [, section] = readmeText().split(`\n## ${heading}\n`);
  assert.ok(section !== undefined, `the README has no section "${heading}"`);
  const [own = ''] = section.split('\n## ');
  const blocks = [...own.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, text = '']) => text);
  const lines = blocks.join('').replace(/\\\n/g, ' ').split('\n');
  return lines.filter((line) => line.trim() !== '').map(wordsOf);
}

/** As a shell would split it: blanks and single quotes are all that the README uses. */
export function wordsOf(command: string): string[] {
  assert.doesNotMatch(command, /["\\$`;|&<>*?]/, 'more shell than is understood here');
  return [...command.matchAll(/(?:[^\s']|'[^']*')+/g)].map(([word]) => word.replaceAll('\'', ''));
}

/** Compiled, this file lies deeper. */
function readmeText(from = dirname(fileURLToPath(import.meta.url))): string {
  const file = join(from, 'README.md');
  if (existsSync(file)) return readFileSync(file, 'utf8');
  assert.notEqual(from, dirname(from), 'no README.md above this file');
  return readmeText(dirname(from));
}
