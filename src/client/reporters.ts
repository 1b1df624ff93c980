/**
 * How `runcast watch` shows a run: as a picture that changes in its place, as plain lines, or as
 * JSON for scripts. Each is told of the same things; none knows the process.
 */

import type { Clock, Timer } from '../core/clock.ts';
import { cutTo, harmless, harmlessJson } from '../core/text.ts';
import { outputsOf } from './events.ts';
import type { LostEvent, RunEvent } from './events.ts';
import { percentOf } from './measures.ts';
import { detailOf, labelOf, pictureOf } from './picture.ts';
import type { RunEnd } from './picture.ts';
import { textOf } from './plain-value.ts';

/** A terminal, or whatever stdout and stderr are. */
export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  /** Of a terminal. */
  readonly columns?: number;
  readonly rows?: number;
}

/** Who is told what becomes of a run. */
export interface Reporter {
  event(event: RunEvent): void;
  /** Of the connection; empty when that is well again. */
  note(text: string): void;
  /** However it ended: the terminal is as it was. */
  close(): void;
}

/** A terminal that can be left for a while, as it was, and be drawn on again. */
export interface Screen {
  leave(): void;
  enter(): void;
}

/** A redraw: often enough for a clock. */
const TICK_MS = 1_000;
const MAX_PLAIN_COLUMNS = 200;

/** No cursor, and no lines that wrap: then it is known where each of them is. */
const ENTER = '\x1b[?25l\x1b[?7l';
const LEAVE = '\x1b[?7h\x1b[?25h';

/** A picture in its place on a terminal. */
export class PictureReporter implements Reporter, Screen {
  readonly #out: Output;
  readonly #hasColor: boolean;
  readonly #clock: Clock;
  #last: Exclude<RunEvent, LostEvent> | undefined;
  #note = 'connecting';
  #lines = 0;
  /** Of the terminal, when that was drawn. */
  #size = '';
  /** Undefined: the terminal is not ours. */
  #timer: Timer | undefined;
  #isClosed = false;

  constructor(out: Output, hasColor: boolean, clock: Clock) {
    this.#out = out;
    this.#hasColor = hasColor;
    this.#clock = clock;
    this.enter();
  }

  enter(): void {
    if (this.#isClosed || this.#timer !== undefined) return;
    this.#out.write(ENTER);
    // Below whatever somebody else has written there.
    this.#lines = 0;
    this.#tick();
    this.#draw();
  }

  leave(): void {
    if (this.#timer === undefined) return;
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#out.write(LEAVE);
  }

  event(event: RunEvent): void {
    if (event.type === 'lost') return;
    this.#last = event;
    this.#draw();
  }

  note(text: string): void {
    this.#note = text;
    this.#draw();
  }

  close(): void {
    this.enter();
    this.#isClosed = true;
    this.#note = '';
    this.#draw();
    this.leave();
  }

  #tick(): void {
    this.#timer = this.#clock.setTimeout(() => {
      this.#draw();
      this.#tick();
    }, TICK_MS);
  }

  #draw(): void {
    if (this.#timer === undefined) return;
    const { columns = 80, rows = 24 } = this.#out;
    const canvas = {
      // A terminal that does not know its size says 0.
      columns: (columns || 80) - 1, rows: Math.max(1, (rows || 24) - 1),
      hasColor: this.#hasColor, wallNow: this.#clock.wallNow(),
    };
    const lines = this.#last === undefined
      ? [cutTo(canvas.columns, harmless(this.#note))].filter(Boolean)
      : pictureOf(this.#last.runId, this.#last.data, canvas, this.#note, endOf(this.#last));
    const size = `${columns}×${rows}`;
    // What a terminal of another size made of our lines it alone knows: they wrap, or come back.
    const start = this.#lines === 0 ? '' : size === this.#size ? `\x1b[${this.#lines}A` : '\x1b[H';
    this.#size = size;
    this.#out.write(`${start}\r${lines.map((line) => `${line}\x1b[K\n`).join('')}\x1b[J`);
    this.#lines = lines.length;
  }
}

const endOf = ({ type }: RunEvent): RunEnd | undefined =>
  (type === 'complete' || type === 'error' ? type : undefined);

/** A line for each thing that changed. */
export class LineReporter implements Reporter {
  readonly #out: Output;
  readonly #err: Output;
  readonly #told = new Map<string, string>();

  constructor(out: Output, err: Output) {
    this.#out = out;
    this.#err = err;
  }

  event(event: RunEvent): void {
    if (event.type === 'lost') return;
    const { data, runId } = event;
    outputsOf(data).forEach((output, i) => {
      const status = textOf(output.status);
      if (status === 'pending') return;
      this.#tell(`output ${i}`, [labelOf(output), status, detailOf(output)].join(' '), runId);
    });
    const percent = percentOf(data);
    const told = [textOf(data.status), ...percent === undefined ? [] : [`${percent} %`]].join(' ');
    const error = typeof data.errorMessage === 'string' ? `: ${data.errorMessage}` : '';
    this.#tell('run', told + error, runId);
  }

  note(text: string): void {
    if (text !== '') this.#err.write(`runcast: ${harmless(text)}\n`);
  }

  close(): void {
    // Nothing is held back.
  }

  #tell(what: string, text: string, runId: string): void {
    if (this.#told.get(what) === text) return;
    this.#told.set(what, text);
    const line = harmless(`${runId} ${text}`).trimEnd();
    this.#out.write(`${cutTo(MAX_PLAIN_COLUMNS, line)}\n`);
  }
}

/** `{"type","runId","id","data"}` a line: upstream's own JSON, no number rounded. */
export class JsonReporter implements Reporter {
  readonly #out: Output;
  readonly #err: Output;

  constructor(out: Output, err: Output) {
    this.#out = out;
    this.#err = err;
  }

  event(event: RunEvent): void {
    if (event.type === 'lost') {
      this.#out.write(`${harmlessJson(JSON.stringify(event))}\n`);
      return;
    }
    const { type, runId, id, json } = event;
    const head = JSON.stringify({ type, runId, id }).slice(0, -1);
    this.#out.write(`${harmlessJson(`${head},"data":${json}}`)}\n`);
  }

  note(text: string): void {
    if (text !== '') this.#err.write(`runcast: ${harmless(text)}\n`);
  }

  close(): void {
    // Nothing is held back.
  }
}
