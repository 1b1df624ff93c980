/**
 * What a bench says, as data and as text. The data (a JSON file for each case) is all there is:
 * the text is made from the files alone, so one case can be run again without the others, and
 * whoever doubts a median finds every repeat in them. Nothing is measured here.
 */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { machineLine } from './machine.ts';
import type { Machine } from './machine.ts';
import { ratios, summarise } from './statistics.ts';
import type { Figure, Summary } from './statistics.ts';

export type { Figure } from './statistics.ts';

/** One contender's figures; another row of the case may have figures that this one lacks. */
export interface Row {
  readonly contender: string;
  readonly figures: readonly Figure[];
  /** What a reader must know to compare this row with the others. */
  readonly notes: readonly string[];
}

/** A limit for one figure of one row: absolute, or a multiple of another row's. */
export interface Target {
  /** What it is that has a limit: the first cell of the README's table. */
  readonly text: string;
  readonly contender: string;
  readonly figure: string;
  /** In the figure's unit; with `over`, how many times that row's value. */
  readonly limit: number;
  /** The row that is 1; without it the limit is absolute. */
  readonly over?: string;
  /** Where it is not called what this one's is. */
  readonly overFigure?: string;
  /** The limit is the least, not the most, that is good enough. */
  readonly isFloor?: boolean;
}

/** A target with what came out; without `value` nothing came out, and it is not met. */
export interface TargetResult extends Target {
  readonly unit: string;
  /** The figure itself. */
  readonly measured?: Summary;
  /** What is held against the limit: the figure, or its ratio to the other row's. */
  readonly value?: Summary;
  /** By the median. */
  readonly isMet: boolean;
  /** How often it was measured. */
  readonly repeats?: number;
}

/** All of one case. */
export interface CaseResult {
  /** Its file's name. */
  readonly name: string;
  readonly title: string;
  /** One sentence: what was measured, and how the answers were checked before. */
  readonly what: string;
  readonly rows: readonly Row[];
  readonly targets: readonly TargetResult[];
  /** `contender: reason`. */
  readonly skipped: readonly string[];
}

/** What one command measured. */
export interface Report {
  readonly machine: Machine;
  readonly cases: readonly CaseResult[];
}

/** A case as it lies in its file: cases side by side may come from different machines. */
export interface StoredCase {
  readonly machine: Machine;
  readonly case: CaseResult;
}

/** What every case is told. */
export interface CaseOptions {
  /** How often each row is measured, 1 or more. */
  readonly repeats: number;
  /** Names of the rows to measure; none: all. Small cases measure all of theirs. */
  readonly only: readonly string[];
  /** For trying the bench out: too short for numbers worth quoting. */
  readonly quick: boolean;
  /** A line for whoever waits. */
  log(line: string): void;
}

/** Holds a target against the rows of its case. */
export function judge(target: Target, rows: readonly Row[]): TargetResult {
  const find = (contender: string, name: string): Figure | undefined =>
    rows.find((row) => row.contender === contender)?.figures.find((found) => found.name === name);
  const { contender, figure: name, over, overFigure = name, limit, isFloor = false } = target;
  const figure = find(contender, name);
  const base = over === undefined ? undefined : find(over, overFigure);
  if (figure === undefined || (over !== undefined && base === undefined)) {
    return { ...target, unit: figure?.unit ?? '', isMet: false };
  }
  const { unit, values } = figure;
  const value = summarise(base === undefined ? values : ratios(values, base.values));
  const isMet = isFloor ? value.median >= limit : value.median <= limit;
  const repeats = values.length;
  return { ...target, unit, measured: summarise(values), value, isMet, repeats };
}

/** Writes each case into its file in `folder`, then the README there from all files. */
export function writeReport(folder: string, { machine, cases }: Report): void {
  mkdirSync(folder, { recursive: true });
  for (const result of cases) {
    const stored: StoredCase = { machine, case: result };
    writeFileSync(join(folder, `${result.name}.json`), `${JSON.stringify(stored, null, 2)}\n`);
  }
  writeFileSync(join(folder, 'README.md'), renderResults(readResults(folder)));
}

/** The cases in `folder`, in the order of their names. Throws with the name of a broken file. */
export function readResults(folder: string): StoredCase[] {
  return readdirSync(folder).filter((name) => name.endsWith('.json')).sort().map((name) => {
    try {
      return JSON.parse(readFileSync(join(folder, name), 'utf8')) as StoredCase;
    } catch (error) {
      throw new Error(`${name} is no result of the bench`, { cause: error });
    }
  });
}

/** All cases as Markdown. */
export function renderResults(results: readonly StoredCase[]): string {
  const intro = 'Medians, with the least and the greatest repeat in brackets. A ratio is made '
    + 'within each repeat, then its median is taken. The JSON files beside this text, which is '
    + 'made from them, have every repeat.';
  return `${['# Results', intro, ...results.map(renderCase)].join('\n\n')}\n`;
}

