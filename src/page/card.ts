/** One run on the page: its state, its nodes with what came of them, and how long it takes. */

import { outputsOf } from '../client/events.ts';
import type { LostEvent, RunOutput, RunState } from '../client/events.ts';
import { elapsed, percentOf } from '../client/measures.ts';
import { textOf } from '../client/plain-value.ts';
import { attributes, el, setAttribute, setText } from './dom.ts';
import { folded } from './folded.ts';
import { nameOf, shownUrl } from './format.ts';

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
  readonly #error = attributes(el('p', 'error'), { hidden: '' });
  readonly #nodes = el('ol', 'nodes');
  readonly #rows: Row[] = [];
  readonly #since = Date.now();
  #state: RunState | undefined;
  #isOver = false;

  constructor(runId: string, onRemove: () => void) {
    this.runId = runId;
    const title = attributes(el('h3', '', runId), { id: `run-${runId}`, title: runId });
    const remove = attributes(el('button', 'remove', '×'), {
      'type': 'button', 'aria-label': `Remove ${runId} from the page`,
    });
    remove.addEventListener('click', onRemove);
    setAttribute(this.#bar, 'aria-label', `Progress of ${runId}`);
    this.element = attributes(el('article', 'card',
      el('header', '', title, this.#status, this.#percent, this.#time, remove),
      this.#bar, this.#error, this.#nodes), { 'aria-labelledby': `run-${runId}` });
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
    this.#show(textOf(status) || 'running', tone, percent);
    this.#complain(typeof errorMessage === 'string' ? errorMessage : '');
    const outputs = outputsOf(state);
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
    this.tick();
  }

  /** Nobody can tell here how it goes on. */
  lose({ code, errorMessage }: Pick<LostEvent, 'code' | 'errorMessage'>): void {
    this.#isOver = true;
    this.#show('lost', 'lost', undefined);
    this.#complain(`${errorMessage} (${code})`);
  }

  /** Time goes on. */
  tick(): void {
    const { startedAt, createdAt, completedAt } = this.#state ?? {};
    const from = dateOf(startedAt) ?? dateOf(createdAt) ?? this.#since;
    const to = dateOf(completedAt) ?? (this.#isOver ? undefined : Date.now());
    if (to !== undefined) setText(this.#time, elapsed(to - from));
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
    setText(this.#error, text);
    this.#error.hidden = text === '';
  }
}

/** One node of a run. */
class Row {
  readonly element: HTMLLIElement;
  readonly #name = el('span', 'name');
  readonly #kind = el('span', 'kind');
  readonly #state = el('span', 'state');
  readonly #value = el('div', 'value');
  #shown = '';

  constructor() {
    const head = el('div', 'node', this.#name, this.#kind, this.#state);
    this.element = el('li', '', head, this.#value);
  }

  update(output: RunOutput, index: number, isOver: boolean): void {
    const { type, status, error } = output;
    const name = nameOf(output, index);
    setText(this.#name, name);
    setText(this.#kind, type === 'pending' ? '' : textOf(type));
    const isOpen = status === 'pending' && isOver;
    setText(this.#state, isOpen ? 'never came' : textOf(status));
    setAttribute(this.element, 'data-state', isOpen ? 'never' : textOf(status) || 'pending');
    const shown = textOf([type, output.value, error]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#value.replaceChildren(...valueOf(output, name));
  }
}

/** What came of a node, as far as it can be shown; anything else is text. */
function valueOf({ type, value, error }: RunOutput, name: string): Node[] {
  if (typeof error === 'string' && error !== '') return [el('p', 'error', error)];
  const url = shownUrl(value);
  const isPicture = type === 'image' || url?.startsWith('data:image/') === true;
  if (url !== undefined && isPicture) {
    return [attributes(el('img'), {
      src: url, alt: name, loading: 'lazy', referrerpolicy: 'no-referrer',
    })];
  }
  if (url !== undefined && type === 'video') {
    return [attributes(el('video'), {
      'src': url, 'controls': '', 'muted': '', 'preload': 'metadata', 'aria-label': name,
    })];
  }
  return folded(textOf(value));
}

function dateOf(value: unknown): number | undefined {
  const ms = typeof value === 'string' ? Date.parse(value) : NaN;
  return Number.isNaN(ms) ? undefined : ms;
}
