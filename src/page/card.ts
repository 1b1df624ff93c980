/** One run on the page: its state, its nodes with what came of them, and how long it takes. */

import { outputsOf } from '../client/events.ts';
import type { LostEvent, RunState } from '../client/events.ts';
import { elapsed, momentOf, percentOf } from '../client/measures.ts';
import { textOf } from '../client/plain-value.ts';
import { attributes, el, setAttribute, setText } from './dom.ts';
import { folded } from './folded.ts';
import { clipped } from './format.ts';
import { Row } from './row.ts';

/** Of a run with more nodes these are shown, the others are for who wants them. */
const MAX_ROWS = 60;
const MAX_STATUS_CHARS = 80;

/** How a run stands, as far as the page has words and colours for it. */
type Tone = 'waiting' | 'running' | 'done' | 'failed' | 'lost';

/** A run as an article. */
export class Card {
  readonly element: HTMLElement;
  readonly runId: string;
  readonly #status = el('span', 'status');
  readonly #percent = el('span', 'time');
  readonly #time = el('span', 'time');
  readonly #bar = attributes(el('div', 'bar', el('i')), {
    'role': 'progressbar', 'aria-valuemin': '0', 'aria-valuemax': '100',
  });
  readonly #error = attributes(el('div', 'error'), { hidden: '' });
  readonly #nodes = el('ol', 'nodes');
  readonly #more = attributes(el('button', 'more'), { type: 'button', hidden: '' });
  readonly #rows: Row[] = [];
  readonly #since = Date.now();
  #state: RunState | undefined;
  #complaint = '';
  #areAllShown = false;
  #isOver = false;

  constructor(runId: string, onRemove: () => void) {
    this.runId = runId;
    const title = attributes(el('h3', '', runId), { id: `run-${runId}`, title: runId });
    const remove = attributes(el('button', 'remove', '×'), {
      'type': 'button', 'aria-label': `Remove ${runId} from the page`,
    });
    remove.addEventListener('click', onRemove);
    this.#more.addEventListener('click', () => {
      this.#areAllShown = !this.#areAllShown;
      this.#showNodes();
    });
    setAttribute(this.#bar, 'aria-label', `Progress of ${runId}`);
    this.element = attributes(el('article', 'card',
      el('header', '', title, this.#status, this.#percent, this.#time, remove),
      this.#bar, this.#error, this.#nodes, this.#more), { 'aria-labelledby': `run-${runId}` });
    this.#show('joining', 'waiting', undefined);
  }

  get state(): RunState | undefined {
    return this.#state;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** A newer state, the last one perhaps. */
  update(state: RunState, end?: 'complete' | 'error'): void {
    this.#state = state;
    this.#isOver ||= end !== undefined;
    const { status, errorMessage } = state;
    const tone = end === 'complete' ? 'done' : end === 'error' ? 'failed'
      : status === 'queued' ? 'waiting' : 'running';
    const percent = end === 'complete' ? 100 : percentOf(state);
    this.#show(clipped(textOf(status), MAX_STATUS_CHARS) || 'running', tone, percent);
    this.#complain(typeof errorMessage === 'string' ? errorMessage : '');
    this.#showNodes();
    this.tick();
  }

  /** Nobody can tell here how it goes on. */
  lose({ code, errorMessage }: Pick<LostEvent, 'code' | 'errorMessage'>): void {
    this.#isOver = true;
    this.#show(this.#state === undefined ? 'not shown' : 'lost', 'lost', undefined);
    this.#complain(`${errorMessage} (${code})`);
  }

  /** Time goes on. */
  tick(): void {
    const { startedAt, createdAt, completedAt } = this.#state ?? {};
    const from = momentOf(startedAt) ?? momentOf(createdAt) ?? this.#since;
    const to = momentOf(completedAt) ?? (this.#isOver ? undefined : Date.now());
    if (to !== undefined) setText(this.#time, elapsed(to - from));
  }

  #showNodes(): void {
    const all = outputsOf(this.#state);
    const outputs = this.#areAllShown ? all : all.slice(0, MAX_ROWS);
    this.#more.hidden = all.length <= MAX_ROWS;
    setText(this.#more, this.#areAllShown ? `Show the first ${MAX_ROWS} nodes`
      : `Show all ${all.length} nodes`);
    for (const row of this.#rows.splice(outputs.length)) row.element.remove();
    for (const [i, output] of outputs.entries()) {
      let row = this.#rows[i];
      if (row === undefined) {
        row = new Row();
        this.#rows.push(row);
        this.#nodes.append(row.element);
      }
      row.update(output, i, this.#isOver);
    }
  }

  #show(text: string, tone: Tone, percent: number | undefined): void {
    setText(this.#status, text);
    setAttribute(this.element, 'data-tone', tone);
    setText(this.#percent, percent === undefined || this.#isOver ? '' : `${percent} %`);
    const fill = this.#bar.firstElementChild as HTMLElement;
    if (percent === undefined) {
      this.#bar.removeAttribute('aria-valuenow');
      return;
    }
    setAttribute(this.#bar, 'aria-valuenow', String(percent));
    // Through the object model: a `style` attribute is what the policy of the page forbids.
    fill.style.width = `${percent}%`;
  }

  #complain(text: string): void {
    if (this.#complaint === text) return;
    this.#complaint = text;
    this.#error.replaceChildren(...folded(text));
    this.#error.hidden = text === '';
  }
}
