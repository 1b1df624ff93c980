/** Text from upstream that may be long: its start, and the rest for who wants it. */

import { el, setText } from './dom.ts';
import { clipped } from './format.ts';

/** Longer texts are folded. */
const FOLDED_CHARS = 220;

/** Nothing for nothing. */
export function folded(text: string): Node[] {
  if (text === '') return [];
  if (text.length <= FOLDED_CHARS) return [el('p', 'text', text)];
  const start = clipped(text, FOLDED_CHARS);
  // It stays where it is when it is open: the focus is on it, and it is what closes it.
  const summary = el('summary', '', start);
  const details = el('details', 'text', summary, el('p', '', text));
  details.addEventListener('toggle', () => setText(summary, details.open ? 'Show less' : start));
  return [details];
}
