import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { ListOrder } from '../../src/source/list-order.ts';

const BEFORE = ['a', 'b', 'c', 'd', 'e', 'f'];

describe('the order of a list', () => {
  it('tells on each page who is not there any more', () => {
    const order = new ListOrder(BEFORE);
    assert.deepEqual(order.passed(['a', 'c']), ['b']);
    assert.deepEqual(order.passed(['f']), ['d', 'e']);
    assert.deepEqual(order.ids, ['a', 'c', 'f']);
  });

  it('knows nothing of those behind the last that was shown, and of newcomers', () => {
    const order = new ListOrder(BEFORE);
    assert.deepEqual(order.passed(['new', 'a', 'b']), []);
    assert.deepEqual(order.passed([]), []);
    assert.deepEqual(order.passed(['newer']), []);
    assert.deepEqual(new ListOrder([]).passed(['a']), []);
  });

  it('takes a run for seen that two pages show, because they moved', () => {
    const order = new ListOrder(BEFORE);
    assert.deepEqual(order.passed(['a', 'b', 'c']), []);
    assert.deepEqual(order.passed(['c', 'd', 'e']), []);
  });

  it('tells nothing from where the order is another one', () => {
    const order = new ListOrder(BEFORE);
    assert.deepEqual(order.passed(['c', 'a']), []);
    assert.deepEqual(order.passed(['f']), []);
    const later = new ListOrder(BEFORE);
    assert.deepEqual(later.passed(['d']), ['a', 'b', 'c']);
    assert.deepEqual(later.passed(['b', 'f']), []);
  });
});
