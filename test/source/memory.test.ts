/** What is remembered for a while: until when, how much of it, and what goes first. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Memory } from '../../src/source/memory.ts';
import type { MemoryLimits } from '../../src/source/memory.ts';
import { FakeClock } from '../support/fake-clock.ts';

const NEVER = Infinity;

function open(over: Partial<MemoryLimits> = {}): { clock: FakeClock; memory: Memory<string> } {
  const clock = new FakeClock();
  return { clock, memory: new Memory(clock, { entries: 3, chars: 100, ...over }) };
}

/** Names that are still known, of those given; a question changes no order. */
const known = (memory: Memory<string>, names: string): string =>
  [...names].filter((name) => memory.get(name) !== undefined).join('');

describe('a memory', () => {
  it('gives what was written last under a name, and nothing under another', () => {
    const { memory } = open();
    memory.set('a', 'one', NEVER, 1);
    memory.set('a', 'two', NEVER, 1);
    assert.deepEqual([memory.get('a'), memory.get('b'), memory.size], ['two', undefined, 1]);
  });

  it('forgets what is deleted, and takes it well if that was never there', () => {
    const { memory } = open({ chars: 10 });
    memory.set('a', 'one', NEVER, 10);
    memory.delete('b');
    memory.delete('a');
    memory.delete('a');
    assert.deepEqual([memory.get('a'), memory.size], [undefined, 0]);
    for (const name of 'bc') memory.set(name, name, NEVER, 5);
    assert.equal(known(memory, 'bc'), 'bc', 'its room was given back, and once');
    memory.set('d', 'd', NEVER, 5);
    assert.equal(known(memory, 'bcd'), 'cd');
  });
});

describe('a memory\'s end of an entry', () => {
  it('is its own moment, not a millisecond sooner or later', () => {
    const { clock, memory } = open();
    memory.set('a', 'a', 1_000, 1);
    memory.set('b', 'b', 500, 1);
    clock.advance(499);
    assert.equal(known(memory, 'ab'), 'ab');
    clock.advance(1);
    assert.equal(known(memory, 'ab'), 'a');
    clock.advance(499);
    assert.equal(known(memory, 'ab'), 'a');
    clock.advance(1);
    assert.equal(known(memory, 'ab'), '');
  });

  it('is put off, or brought forward, by writing it again', () => {
    const { clock, memory } = open();
    memory.set('a', 'a', 500, 1);
    memory.set('b', 'b', 2_000, 1);
    memory.set('a', 'a', 2_000, 1);
    memory.set('b', 'b', 500, 1);
    clock.advance(500);
    assert.equal(known(memory, 'ab'), 'a');
  });

  it('frees its place as it is asked for, or as others come', () => {
    const { clock, memory } = open();
    for (const name of 'abc') memory.set(name, name, 500, 30);
    clock.advance(500);
    assert.equal(memory.size, 3, 'it has no timer');
    assert.equal(memory.get('b'), undefined);
    assert.equal(memory.size, 2);
    memory.set('d', 'd', NEVER, 100);
    assert.deepEqual([memory.size, memory.get('d')], [1, 'd']);
  });

  it('is at once where that moment is past already', () => {
    const { clock, memory } = open();
    clock.advance(10);
    memory.set('a', 'a', 10, 1);
    assert.equal(memory.get('a'), undefined);
    assert.equal(memory.size, 0);
  });
});

describe('a memory that is full', () => {
  it('of entries drops the oldest, one for each that comes', () => {
    const { memory } = open();
    for (const name of 'abc') memory.set(name, name, NEVER, 1);
    assert.equal(known(memory, 'abc'), 'abc', 'the limit itself is allowed');
    memory.set('d', 'd', NEVER, 1);
    assert.equal(known(memory, 'abcd'), 'bcd');
    memory.set('e', 'e', NEVER, 1);
    assert.equal(known(memory, 'abcde'), 'cde');
  });

  it('takes what was written again for new, not what was only read', () => {
    const { memory } = open();
    for (const name of 'abc') memory.set(name, name, NEVER, 1);
    memory.set('a', 'again', NEVER, 1);
    assert.equal(memory.get('b'), 'b');
    memory.set('d', 'd', NEVER, 1);
    assert.equal(known(memory, 'abcd'), 'acd');
  });

  it('of characters drops as many as it must', () => {
    const { memory } = open({ entries: 10 });
    for (const name of 'abcd') memory.set(name, name, NEVER, 25);
    assert.equal(known(memory, 'abcd'), 'abcd', 'the limit itself is allowed');
    memory.set('e', 'e', NEVER, 26);
    assert.equal(known(memory, 'abcde'), 'cde');
    memory.set('f', 'f', NEVER, 24);
    assert.equal(known(memory, 'abcdef'), 'cdef');
  });

  it('counts what is written again once, with its new size', () => {
    const { memory } = open();
    memory.set('a', 'a', NEVER, 90);
    memory.set('a', 'a', NEVER, 50);
    memory.set('b', 'b', NEVER, 50);
    assert.equal(known(memory, 'ab'), 'ab');
    memory.set('b', 'b', NEVER, 51);
    assert.equal(known(memory, 'ab'), 'b');
  });

  it('does not keep what is larger than all of it, and is none the worse for it', () => {
    const { memory } = open();
    memory.set('a', 'a', NEVER, 1);
    memory.set('b', 'b', NEVER, 101);
    assert.deepEqual([known(memory, 'ab'), memory.size], ['', 0]);
    memory.set('c', 'c', NEVER, 100);
    assert.equal(known(memory, 'c'), 'c');
  });

  it('drops the dead before the living, where the dead are the oldest', () => {
    const { clock, memory } = open();
    memory.set('a', 'a', 5, 1);
    memory.set('b', 'b', NEVER, 1);
    memory.set('c', 'c', NEVER, 1);
    clock.advance(5);
    memory.set('d', 'd', NEVER, 1);
    assert.equal(known(memory, 'abcd'), 'bcd');
  });
});
