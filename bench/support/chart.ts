/**
 * Figures as a picture: an SVG put together by hand, with bars from zero, whiskers from the least
 * to the greatest repeat, and colours that follow the reader's light or dark mode. Pure: figures
 * in, text out, the same text for the same figures.
 */

import { numberText } from './report.ts';
import type { Row } from './report.ts';
import { summarise } from './statistics.ts';
import type { Summary } from './statistics.ts';

/** One horizontal bar. */
export interface Bar extends Summary {
  readonly name: string;
  /** Drawn in the accent colour. */
  readonly isOurs: boolean;
}

/** Bars over one axis that begins at 0. */
export interface Panel {
  readonly title: string;
  /** Behind the axis and each value. */
  readonly unit: string;
  readonly bars: readonly Bar[];
}

/** All that is drawn, from top to bottom. */
export interface Chart {
  readonly title: string;
  readonly panels: readonly Panel[];
  /** Small print: the machine, and what whiskers are. Each line its own. */
  readonly footer: readonly string[];
}

const WIDTH = 720;
const MARGIN = 24;
/** Where bars begin: names stand to the left of it. */
const AXIS_X = 216;
/** What the longest whisker leaves free for its value. */
const VALUE_WIDTH = 96;
const BAR_HEIGHT = 18;
const BAR_STEP = 30;
const PANEL_HEAD = 40;
const PANEL_FOOT = 46;
const HEAD = 60;
const FOOT_STEP = 16;
/** Longer names would run out of the picture; the whole one is in the bar's tooltip. */
const MAX_NAME = 26;

/** A panel of one figure: the rows that have it, best first; `runcast …` rows are ours. */
export function panelOf(rows: readonly Row[], figureName: string, title: string): Panel {
  const found = rows.flatMap(({ contender, figures }) => {
    const figure = figures.find(({ name }) => name === figureName);
    return figure === undefined ? [] : [{ contender, figure }];
  });
  const bars = found.map(({ contender, figure }) => ({
    name: contender, isOurs: contender.startsWith('runcast'), ...summarise(figure.values),
  }));
  const unit = found[0]?.figure.unit ?? '';
  return { title, unit, bars: bars.sort((a, b) => a.median - b.median) };
}

/** The whole SVG. */
export function drawChart({ title, panels, footer }: Chart): string {
  let y = HEAD;
  const drawn = panels.map((panel) => {
    const group = drawPanel(panel, y);
    y += PANEL_HEAD + panel.bars.length * BAR_STEP + PANEL_FOOT;
    return group;
  });
  const small = footer.map((line, index) => textAt(MARGIN, y + index * FOOT_STEP, 'small', line));
  const height = y + footer.length * FOOT_STEP + MARGIN - FOOT_STEP;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" `
      + `viewBox="0 0 ${WIDTH} ${height}" role="img" aria-labelledby="title desc">`,
    `<title id="title">${escaped(title)}</title>`,
    `<desc id="desc">${escaped(panels.map(inWords).join(' '))}</desc>`,
    `<style>${STYLE}</style>`,
    textAt(MARGIN, 36, 'title', title),
    ...drawn, ...small, '</svg>', '',
  ].join('\n');
}

const STYLE = `
  text { font-family: system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif;
    font-size: 13px; fill: #1f2328; font-variant-numeric: tabular-nums }
  .title { font-size: 18px; font-weight: 600 }
  .panel { font-size: 14px; font-weight: 600 }
  .ours { font-weight: 600 }
  .tick, .small { font-size: 11px; fill: #656d76 }
  .bar { fill: #c3cad3 }
  .bar.ours { fill: #0d9488 }
  .grid { stroke: #e4e8ec; stroke-width: 1 }
  .axis { stroke: #8c959f; stroke-width: 1 }
  .whisker { stroke: #424a53; stroke-width: 1.5; fill: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .tick, .small { fill: #9198a1 }
    .bar { fill: #484f58 }
    .bar.ours { fill: #129a8e }
    .grid { stroke: #21262d }
    .axis { stroke: #6e7681 }
    .whisker { stroke: #d5dbe1 }
  }
`;

