/**
 * A run as lines of a terminal: one for the whole, one a node. Pure: what it shows of time it is
 * given. All of upstream's text goes through `harmless`.
 */

import { columnsOf, cutTo, fitTo, harmless } from '../core/text.ts';
import { outputsOf } from './events.ts';
import type { RunOutput, RunState } from './events.ts';
import { elapsed, momentOf, percentIn, percentOf } from './measures.ts';
import { textOf } from './plain-value.ts';

/** What a picture must fit into. */
export interface Canvas {
  readonly columns: number;
  /** Lines at most. */
  readonly rows: number;
  readonly hasColor: boolean;
  /** Unix milliseconds. */
  readonly wallNow: number;
}

const COLORS = { red: 31, green: 32, cyan: 36, dim: 2 };
type Color = keyof typeof COLORS;

const MARKS = {
  completed: ['✓', 'green'], error: ['✗', 'red'], pending: ['·', 'dim'],
} as const satisfies Record<string, readonly [string, Color]>;

const MAX_LABEL_COLUMNS = 24;
const MAX_BAR_COLUMNS = 16;

/** How a run is over. */
export type RunEnd = 'complete' | 'error';

/** The lines, without line breaks. `note` stands last, where there is one. */
export function pictureOf(
  runId: string, run: RunState, canvas: Canvas, note = '', end?: RunEnd,
): string[] {
  const { columns, rows, hasColor } = canvas;
  const paint = (color: Color, text: string): string =>
    (hasColor && text !== '' ? `\x1b[${COLORS[color]}m${text}\x1b[0m` : text);
  const status = harmless(run.status);
  const percent = end === 'complete' ? 100 : percentOf(run);
  const shown = percent === undefined ? '' : `${percent} %`;
  const facts = [status, shown, timeOf(run, canvas.wallNow)];
  const head = cutTo(columns, [harmless(runId), ...facts].filter(Boolean).join('  '));
  const outputs = outputsOf(run);
  const labels = outputs.map((output) => labelOf(output));
  // No `Math.max` of all of them: a call takes only so many arguments.
  const widest = labels.reduce((most, label) => Math.max(most, columnsOf(label)), 0);
  const labelColumns = Math.min(MAX_LABEL_COLUMNS, Math.floor(columns / 3), widest);
  const third = Math.floor((columns - labelColumns - 4) / 3);
  const barColumns = Math.max(0, Math.min(MAX_BAR_COLUMNS, third));
  const lines = outputs.map((output, i) => {
    const [mark, color] = markOf(output);
    const label = fitTo(labelColumns, labels[i] ?? '');
    const bar = barOf(nodePercent(output), barColumns);
    const left = columns - labelColumns - barColumns - 6;
    const told = left < 4 ? '' : cutTo(left, toldOf(output, end));
    return `${paint(color, mark)} ${label}  ${paint(color, bar)}  ${told}`.trimEnd();
  });
  const error = harmless(run.errorMessage);
  const last = [
    ...error === '' ? [] : [paint('red', cutTo(columns, error))],
    ...note === '' ? [] : [paint('dim', cutTo(columns, harmless(note)))],
  ];
  const wholeColumns = Math.min(columns, labelColumns + barColumns + 4);
  const wholeColor = end === 'complete' ? 'green' : end === 'error' ? 'red' : 'cyan';
  const whole = paint(wholeColor, barOf(percent, wholeColumns));
  const room = rows - 2 - last.length;
  const nodes = within(room, columns, lines, outputs);
  return [head, ...percent === undefined ? [] : [whole], ...nodes, ...last].slice(0, rows);
}

/** Where there is not room for all, those that are done are left out first. */
function within(
  room: number, columns: number, lines: string[], outputs: readonly RunOutput[],
): string[] {
  if (lines.length <= room) return lines;
  if (room < 1) return [];
  const open = lines.filter((_, i) => outputs[i]?.status !== 'completed');
  const shown = open.slice(0, room - 1);
  return [...shown, cutTo(columns, `… and ${lines.length - shown.length} more`)];
}

/** A result that is pending when the run is over is none that will come. */
function toldOf(output: RunOutput, end: RunEnd | undefined): string {
  const detail = detailOf(output);
  return detail === '' && output.status === 'pending' && end !== undefined ? 'never came' : detail;
}

/** What a node is called. */
export function labelOf({ label, id }: RunOutput): string {
  return harmless(textOf(label) || textOf(id) || 'output');
}

/** What has come of it, in a line: its error or its value. */
export function detailOf({ type, value, error }: RunOutput): string {
  if (typeof error === 'string' && error !== '') return harmless(error);
  const text = textOf(value);
  if (text === '') return '';
  const kind = typeof type === 'string' && type !== 'text' ? `${type}  ` : '';
  // A picture in the text itself says nothing to anybody.
  const isData = /^data:[^,]{0,100},/i.test(text);
  return harmless(kind + (isData ? `data: URL, ${Math.ceil(text.length / 1024)} KB` : text));
}

/** `0:12` from its start to its end, or until now; empty where it says nothing of that. */
export function timeOf(run: RunState, wallNow: number): string {
  const from = momentOf(run.startedAt) ?? momentOf(run.createdAt);
  return from === undefined ? '' : elapsed((momentOf(run.completedAt) ?? wallNow) - from);
}

function markOf({ status }: RunOutput): (typeof MARKS)[keyof typeof MARKS] {
  return status === 'completed' || status === 'error' ? MARKS[status] : MARKS.pending;
}

/** Its own, where it has one; else all or nothing. */
function nodePercent(output: RunOutput): number {
  const { status, progress } = output;
  if (status === 'completed' || status === 'error') return 100;
  const nested = (progress as { percentComplete?: unknown } | null | undefined)?.percentComplete;
  return percentIn(output['percentComplete']) ?? percentIn(nested) ?? percentIn(progress) ?? 0;
}

function barOf(percent: number | undefined, columns: number): string {
  const full = Math.floor((columns * (percent ?? 0)) / 100);
  return '█'.repeat(full) + '░'.repeat(columns - full);
}
