/**
 * `npm run bench [case …]`: measures runcast beside its control rows and writes what came out to
 * bench/results. Without names all cases run.
 */

import { existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

import * as compressed from './cases/compressed.ts';
import * as compression from './cases/compression.ts';
import * as digest from './cases/digest.ts';
import * as encoding from './cases/encoding.ts';
import * as fanOut from './cases/fan-out.ts';
import * as held from './cases/held.ts';
import * as joins from './cases/joins.ts';
import * as manyRuns from './cases/many-runs.ts';
import * as memory from './cases/memory.ts';
import * as restart from './cases/restart.ts';
import * as slowReaders from './cases/slow-readers.ts';
import * as start from './cases/start.ts';
import * as upstream from './cases/upstream.ts';
import { drawChart, panelOf } from './support/chart.ts';
import { ROOT, describeMachine, machineLine } from './support/machine.ts';
import {
  readResults, renderHeadlines, replaceBetweenMarkers, writeReport,
} from './support/report.ts';
import type { CaseOptions, CaseResult } from './support/report.ts';

const CASES: Readonly<Record<string, { run(options: CaseOptions): Promise<CaseResult> }>> = {
  'fan-out': fanOut, compressed, memory, joins, held, 'many-runs': manyRuns,
  'slow-readers': slowReaders, restart, upstream, start, encoding, digest, compression,
};
const RESULTS = join(ROOT, 'bench', 'results');
const USAGE = `npm run bench -- [case …] [--repeats 3] [--only ROW]… [--quick] [--out FOLDER]
  cases: ${Object.keys(CASES).join(', ')}
  npm run bench -- streams --help: a load on a gateway of your own`;

/** Exit code: 0 done, 1 a case could not be measured, 2 bad usage. */
export async function runCases(args: readonly string[]): Promise<number> {
  const asked = parse(args);
  if (typeof asked === 'string') {
    process.stderr.write(`${asked}\n${USAGE}\n`);
    return 2;
  }
  if (!existsSync(join(ROOT, 'dist', 'cli.js'))) {
    process.stderr.write('bench: dist is not there: npm run build\n');
    return 2;
  }
  if (isStale()) {
    process.stderr.write('bench: dist is older than src: npm run build\n');
    return 2;
  }
  const log = (line: string): void => void process.stderr.write(`${line}\n`);
  let failures = 0;
  // What is measured was built before the first case, whatever is committed meanwhile.
  const { commit } = describeMachine();
  for (const name of asked.names) {
    const machine = { ...describeMachine(), commit };
    try {
      const result = await CASES[name]?.run({ ...asked, log });
      if (result) writeReport(asked.out, { machine, cases: [result] });
    } catch (error) {
      failures++;
      // Yesterday's result would go on saying that all is well.
      rmSync(join(asked.out, `${name}.json`), { force: true });
      writeReport(asked.out, { machine, cases: [] });
      process.stderr.write(`bench: ${name} was not measured: ${String(error)}\n`);
    }
  }
  publish(asked.out);
  return failures === 0 ? 0 : 1;
}

/** Is there a file in src that dist was not built from? */
function isStale(): boolean {
  const builtMs = statSync(join(ROOT, 'dist', 'cli.js')).mtimeMs;
  const files = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' });
  return files.some((file) => file.endsWith('.ts')
    && statSync(join(ROOT, 'src', file)).mtimeMs > builtMs);
}

interface Asked {
  readonly names: readonly string[];
  readonly repeats: number;
  readonly quick: boolean;
  readonly only: readonly string[];
  readonly out: string;
}

/** What was asked for, or what is wrong with it. */
function parse(args: readonly string[]): Asked | string {
  const { values, positionals } = parseArgs({
    args: [...args], allowPositionals: true, strict: false,
    options: {
      repeats: { type: 'string', default: '3' }, quick: { type: 'boolean', default: false },
      out: { type: 'string', default: RESULTS }, only: { type: 'string', multiple: true },
    },
  });
  const { repeats, quick, only, out: folder, ...others } = values;
  const out = resolve(String(folder));
  const problems = [
    ...Object.keys(others).map((name) => `--${name}: no such option`),
    ...positionals.filter((name) => CASES[name] === undefined).map((name) =>
      `${name}: no such case, expected ${Object.keys(CASES).join(', ')}`),
    ...Number(repeats) >= 1 && Number(repeats) <= 100 ? [] : [
      `--repeats: got ${String(repeats)}, expected a whole number from 1 to 100`],
    ...(quick === true || only !== undefined) && out === RESULTS ? [
      '--quick and --only: only with --out, or they would replace the published results'] : [],
  ];
  if (problems.length > 0) return problems.join('\n');
  const names = positionals.length > 0 ? positionals : Object.keys(CASES);
  return {
    names, repeats: Math.floor(Number(repeats)), quick: quick === true, out,
    only: [only ?? []].flat().map(String),
  };
}

/** The chart beside the results, and the targets in the project's README. */
function publish(out: string): void {
  const results = readResults(out);
  const rowsOf = (name: string): CaseResult['rows'] =>
    results.find((result) => result.case.name === name)?.case.rows ?? [];
  const panels = [
    panelOf(rowsOf('fan-out'), 'CPU per frame', 'CPU per delivered frame, 1 KB, 5,000 streams'),
    panelOf(rowsOf('memory').filter(({ contender }) => contender !== memory.RUN_EACH),
      'memory per stream', 'Memory per idle stream, 10,000 on one run'),
  ].filter(({ bars }) => bars.length > 0);
  const drawn = results.filter(({ case: { name } }) => name === 'fan-out' || name === 'memory');
  const footer = [
    ...new Set(drawn.map(({ machine }) => machineLine(machine))),
    'Whiskers: least and greatest repeat. The kernel\'s memory for a socket is in no bar.',
  ];
  if (panels.length > 0) {
    const chart = drawChart({ title: 'runcast beside others', panels, footer });
    writeFileSync(join(out, 'chart.svg'), chart);
  }
  if (out !== RESULTS) return;
  const readme = join(ROOT, 'README.md');
  const text = readFileSync(readme, 'utf8');
  writeFileSync(readme, replaceBetweenMarkers(text, renderHeadlines(results, Object.keys(CASES))));
}
