/**
 * The live page: runs that somebody wants to see, each a card, all of one key on one connection;
 * what came and how the connection is. The key stays in this page's memory. For browsers only.
 */

import type { RunEvent } from '../client/events.ts';
import { textOf } from '../client/plain-value.ts';
import { systemClock } from '../core/clock.ts';
import { MAX_RUNS, RUN_ID } from '../core/run-id.ts';
import { hashOf, runsIn } from './address.ts';
import { Card } from './card.ts';
import { lineOf, showLine } from './connection-line.ts';
import { byId, el, setText } from './dom.ts';
import { Feed } from './feed.ts';
import type { FeedListener } from './feed.ts';
import { changeOf, clipped, listed } from './format.ts';
import { Log } from './log.ts';
import { tellSavings } from './savings.ts';
import { takeTurns } from './tabs.ts';

const TICK_MS = 1_000;
const MAX_SAID_CHARS = 300;

const FULL = `No more than ${MAX_RUNS} runs fit on a page`;
const BASE = new URL('.', location.href);
const demoKey = document.querySelector('meta[name=demo-key]')?.getAttribute('content') ?? '';
const form = byId('follow', HTMLFormElement);
const runInput = byId('run', HTMLInputElement);
const keyInput = byId('key', HTMLInputElement);
const board = byId('board', HTMLElement);
const empty = byId('empty', HTMLElement);
const connection = byId('connection', HTMLElement);
const said = byId('said', HTMLElement);
const log = new Log(byId('log', HTMLElement));

const cards = new Map<string, Card>();
/** What each card is followed with. */
const keys = new Map<string, string>();
const feeds = new Map<string, Feed>();
/** Named by the address, and not followed yet for want of a key. */
let pending: readonly string[] = [];
/** Followed with a key that is none: the next one is for them as well. */
const unheard = new Set<string>();
let reconnects = 0;
let isResting = false;

function showConnection(): void {
  const states = [...feeds.values()].map(({ state }) => state);
  showLine(connection, lineOf(states, cards.size, reconnects, Date.now()));
}

/** Under the form, and read out by screen readers: ends and errors, not every step. */
function say(text: string, isBad = false): void {
  setText(said, clipped(text, MAX_SAID_CHARS));
  said.classList.toggle('bad', isBad);
}

function onEvent(event: RunEvent): void {
  const card = cards.get(event.runId);
  if (card === undefined) return;
  const { runId, id, type } = event;
  if (event.type === 'lost') {
    card.lose(event);
    log.add({ event: 'error', runId, what: event.errorMessage, id });
    say(`${runId}: ${event.errorMessage}`, true);
    return;
  }
  log.add({ event: type, runId, what: changeOf(card.state, event.data), id });
  card.update(event.data, event.type === 'progress' ? undefined : event.type);
  if (event.type !== 'progress') say(`${runId} is ${textOf(event.data.status)}`, type === 'error');
}

const listener: FeedListener = {
  onEvent,
  onOpen: ({ lastEventId }) => {
    const what = lastEventId === '' ? 'from the beginning' : 'resumed';
    log.add({ event: 'open', runId: '', what, id: lastEventId });
  },
  onReconnect: ({ detail, delayMs, lastEventId }) => {
    reconnects++;
    const what = `${detail}; again in ${(delayMs / 1000).toFixed(1)} s`;
    log.add({ event: 'reconnect', runId: '', what, id: lastEventId });
  },
  onPing: () => {
    // A sign of life that shows, and that nobody has to read.
    connection.classList.remove('beat');
    void connection.offsetWidth;
    connection.classList.add('beat');
  },
  onFailed: (runIds, why) => {
    for (const runId of runIds) cards.get(runId)?.lose(why);
    log.add({ event: 'refused', runId: listed(runIds), what: why.errorMessage, id: '' });
    say(`${listed(runIds)}: ${why.errorMessage}`, true);
    if (!why.code.startsWith('AUTH_')) return;
    for (const runId of runIds) unheard.add(runId);
    keyInput.setAttribute('aria-invalid', 'true');
  },
  onState: showConnection,
};

function feedOf(apiKey: string): Feed {
  let feed = feeds.get(apiKey);
  if (feed === undefined) {
    feed = new Feed(BASE, apiKey, listener);
    feed.rest(isResting);
    feeds.set(apiKey, feed);
  }
  return feed;
}

