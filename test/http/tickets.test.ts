/** Tickets by themselves: what opens them, for how long, and that nothing else does. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { ApiKey } from '../../src/core/run-source.ts';
import { Tickets } from '../../src/http/tickets.ts';
import { FakeClock } from '../support/fake-clock.ts';

const OLD = 'a secret of old!';
const NEW = 'the secret of now';
const KEY: ApiKey = { value: 'lma_a', header: 'x-api-key' };
const MINUTE_MS = 60_000;

interface Made {
  readonly clock?: FakeClock;
  readonly secrets?: readonly string[] | undefined;
  readonly streamTimeoutMs?: number;
}

function ticketsOf({ clock = new FakeClock(), streamTimeoutMs = 600_000, ...made }: Made = {}) {
  const ticketSecrets = 'secrets' in made ? made.secrets : [NEW];
  return new Tickets({ clock, ticketSecrets, streamTimeoutMs });
}

function codeOf(opened: ReturnType<Tickets['open']>): string {
  return 'code' in opened ? opened.code : 'opened';
}

describe('a ticket', () => {
  it('gives back the key as it came, whichever header and however long', () => {
    for (const key of [
      KEY, { value: 'lma_a', header: 'authorization' }, { ...KEY, value: 'k'.repeat(512) },
    ] as const) {
      const { text } = ticketsOf().seal('r1', key);
      assert.match(text, /^[\w-]+$/);
      assert.deepEqual(ticketsOf().open(text, 'r1'), key);
    }
  });

  it('is never the same twice and shows nothing of the key', () => {
    const tickets = ticketsOf();
    const texts = Array.from({ length: 100 }, () => tickets.seal('r1', KEY).text);
    assert.equal(new Set(texts.map((text) => text.slice(0, 16))).size, 100, 'nonces differ');
    for (const text of texts) {
      assert.ok(!Buffer.from(text, 'base64url').includes('lma_'));
    }
  });

  it('opens for its own run only', () => {
    const { text } = ticketsOf().seal('r1', KEY);
    for (const runId of ['r2', 'r', 'r11', '', 'R1']) {
      assert.equal(codeOf(ticketsOf().open(text, runId)), 'TICKET_INVALID', runId);
    }
  });

  it('opens no more with any bit changed, anything added or anything missing', () => {
    const tickets = ticketsOf();
    const { text } = tickets.seal('r1', KEY);
    const bytes = Buffer.from(text, 'base64url');
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      const opened = tickets.open(changed.toString('base64url'), 'r1');
      assert.equal(codeOf(opened), 'TICKET_INVALID', `bit ${bit}`);
    }
    for (let length = 0; length < text.length; length++) {
      assert.equal(codeOf(tickets.open(text.slice(0, length), 'r1')), 'TICKET_INVALID');
    }
    for (const other of [
      `${text}A`, `${text}=`, ` ${text}`, `${text}\n`, text.replace(/.$/, '!'), 'é', '\0',
      'A'.repeat(100_000), text + text,
    ]) assert.equal(codeOf(tickets.open(other, 'r1')), 'TICKET_INVALID');
  });

  it('has one spelling: bits that base64 leaves over are not free', () => {
    const tickets = ticketsOf();
    // 38 bytes are 51 characters: two bits are left over.
    const { text } = tickets.seal('r1', { ...KEY, value: 'lma' });
    assert.equal(text.length % 4, 3);
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const next = alphabet.charAt(alphabet.indexOf(text.slice(-1)) + 1);
    const twin = text.slice(0, -1) + next;
    assert.deepEqual(Buffer.from(twin, 'base64url'), Buffer.from(text, 'base64url'));
    assert.equal(codeOf(tickets.open(twin, 'r1')), 'TICKET_INVALID');
  });

  it('is good for 15 minutes, or for a longer stream and 5 more', () => {
    for (const [streamTimeoutMs, minutes] of [
      [1000, 15], [10 * MINUTE_MS, 15], [60 * MINUTE_MS, 65],
    ] as const) {
      const clock = new FakeClock();
      const tickets = ticketsOf({ clock, streamTimeoutMs });
      const { text, expiresAtMs } = tickets.seal('r1', KEY);
      assert.equal(expiresAtMs - clock.wallNow(), minutes * MINUTE_MS);
      clock.advance(minutes * MINUTE_MS - 1);
      assert.equal(codeOf(tickets.open(text, 'r1')), 'opened');
      clock.advance(1);
      assert.equal(codeOf(tickets.open(text, 'r1')), 'TICKET_EXPIRED');
      assert.equal(codeOf(tickets.open(text, 'r2')), 'TICKET_INVALID');
    }
  });

  it('is sealed by the first secret and opened by all: so a change has no gap', () => {
    const before = ticketsOf({ secrets: [OLD] });
    const between = ticketsOf({ secrets: [NEW, OLD] });
    const afterwards = ticketsOf({ secrets: [NEW] });
    const old = before.seal('r1', KEY).text;
    const fresh = between.seal('r1', KEY).text;
    assert.deepEqual([old, fresh].map((text) => codeOf(before.open(text, 'r1'))),
      ['opened', 'TICKET_INVALID']);
    assert.deepEqual([old, fresh].map((text) => codeOf(between.open(text, 'r1'))),
      ['opened', 'opened']);
    assert.deepEqual([old, fresh].map((text) => codeOf(afterwards.open(text, 'r1'))),
      ['TICKET_INVALID', 'opened']);
  });

  it('of a gateway without a secret opens nowhere else', () => {
    const tickets = ticketsOf({ secrets: undefined });
    const { text } = tickets.seal('r1', KEY);
    assert.equal(codeOf(tickets.open(text, 'r1')), 'opened');
    assert.equal(codeOf(ticketsOf({ secrets: undefined }).open(text, 'r1')), 'TICKET_INVALID');
  });
});
