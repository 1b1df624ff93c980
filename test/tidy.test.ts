/**
 * The house rules, held against the code: the tables first, then the rules. Each detector is
 * first shown bad samples, in the same test: one that cannot fail is worthless.
 */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, extname, join, relative, sep } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { VERSION } from '../src/core/version.ts';
import * as find from './tidy/detectors.ts';
import { sourceFile } from './tidy/source-text.ts';
import type { SourceFile } from './tidy/source-text.ts';

/**
 * Who may import what, by the first name under src; a room may always import itself. `*` is
 * everything in src, `type x` only with `import type`. `hub` and `source` never meet.
 */
const ARROWS: find.Arrows = {
  'cli.ts': ['*'],
  'index.ts': ['gateway.ts', 'options.ts', 'core'],
  'gateway.ts': ['composition.ts', 'options.ts', 'core'],
  cluster: ['composition.ts', 'loop-delay.ts', 'source', 'core', 'type options.ts'],
  'loop-delay.ts': ['core'],
  'composition.ts': ['polling.ts', 'loop-delay.ts', 'http', 'hub', 'source', 'core',
    'type options.ts'],
  'polling.ts': ['source', 'core', 'type options.ts'],
  'arguments.ts': ['options.ts', 'watch-arguments.ts', 'doctor-arguments.ts',
    'health-arguments.ts', 'core', 'type client'],
  'watch-arguments.ts': ['option-kinds.ts', 'core', 'type client'],
  'doctor-arguments.ts': ['doctor'],
  'health-arguments.ts': ['option-kinds.ts'],
  'options.ts': ['option-kinds.ts', 'core', 'type source', 'type hub', 'type http'],
  'option-kinds.ts': ['core'],
  http: ['hub', 'core', 'doctor'],
  hub: ['core'],
  source: ['core'],
  client: ['core'],
  page: ['client', 'core'],
  doctor: ['core'],
  demo: ['core'],
  core: [],
};

