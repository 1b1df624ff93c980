/** The events as they came, the newest first, in a table that does not grow without end. */

import { el } from './dom.ts';
import { clipped, timeOfDay } from './format.ts';

/** Further rows push the oldest out. */
const MAX_ROWS = 200;
const SHOWN_ID_CHARS = 8;
const MAX_WHAT_CHARS = 500;

/** One line. */
export interface LogEntry {
  readonly event: string;
  readonly runId: string;
  readonly what: string;
  readonly id: string;
}

/** The log of the page. */
export class Log {
  readonly #body: HTMLElement;

  constructor(body: HTMLElement) {
    this.#body = body;
  }

  add({ event, runId, what, id }: LogEntry): void {
    const short = id.length > SHOWN_ID_CHARS ? `${id.slice(0, SHOWN_ID_CHARS)}…` : id;
    const name = el('td', 'event', event);
    name.dataset['event'] = event;
    const cell = el('td', 'id', short);
    cell.title = id;
    this.#body.prepend(el('tr', '', el('td', 'at', timeOfDay(new Date())), name,
      el('td', 'run', runId), el('td', 'what', clipped(what, MAX_WHAT_CHARS)), cell));
    while (this.#body.childElementCount > MAX_ROWS) this.#body.lastElementChild?.remove();
  }
}
