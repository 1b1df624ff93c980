/** How the connections of the page stand, all of them in one line at its top. */

import { setAttribute, setText } from './dom.ts';
import type { FeedState } from './feed.ts';

/** A connection that takes longer is one that the browser does not open. */
const SLOW_JOIN_MS = 4_000;
/** The one that is most in need of being known first. */
const ORDER: readonly FeedState['kind'][] =
  ['failed', 'waiting', 'joining', 'refused', 'live', 'resting', 'idle'];

/** What the line says. */
export interface Line {
  readonly tone: 'idle' | 'live' | 'waiting' | 'failed';
  readonly text: string;
}

/** Of feeds in these states. Pure. `runs`: cards on the page, over or not. */
export function lineOf(
  states: readonly FeedState[], runs: number, reconnects: number, nowMs: number,
): Line {
  const [first] = states.toSorted((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind));
  if (runs === 0 || first === undefined) return { tone: 'idle', text: 'nothing to follow' };
  switch (first.kind) {
    case 'failed':
      return { tone: 'failed', text: 'the page has made a mistake: load it again' };
    case 'waiting':
      return { tone: 'waiting', text: first.untilMs <= nowMs ? 'connecting'
        : `again in ${Math.ceil((first.untilMs - nowMs) / 1000)} s` };
    case 'joining':
      return { tone: 'waiting', text: nowMs - first.sinceMs < SLOW_JOIN_MS ? 'connecting'
        : 'no connection yet: a browser opens six to a host, and others may hold them' };
    case 'refused':
      return { tone: 'failed', text: 'refused' };
    case 'live':
      return { tone: 'live', text: reconnects === 0 ? 'live'
        : `live, ${reconnects} ${reconnects === 1 ? 'reconnect' : 'reconnects'}` };
    case 'resting':
      return { tone: 'idle', text: 'resting, while another tab is looked at' };
    case 'idle':
      return { tone: 'idle', text: 'all runs are over' };
  }
}

/** Shows it. */
export function showLine(element: Element, { tone, text }: Line): void {
  setAttribute(element, 'data-state', tone);
  setText(element, text);
}