function drawPanel({ title, unit, bars }: Panel, top: number): string {
  const greatest = Math.max(0, ...bars.map(({ max }) => max));
  const step = tickStep(greatest);
  const end = Math.max(step, Math.ceil(greatest / step) * step);
  const x = (value: number): number =>
    round(AXIS_X + (value / end) * (WIDTH - MARGIN - VALUE_WIDTH - AXIS_X));
  const first = top + PANEL_HEAD - 10;
  const bottom = first + bars.length * BAR_STEP;
  const ticks = Array.from({ length: Math.round(end / step) + 1 }, (_, index) => index * step);
  return [
    textAt(MARGIN, top + 14, 'panel', title),
    ...ticks.map((tick) => line(tick === 0 ? 'axis' : 'grid', x(tick), first, bottom)),
    ...ticks.map((tick) => textAt(x(tick), bottom + 16, 'tick', numberText(tick), 'middle')),
    textAt(x(end) + 16, bottom + 16, 'tick', unit),
    ...bars.map((bar, index) => drawBar(bar, unit, first + index * BAR_STEP, x)),
  ].join('\n');
}

function drawBar(bar: Bar, unit: string, top: number, x: (value: number) => number): string {
  const { name, median, min, max, isOurs } = bar;
  const y = top + (BAR_STEP - BAR_HEIGHT) / 2;
  const middle = y + BAR_HEIGHT / 2;
  const ours = isOurs ? ' ours' : '';
  const short = name.length > MAX_NAME ? `${name.slice(0, MAX_NAME - 1)}…` : name;
  // Repeats as close as that would only look like dirt on the end of the bar.
  const whisker = x(max) - x(min) < 4 ? '' : `<path class="whisker" d="M${x(min)} ${middle}`
    + `H${x(max)}M${x(min)} ${middle - 4}v8M${x(max)} ${middle - 4}v8"/>`;
  return [
    '<g>', `<title>${escaped(barInWords(bar, unit))}</title>`,
    textAt(AXIS_X - 10, middle + 4.5, `name${ours}`, short, 'end'),
    `<path class="bar${ours}" d="${barPath(x(0), x(median), y)}"/>`, whisker,
    textAt(x(max) + 8, middle + 4.5, `value${ours}`, `${numberText(median)} ${unit}`), '</g>',
  ].join('');
}

/** Square where it stands on the axis, rounded where it ends. */
function barPath(from: number, to: number, y: number): string {
  const r = Math.min(3, to - from);
  const corner = (dx: number, dy: number): string => `q${dx} ${dy}`;
  return `M${from} ${y}H${round(to - r)}${corner(r, 0)} ${r} ${r}V${y + BAR_HEIGHT - r}`
    + `${corner(0, r)} ${-r} ${r}H${from}z`;
}

/** 1, 2 or 5 times a power of ten, so that 4 to 8 of them reach `greatest`. */
function tickStep(greatest: number): number {
  if (greatest <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(greatest / 4));
  const times = [1, 2, 5, 10].find((factor) => greatest / (factor * power) <= 8) ?? 10;
  return times * power;
}

function inWords({ title, unit, bars }: Panel): string {
  return `${title}: ${bars.map((bar) => barInWords(bar, unit)).join('; ')}.`;
}

function barInWords({ name, median, min, max }: Bar, unit: string): string {
  return `${name} ${numberText(median)} ${unit} (${numberText(min)} to ${numberText(max)})`;
}

function textAt(x: number, y: number, style: string, text: string, anchor = 'start'): string {
  const where = anchor === 'start' ? '' : ` text-anchor="${anchor}"`;
  return `<text class="${style}" x="${x}" y="${y}"${where}>${escaped(text)}</text>`;
}

function line(style: string, x: number, from: number, to: number): string {
  return `<path class="${style}" d="M${x} ${from}V${to}"/>`;
}

const round = (value: number): number => Math.round(value * 10) / 10;

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', '\'': '&#39;',
};

/** Text, whatever it is, for XML: marked up, and without the characters XML cannot hold. */
function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (mark) => ENTITIES[mark] ?? '')
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '');
}
