/** Whose turn it is to have a connection: tabs in a browser that is made of three events. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';

import { takeTurns } from '../../src/page/tabs.ts';

/** What of the browser they know. Tabs share a channel; messages are not heard by their sender. */
class Tab {
  /** What was asked of this tab: to rest, or not to. */
  readonly asked: boolean[] = [];
  readonly #channel: Set<Tab>;
  readonly #heard = new Map<string, (event: object) => void>();
  #isHidden: boolean;

  constructor(t: TestContext, channel: Set<Tab>, isHidden: boolean) {
    this.#channel = channel;
    this.#isHidden = isHidden;
    channel.add(this);
    this.#with(t, () => takeTurns((isResting) => void this.asked.push(isResting)));
  }

  /** The user turns to it, or away from it. */
  look(t: TestContext, isLookedAt: boolean): void {
    this.#isHidden = !isLookedAt;
    this.fire(t, 'visibilitychange');
  }

  fire(t: TestContext, name: string, event: object = {}): void {
    this.#with(t, () => this.#heard.get(name)?.(event));
  }

  /** With the globals of this one. */
  #with(t: TestContext, run: () => void): void {
    const on = (name: string, heard: (event: object) => void): void =>
      void this.#heard.set(name, heard);
    const channel = this.#channel;
    const tab = this;
    const globals = {
      document: { hidden: this.#isHidden, addEventListener: on },
      addEventListener: on,
      BroadcastChannel: class {
        addEventListener = on;
        postMessage(): void {
          for (const each of channel) if (each !== tab) each.fire(t, 'message');
        }
      },
    };
    const before = new Map(Object.keys(globals).map((name) =>
      [name, Object.getOwnPropertyDescriptor(globalThis, name)] as const));
    for (const [name, value] of Object.entries(globals)) {
      Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    }
    run();
    for (const [name, was] of before) {
      if (was === undefined) Reflect.deleteProperty(globalThis, name);
      else Object.defineProperty(globalThis, name, was);
    }
  }
}

describe('a tab', () => {
  let nowMs = 0;
  const tabs = (t: TestContext, ...hidden: boolean[]): Tab[] => {
    t.mock.method(performance, 'now', () => nowMs);
    const channel = new Set<Tab>();
    return hidden.map((isHidden) => new Tab(t, channel, isHidden));
  };

  it('that is alone keeps its connection, however long it is hidden', (t) => {
    const [tab] = tabs(t, false);
    tab?.look(t, false);
    nowMs += 3_600_000;
    tab?.look(t, true);
    assert.deepEqual(tab?.asked, [false, false]);
  });

  it('lets go of it once another one is looked at, and takes it again', (t) => {
    const [first, second] = tabs(t, false, true);
    assert.deepEqual(second?.asked, [true], 'opened behind the other one');
    first?.look(t, false);
    second?.look(t, true);
    assert.deepEqual([first?.asked, second?.asked], [[false, true], [true, false]]);
    second?.look(t, false);
    first?.look(t, true);
    assert.deepEqual([first?.asked, second?.asked],
      [[false, true, false], [true, false, true]]);
  });

  it('may hear of the other one before it knows that it is hidden', (t) => {
    const [first, second] = tabs(t, false, true);
    second?.look(t, true);
    assert.deepEqual(first?.asked, [false], 'side by side both have one');
    nowMs += 1_999;
    first?.look(t, false);
    assert.deepEqual(first?.asked, [false, true]);
    first?.look(t, true);
    nowMs += 2_000;
    first?.look(t, false);
    assert.deepEqual(first?.asked, [false, true, false], 'that was long ago');
  });

  it('that is left rests, and is back when its user is', (t) => {
    const [tab] = tabs(t, false);
    tab?.fire(t, 'pagehide');
    tab?.fire(t, 'pageshow', { persisted: false });
    tab?.fire(t, 'pageshow', { persisted: true });
    assert.deepEqual(tab?.asked, [false, true, false]);
  });
});