/** What only some files under src may do. */
const ONLY_THERE: readonly find.OnlyThere[] = [
  {
    what: 'timers', where: ['core/clock.ts'], imported: /^node:timers/,
    code: [
      /(?<![\w$.])(?:globalThis\.)?(?:set|clear)(?:Timeout|Interval|Immediate)\b/g,
      /\bAbortSignal\.timeout\b/g,
    ],
  },
  {
    what: 'outgoing sockets', where: ['source/upstream.ts', 'client/', 'doctor/prober.ts', 'page/'],
    imported: /^node:(?:https? .*\b(?:request|get|\w*Agent)|(?:net|tls) .*(?:onnect\w*|Socket))\b/,
    code: [
      /(?<![\w$.])(?:https?\.(?:request|get|\w*Agent)|(?:net|tls|http2)\.\w*[cC]onnect\w*)\b/g,
      // Neither a method's declaration nor after `{ fetch } =`: what is handed in is no socket.
      /(?<![\w$.#]|\{[^}]*\bfetch\b[^}]*\}\s*=[^]*)fetch\((?![^()]*\)\s*[:{])|globalThis\.fetch\b/g,
    ],
  },
  {
    what: 'ServerResponse', imported: /^$/, code: [/\bServerResponse\b/g],
    where: ['http/', 'gateway.ts', 'composition.ts', 'demo/'],
  },
  {
    what: 'process', where: ['cluster/', 'cli.ts'], imported: /^node:(?:process|cluster)\b/,
    code: [/(?<![\w$.])(?:globalThis\.)?process\b(?!\s*[:(])/g],
  },
];

const MAX_FILE_LINES: Readonly<Record<string, number>> = { src: 250, test: 400, bench: 400 };
const MAX_FUNCTION_LINES = 70;
const MAX_COLUMNS = 100;
/** Of code: a cap that counts comments rewards leaving them out. */
const MAX_SRC_LINES = 12_500;
const MAX_MEDIAN_LINES = 120;

const DEV_DEPENDENCIES = ['@types/node', 'c8', 'tsx', 'typescript'];
const TOP_LEVEL = [
  'package.json', 'package-lock.json', 'tsconfig.json', 'src', 'test', 'bench', 'README.md',
  'LICENSE', 'CHANGELOG.md', 'Dockerfile',
];

/** Rows of README's tables: name and value. */
const OPTION_ROW = /^\| `--([a-z][a-z0-9-]*)(?:[^|\\]|\\.)*\|((?:[^|\\]|\\.)*)\|/;
const METRIC_ROW = /^\| `((?:runcast|process|nodejs)_[a-z_]+)` \|([^|]*)\|/;
const ERROR_ROW = /^\| `([A-Z_]+)` \|\s*`?(\d{3})`?\s*\|/;

const ROOT = repositoryRoot(dirname(fileURLToPath(import.meta.url)));
const FILES = ['src', 'test', 'bench', 'README.md'].flatMap(filesUnder);
const SRC = /^src\/.*\.ts$/;
const SRC_FILES = FILES.filter(({ path }) => SRC.test(path));

type Sample = readonly [path: string, ...texts: string[]];

/** `bad` texts have exactly one violation each, `good` ones none. */
function rule(
  name: string, files: RegExp, detect: (file: SourceFile) => string[],
  { bad, good }: { readonly bad: readonly Sample[]; readonly good: readonly Sample[] },
): void {
  const findings = ([path, ...texts]: Sample) =>
    texts.map((text) => ({ text, found: detect(sourceFile(path, text)) }));
  test(name, () => {
    for (const { text, found } of bad.flatMap(findings)) {
      assert.equal(found.length, 1, `must be found once: ${text}\n${found.join('\n')}`);
    }
    for (const { text, found } of good.flatMap(findings)) {
      assert.deepEqual(found, [], `must pass: ${text}`);
    }
    report(FILES.filter(({ path }) => files.test(path)).flatMap(detect));
  });
}

const A = 'src/core/a.ts';
const T = 'test/a.test.ts';
const DOC = '/** Why. */\n';
const lines = (count: number): string => '\n'.repeat(count);

rule('imports go one way, from room to room, and name their file', SRC,
  (file) => find.wrongArrows(file, ARROWS), {
    bad: [
      ['src/hub/a.ts', 'import { b } from \'../source/b.ts\';'],
      ['src/source/a.ts', 'import type { B } from \'../hub/b.ts\';'],
      ['src/options.ts', 'import { b } from \'./source/b.ts\';'],
      ['src/attic/a.ts', 'import { b } from \'../core/b.ts\';'],
      [A, 'export {\n  b,\n} from "../http/b.ts";', 'type B = import(\'../hub/b.ts\').B;'],
      [A, 'import \'../cli.ts\';', 'await import(name);', 'import b, { c } from \'b\';'],
      [A, 'import b from \'./b.js\';', 'import * as b from \'../../test/b.ts\';'],
    ],
    good: [
      ['src/options.ts', 'import type { B } from \'./source/b.ts\';'],
      ['src/http/a.ts', 'import { b } from \'../hub/b.ts\';\nimport c from \'node:http\';'],
      ['src/cli.ts', 'import { b } from \'./demo/b.ts\';'],
      [A, '// import b from \'b\';\nconst c = `import b from \'b\';`;\nimport.meta.url;'],
    ],
  });

