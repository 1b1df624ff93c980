/** The security checklist, held against the tests that it names: none may be gone, or be none. */

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const PLACES = ['..', '../..'].map((up) => join(dirname(fileURLToPath(import.meta.url)), up));
const ROOT = PLACES.find((each) => existsSync(join(each, 'package.json'))) ?? '.';

/** Rows that say what is wrong with them; an empty list is right. */
function wrong(table: string, read: (path: string) => string | undefined): string[] {
  const rows = table.split('\n').filter((line) => /^\| (?!threat)/.test(line));
  return rows.flatMap((row) => {
    const [, threat = '', , held = ''] = row.split(/(?<!\\)\|/);
    const places = held.split(';').map((each) => /^\s*`([^`]+)`(.*)$/.exec(each));
    return places.flatMap((place) => {
      if (place === null) return [`${threat}: names no test`];
      const [, path = '', rest = ''] = place;
      const text = read(path);
      if (text === undefined) return [`${threat}: no ${path}`];
      const names = [...rest.matchAll(/"([^"]+)"/g)].map(([, name = '']) => name);
      if (names.length === 0 && path.endsWith('.test.ts')) return [`${threat}: no name`];
      return names.filter((name) => !beginsTest(text, name)).map((name) =>
        `${threat}: no test "${name}" in ${path}`);
    });
  });
}

/** Is there a test of that name, written as it is in its file? */
function beginsTest(text: string, name: string): boolean {
  const opened = text.replaceAll(/\(\s+/g, '(');
  return ['it', 'test', 'rule'].some((word) =>
    ['\'', '`'].some((quote) => opened.includes(`${word}(${quote}${name}`)));
}

test('every threat of the checklist has a test that there is', () => {
  const files: Readonly<Record<string, string>> = {
    'a.test.ts': 'it(\'holds it\', f);\n  it(`with ${what} too`, f); // it(\'never\'',
  };
  const look = (held: string): string[] => wrong(`| a | b | ${held} |`, (path) => files[path]);
  assert.deepEqual(look('`a.test.ts` "holds", "with ${what}"'), []);
  for (const bad of ['', 'a.test.ts', '`a.test.ts`', '`b.test.ts` "holds"',
    '`a.test.ts` "it holds"', '`a.test.ts` "holds"; later']) {
    assert.equal(look(bad).length, 1, bad);
  }
  const list = readFileSync(join(ROOT, 'src/SECURITY-CHECKLIST.md'), 'utf8');
  assert.ok(list.split('\n').filter((line) => line.startsWith('| ')).length > 50);
  const found = wrong(list, (path) => {
    const file = join(ROOT, path);
    return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  });
  assert.equal(found.length, 0, found.join('\n'));
});