/**
 * The targets of all cases, short: what stands in the project's README. Of the cases whose names
 * are `expected` it says which have no result.
 */
export function renderHeadlines(
  results: readonly StoredCase[], expected: readonly string[] = [],
): string {
  const rows = results.flatMap(({ case: { targets } }) => targets.map(targetCells));
  const lines = [...new Set(results.map(({ machine }) => machineLine(machine)))];
  const origins = lines.map((line) => {
    const names = results.filter(({ machine }) => machineLine(machine) === line)
      .map(({ case: { name } }) => name);
    return `Measured on ${escaped(line)}: ${names.join(', ')}.`;
  });
  const absent = expected.filter((name) => !results.some(({ case: found }) => found.name === name));
  const missing = absent.length > 0 ? [`Not measured: ${absent.join(', ')}.`] : [];
  return `${table(TARGET_HEAD, rows)}\n\n${[...origins, ...missing].join('\n')}\n`;
}

const MARKERS = ['<!-- bench -->', '<!-- /bench -->'] as const;

/** `text` with `content` between its two markers. Throws unless each is there once, in order. */
export function replaceBetweenMarkers(text: string, content: string): string {
  const [open, close] = MARKERS;
  const [before, inside, ...more] = text.split(open);
  const [, after, ...rest] = inside?.split(close) ?? [];
  if (after === undefined || more.length + rest.length > 0 || before?.includes(close)) {
    throw new Error(`the text needs ${open} and behind it ${close}, each once`);
  }
  return `${before}${open}\n${content.trim()}\n${close}${after}`;
}

function renderCase({ machine, case: { title, what, rows, targets, skipped } }: StoredCase) {
  const { date, loadBefore, command } = machine;
  const notes = rows.flatMap(({ contender, notes: all }) =>
    all.map((note) => `- ${escaped(contender)}: ${escaped(note)}`));
  const absent = skipped.map((line) => `- not measured: ${escaped(line)}`);
  return [
    `## ${escaped(title)}`,
    escaped(what),
    table(...figureTable(rows)),
    [...notes, ...absent].join('\n'),
    targets.length === 0 ? '' : table(TARGET_HEAD, targets.map(targetCells)),
    `${escaped(machineLine(machine))} · load before ${loadBefore} · ${date}`,
    `\`${command.replaceAll('`', '\'').replace(/\s+/g, ' ')}\``,
  ].filter((part) => part !== '').join('\n\n');
}

/** Columns in the order in which the rows bring them up. */
function figureTable(rows: readonly Row[]): [head: string[], cells: string[][]] {
  const units = new Map(rows.flatMap(({ figures }) =>
    figures.map(({ name, unit }) => [name, unit] as const)));
  const head = [...units].map(([name, unit]) => escaped(unit === '' ? name : `${name} (${unit})`));
  const cells = rows.map(({ contender, figures }) => [
    escaped(contender),
    ...[...units.keys()].map((name) => {
      const figure = figures.find((found) => found.name === name);
      return figure === undefined ? '–' : spreadText(summarise(figure.values));
    }),
  ]);
  return [['', ...head], cells];
}

const TARGET_HEAD = ['', 'measured', 'repeats', 'target', ''];

function targetCells(
  { text, unit, measured, value, limit, over, isFloor, isMet, repeats }: TargetResult,
) {
  const suffix = over === undefined ? unitText(unit) : ` × ${over}`;
  const bound = `${isFloor === true ? '≥' : '≤'} ${numberText(limit)}${suffix}`;
  if (value === undefined || measured === undefined) {
    return [text, 'not measured', '–', bound, '**NOT met**'].map(escaped);
  }
  const absolute = over === undefined ? '' : `${numberText(measured.median)}${unitText(unit)}: `;
  const worst = isFloor === true ? limit - value.min : value.max - limit;
  const judged = isMet ? `met${worst > 0 ? ', not in every repeat' : ''}` : '**NOT met**';
  const verdict = repeats === 1 ? `${judged}, one run` : judged;
  const cell = `${absolute}${spreadText(value)}${suffix}`;
  return [text, cell, `${repeats ?? '–'}`, bound, verdict].map(escaped);
}

function unitText(unit: string): string {
  return unit === '' ? '' : ` ${unit}`;
}

/** `7.42 (7.30–7.61)`; without brackets where all repeats are the same. */
function spreadText({ median, min, max }: Summary): string {
  const middle = numberText(median);
  const [least, most] = [numberText(min), numberText(max)];
  return least === most ? middle : `${middle} (${least}–${most})`;
}

/** Three digits that mean something, all digits above that. */
export function numberText(value: number): string {
  const size = Math.abs(value);
  if (size >= 100) return Math.round(value).toLocaleString('en');
  return String(Number(value.toPrecision(3)));
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const rule = head.map((_, index) => (index === 0 ? '---' : '---:'));
  return [line(head), line(rule), ...rows.map(line)].join('\n');
}

/** Text of ours or of the machine's, harmless within a table. */
function escaped(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replace(/\s+/g, ' ');
}