rule('timers, outgoing sockets, responses and the process are each known in one place', SRC,
  (file) => find.outOfPlace(file, ONLY_THERE), {
    bad: [
      [A, 'setTimeout(f, 1);', 'x = `${clearInterval(t)}`;', 'AbortSignal.timeout(1);'],
      [A, 'import { scheduler } from \'node:timers/promises\';'],
      [A, 'http.request(url);', 'void fetch(url);', 'net.connect(1);', 'new https.Agent();'],
      [A, 'import { type Server, request } from \'node:https\';'],
      [A, 'import { createConnection } from \'node:net\';'],
      ['src/hub/a.ts', 'import type { ServerResponse } from \'node:http\';'],
      ['src/gateway.ts', 'process.versions.node;', 'const { pid } = process;'],
      ['src/gateway.ts', 'import { pid } from \'node:process\';'],
    ],
    good: [
      ['src/core/clock.ts', 'setTimeout(f, 1);'],
      [A, 'clock.setTimeout(f, 1); // setTimeout(', 'const { fetch } = policy;\nfetch(id);'],
      ['src/source/upstream.ts', 'import { request } from \'node:http\'; http.get(url);'],
      ['src/http/a.ts', 'import type { Socket } from \'node:net\'; async fetch(id) {}'],
      ['src/demo/page.ts', 'const page = `<script>fetch(\'/x\')</script>`;'],
      ['src/cli.ts', 'process.exit(0);'],
    ],
  });

rule('a file is short, a function fits on a screen and a line in 100 columns',
  /\.(?:ts|m?js|sh|html|css)$/, (file) => {
    const maxLines = MAX_FILE_LINES[file.path.split('/')[0] ?? ''] ?? Infinity;
    return find.tooLarge(file, maxLines, MAX_FUNCTION_LINES, MAX_COLUMNS);
  }, {
    bad: [
      [T, lines(401)], [A, lines(251), `const a = '${'x'.repeat(100)}';\n`],
      [A, `function f(a: { b: 1 }): Map<'{', X> {${lines(70)}}`],
      [A, `const f = async ({ a }: B): Promise<{ c: D }> => {${lines(70)}}`],
      [A, `class A {\n  static async #f<T>(\n    a = g(),\n  ) {${lines(68)}}\n}`],
      [A, `/'/; on('x', y => { /* { */ '{'; \`{\${'}'}{\`; a / b; /[/{]/g;${lines(70)}});`],
    ],
    good: [
      [A, lines(250), `// https://example.com/${'x'.repeat(100)}\n`],
      [A, `f(): void {${lines(69)}}\n\nexport class A<T> extends B<C> {${lines(70)}}`],
      [A, `if (a) {${lines(70)}} else if (b) {${lines(70)}}`, `const a = {${lines(70)}};`],
    ],
  });

rule('text has no tabs, no trailing blanks, only LF and one newline at the end', /./,
  find.untidyText, {
    bad: [[A, '\tx;\n', 'x; \n', 'x;\r\n', 'x;', 'x;\n\n']],
    good: [[A, 'x;\n\ny;\n', '']],
  });

rule('src has no any, no claim that something is there, and no leftovers', SRC, find.banned, {
  bad: [
    [A, 'let a: any;', 'b as any;', 'c<any>();', 'type D = readonly any[];', '// TODO', '// FIXME'],
    [A, 'a!.b;', 'f()!;', 'a[0]! + 1;', 'class A { b!: string; }', 'console.log(1);'],
    [A, '// @ts-expect-error: no', '/* @ts-ignore */', 'const enum A {}', 'namespace A {}'],
  ],
  good: [
    [A, 'if (!a && a !== b && f() != c) Promise.any([\'any!\', `any!`, /any!/]); // any!'],
    [A, 'const a = b /c/ 2 + (d) / e.any + f / 2; type G = { any: 1 };'],
  ],
});

rule('no test runs alone, and none is skipped without a reason', /^test\/.*\.ts$/, find.silenced, {
  bad: [
    [T, 'test.only(f);', 'test(\'a\', { only: true }, f);', 't.skip();'],
    [T, 'test(\'a\', { skip: true }, f);', 'describe.skip(\'a\', f);'],
  ],
  good: [[T, 't.skip(\'no git\'); test(\'a\', { skip: \'no git\' }, f); // test.only(']],
});

rule('no path belongs to one machine only', /./, find.machinePaths, {
  bad: [[T, ['cd ', 'work', 'main'].join('/'), ['\'', 'tmp', '\''].join('/')]],
  good: [[T, '--tmpfs /tmp ./work/a x/tmp/b']],
});

