import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MultiMap } from '../../src/core/multimap.ts';

const [a, b, c] = [{ name: 'a' }, { name: 'b' }, { name: 'c' }];

describe('a map of several values', () => {
  it('keeps one, two and again one value of a key, in their order', () => {
    const map = new MultiMap<string, object>();
    map.add('x', b);
    map.add('x', b);
    assert.deepEqual([...map.get('x')], [b]);
    map.add('x', a);
    map.add('x', c);
    assert.deepEqual([...map.get('x')], [b, a, c]);
    assert.equal(map.delete('x', a), true);
    assert.equal(map.delete('x', c), true);
    assert.deepEqual([...map.get('x')], [b]);
    assert.equal(map.size, 1);
  });

  it('drops a key with its last value, and says whether a value was there', () => {
    const map = new MultiMap<string, object>();
    map.add('x', a);
    assert.equal(map.delete('x', b), false);
    assert.equal(map.delete('y', a), false);
    assert.equal(map.has('x'), true);
    assert.equal(map.delete('x', a), true);
    assert.deepEqual([map.has('x'), map.size, [...map.get('x')]], [false, 0, []]);
    for (const value of [a, b]) map.add('y', value);
    for (const value of [a, b]) map.delete('y', value);
    assert.equal(map.has('y'), false);
  });

  it('may lose a value while one looks at it and its neighbours', () => {
    const map = new MultiMap<string, object>();
    for (const value of [a, b, c]) map.add('x', value);
    const seen: object[] = [];
    for (const value of map.get('x')) {
      seen.push(value);
      map.delete('x', b);
    }
    assert.deepEqual(seen, [a, c]);
    assert.deepEqual(map.groups().map((group) => [...group]), [[a, c]]);
  });
});