/** A feed goes with the last of its cards: a key that was mistyped is neither kept nor told of. */
function drop(runId: string): void {
  const apiKey = keys.get(runId);
  if (apiKey === undefined) return;
  cards.get(runId)?.element.remove();
  cards.delete(runId);
  keys.delete(runId);
  unheard.delete(runId);
  feeds.get(apiKey)?.remove(runId);
  if (![...keys.values()].includes(apiKey)) feeds.delete(apiKey);
}

function follow(runId: string, apiKey: string): void {
  const before = cards.get(runId);
  if (before !== undefined && !before.isOver) {
    before.element.scrollIntoView({ block: 'nearest' });
    const isSame = keys.get(runId) === apiKey;
    say(isSame ? `${runId} is on the page already`
      : `${runId} is on the page already, with another key: remove it there first`, !isSame);
    return;
  }
  drop(runId);
  if (cards.size >= MAX_RUNS) return say(FULL, true);
  const card = new Card(runId, () => {
    drop(runId);
    onChanged();
    runInput.focus();
  });
  cards.set(runId, card);
  keys.set(runId, apiKey);
  board.prepend(card.element);
  onChanged();
  feedOf(apiKey).add(runId);
  return undefined;
}

/** The first one is to stand first. */
function followAll(runIds: readonly string[], apiKey: string): void {
  const again = runIds.filter((runId) => cards.has(runId)).length;
  const room = runIds.slice(0, MAX_RUNS - cards.size + again);
  for (const runId of room.toReversed()) follow(runId, apiKey);
  if (room.length < runIds.length) say(FULL, true);
}

function onChanged(): void {
  empty.hidden = cards.size > 0;
  showConnection();
  // As they stand on the page: loaded again, it looks as before.
  const runIds = [...pending, ...[...cards.keys()].toReversed()];
  history.replaceState(null, '', runIds.length > 0 ? hashOf(runIds) : BASE.href);
}

/** Whoever changes the address of an open page adds runs to it. */
function onAddress(): void {
  const named = runsIn(location.hash).filter((each) => !cards.has(each) && !pending.includes(each));
  const apiKey = keyInput.value.trim();
  if (apiKey !== '') {
    followAll(named, apiKey);
  } else if (named.length > 0) {
    pending = [...pending, ...named].slice(0, MAX_RUNS);
    runInput.value ||= pending[0] ?? '';
    say(`Enter a key that may see ${listed(pending)}`);
  }
  onChanged();
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  const runId = runInput.value.trim();
  const isGood = RUN_ID.test(runId);
  runInput.setCustomValidity(isGood ? '' : 'Letters, digits, - and _, up to 128 of them');
  if (!isGood) return runInput.reportValidity();
  const apiKey = keyInput.value.trim();
  const others = [...pending, ...[...unheard].toReversed()].filter((each) => each !== runId);
  pending = [];
  say('');
  keyInput.removeAttribute('aria-invalid');
  followAll(others, apiKey);
  return follow(runId, apiKey);
});
runInput.addEventListener('input', () => runInput.setCustomValidity(''));
keyInput.addEventListener('input', () => keyInput.removeAttribute('aria-invalid'));

for (const button of document.querySelectorAll<HTMLButtonElement>('button[data-demo]')) {
  button.addEventListener('click', () => {
    const id = Math.random().toString(36).slice(2, 7);
    follow(`${button.dataset['demo'] ?? 'demo'}-${id}`, demoKey);
  });
}

function tick(): void {
  for (const card of cards.values()) if (!card.isOver) card.tick();
  showConnection();
  systemClock.setTimeout(tick, TICK_MS);
}

tick();
takeTurns((isToRest) => {
  isResting = isToRest;
  for (const feed of feeds.values()) feed.rest(isResting);
});
keyInput.value = demoKey;
onAddress();
addEventListener('hashchange', onAddress);
void tellSavings(BASE, ({ polls, separate }) => {
  const saved = byId('saved', HTMLElement);
  saved.replaceChildren(el('b', '', String(polls)), ' upstream requests, ',
    el('b', '', String(separate - polls)), ' saved');
});