rule('a file opens with what it is for, and every export says what it is', SRC, find.undocumented, {
  bad: [
    [A, 'import \'./b.ts\';\n', `${DOC}\nexport const a = 1;\n`, `${DOC}\nexport type C = 1;\n`],
    [A, `${DOC}\n/* Why. */\nexport async function f() {}\n`],
    [A, `${DOC}\n${DOC}\nexport interface B {}\n`, `${DOC}let a;\nexport abstract class D {}\n`],
  ],
  good: [
    [A, `#!/usr/bin/env node\n${DOC}\n${DOC}export class B {}\n`],
    [A, `// Why.\n\n${DOC}export function f(a: 1): 1;\nexport function f(a: 2): 2;\n`],
    [A, `${DOC}export { a } from './b.ts';\nexport type { B } from './b.ts';\n`],
  ],
});

test('no file imports itself, however long the way round, types included', () => {
  const loop = ['b', 'c', 'a'].map((to, i) =>
    sourceFile(`src/core/${'abc'.charAt(i)}.ts`, `import type { X } from './${to}.ts';`));
  assert.equal(find.cycles(loop).length, 1);
  assert.deepEqual(find.cycles(loop.slice(1)), []);
  report(find.cycles(SRC_FILES));
});

test('browsers are served what a page loads, and nothing else', async () => {
  const samples = ['import \'./b.ts\';', 'import type { A } from \'./a.ts\';'].map((text, i) =>
    sourceFile(`src/core/${'ab'.charAt(i)}.ts`, text));
  assert.deepEqual(find.closure(samples, A), [A, 'src/core/b.ts']);
  assert.deepEqual(find.closure(samples, 'src/core/b.ts'), ['src/core/b.ts']);
  const { PAGE_MODULES } = await load('src/http/live-page.ts') as
    typeof import('../src/http/live-page.ts');
  const { DOCTOR_MODULES } = await load('src/http/doctor-page.ts') as
    typeof import('../src/http/doctor-page.ts');
  for (const [entry, served] of [
    ['src/page/main.ts', PAGE_MODULES], ['src/doctor/page.ts', DOCTOR_MODULES],
  ] as const) {
    const sources = served.map((name) => `src/${name.replace(/js$/, 'ts')}`);
    assert.deepEqual(sources.sort(), find.closure(SRC_FILES, entry));
  }
});

test('src as a whole stays small', () => {
  assert.equal(find.codeLineCount(sourceFile(A, '/** a\n * b\n */\n\nlet c = 1; // d\n// e\n')), 1);
  const sizes = SRC_FILES.map(({ text }) => find.lineCount(text)).sort((a, b) => a - b);
  const total = SRC_FILES.reduce((sum, file) => sum + find.codeLineCount(file), 0);
  const median = sizes[sizes.length >> 1] ?? Infinity;
  assert.ok(total < MAX_SRC_LINES, `src has ${total} lines of code, not under ${MAX_SRC_LINES}`);
  assert.ok(median < MAX_MEDIAN_LINES, `the median file has ${median} lines`);
});

test('nothing is needed at run time, and only four packages to build and test', () => {
  const wrong = (json: find.Package): string[] => find.wrongPackage(json, DEV_DEPENDENCIES);
  assert.deepEqual(wrong({ dependencies: {}, devDependencies: { tsx: '1' } }), []);
  assert.equal(wrong({ devDependencies: { tsx: '1' } }).length, 1);
  assert.equal(wrong({ dependencies: { ws: '8' }, devDependencies: { ws: '8' } }).length, 2);
  assert.equal(wrong({ dependencies: {}, peerDependencies: {} }).length, 1);
  report(wrong(JSON.parse(read('package.json')) as find.Package));
  assert.equal(VERSION, (JSON.parse(read('package.json')) as { version: string }).version);
});

