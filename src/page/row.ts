/** One node of a run on the page, and what came of it. */

import type { RunOutput } from '../client/events.ts';
import { textOf } from '../client/plain-value.ts';
import { attributes, el, setAttribute, setText } from './dom.ts';
import { folded } from './folded.ts';
import { clipped, nameOf, shownUrl } from './format.ts';

/** Of what is a word or two. */
const MAX_WORD_CHARS = 80;

/** As an item of a list. */
export class Row {
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
    setText(this.#kind, type === 'pending' ? '' : clipped(textOf(type), MAX_WORD_CHARS));
    const isOpen = status === 'pending' && isOver;
    setText(this.#state, isOpen ? 'never came' : clipped(textOf(status), MAX_WORD_CHARS));
    setAttribute(this.element, 'data-state', isOpen ? 'never' : textOf(status) || 'pending');
    const shown = textOf([type, output.value, error]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#value.replaceChildren(...valueOf(output, name));
  }
}

/** What came of a node, as far as it can be shown; anything else is text. */
function valueOf({ type, value, error }: RunOutput, name: string): Node[] {
  if (typeof error === 'string' && error !== '') return [el('div', 'error', ...folded(error))];
  const url = shownUrl(value);
  const isPicture = type === 'image' || url?.startsWith('data:image/') === true;
  if (url !== undefined && isPicture) {
    return [orWords(attributes(el('img'), {
      src: url, alt: name, loading: 'lazy', referrerpolicy: 'no-referrer',
    }), url)];
  }
  if (url !== undefined && type === 'video') {
    return [orWords(attributes(el('video'), {
      'src': url, 'controls': '', 'muted': '', 'preload': 'metadata', 'aria-label': name,
    }), url)];
  }
  return folded(textOf(value));
}

/** Where it cannot be loaded, its address is all there is to show. */
function orWords(media: HTMLElement, url: string): HTMLElement {
  media.addEventListener('error', () =>
    media.replaceWith(el('div', '', ...folded(`cannot be shown: ${url}`))));
  return media;
}