test('the top level holds what it must and nothing else', (t) => {
  assert.deepEqual(find.strangers('src/a.ts\0.github/b\0README.md\0', TOP_LEVEL), []);
  assert.equal(find.strangers('docs/a.md\0docs/b.md\0jest.config.js\0', TOP_LEVEL).length, 2);
  if (!existsSync(join(ROOT, '.git'))) return t.skip('not a git checkout');
  const listed = execFileSync('git', ['ls-files', '-z'], { cwd: ROOT, encoding: 'utf8' });
  report(find.strangers(listed, TOP_LEVEL));
});

test('README lists every option with its default', async () => {
  const options = new Map([['port', '8080'], ['workers', '1'], ['host', '']]);
  const table = '| `--port N` | `8080` |\n| `--workers N\\|auto` | 2 | |\n| `--prot` | 1 |\n';
  assert.equal(find.differences(table, OPTION_ROW, options).length, 3);
  const { OPTIONS } = await load('src/options.ts') as
    { OPTIONS: readonly { readonly flag: string; readonly defaultText: string }[] };
  const declared = OPTIONS.map((option) => [option.flag, find.plain(option.defaultText)] as const);
  report(find.differences(read('README.md'), OPTION_ROW, new Map(declared)));
});

test('README lists every error code with its status', async () => {
  const codes = new Map([['NOT_FOUND', '404'], ['FORBIDDEN', '403']]);
  const table = '| `NOT_FOUND` | 404 | no |\n| `NOT_FOUND` | 405 | no |\n| `GONE` | 410 |\n';
  assert.equal(find.differences(table, ERROR_ROW, codes).length, 4);
  const { ERROR_CODES, refuse } = await load('src/core/errors.ts') as
    typeof import('../src/core/errors.ts');
  const declared = ERROR_CODES.map((code) => [code, String(refuse(code).status)] as const);
  report(find.differences(read('README.md'), ERROR_ROW, new Map(declared)));
});

test('README lists every metric with its type', async () => {
  const types = new Map([['runcast_runs', 'gauge'], ['runcast_polls_total', 'counter']]);
  const table = '| `runcast_runs` | counter | |\n| `process_cpus` | gauge | |\n';
  assert.equal(find.differences(table, METRIC_ROW, types).length, 3);
  const { METRICS } = await load('src/core/metrics.ts') as
    typeof import('../src/core/metrics.ts');
  const declared = Object.entries(METRICS).map(([name, { type }]) => [name, type] as const);
  report(find.differences(read('README.md'), METRIC_ROW, new Map<string, string>(declared)));
});

function report(violations: readonly string[]): void {
  assert.equal(violations.length, 0, `${violations.length} found\n${violations.join('\n')}`);
}

function repositoryRoot(from: string): string {
  const file = join(from, 'package.json');
  if (existsSync(file) && readFileSync(file, 'utf8').includes('"name": "runcast"')) return from;
  assert.notEqual(from, dirname(from), 'no package.json of runcast above this test');
  return repositoryRoot(dirname(from));
}

function read(path: string): string {
  assert.ok(existsSync(join(ROOT, path)), `${path} is missing`);
  return readFileSync(join(ROOT, path), 'utf8');
}

/** The module as it runs here: from source, or compiled beside this test. */
async function load(path: string): Promise<unknown> {
  assert.ok(existsSync(join(ROOT, path)), `${path} is missing`);
  const built = path.replace(/\.ts$/, extname(import.meta.url));
  return import(new URL(`../${built}`, import.meta.url).href);
}

function filesUnder(name: string): SourceFile[] {
  const top = join(ROOT, name);
  if (!existsSync(top)) return [];
  const names = name.includes('.') ? [''] : readdirSync(top, { recursive: true }).map(String);
  return names.map((below) => relative(ROOT, join(top, below)).replaceAll(sep, '/'))
    .filter((path) => /\.(?:ts|m?js|sh|html|css|md|json)$/.test(path))
    .map((path) => sourceFile(path, read(path)));
}
