/**
 * How many sockets a process allows itself: from the limit on open files that the system tells,
 * here mostly a made-up one, and one test on the limit of this very process.
 */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';

import { socketBudget } from '../../src/cluster/descriptors.ts';

/** For the length of a test `/proc/self/limits` reads so; undefined: there is none. */
function limits(t: TestContext, openFiles: string | undefined): void {
  t.mock.method(fs, 'readFileSync', (path: unknown) => {
    assert.equal(path, '/proc/self/limits');
    if (openFiles === undefined) throw new Error('ENOENT');
    return [
      'Limit                     Soft Limit           Hard Limit           Units',
      'Max processes             63432                63432                processes',
      `Max open files            ${openFiles.padEnd(20)} 1048576              files`,
      'Max locked memory         67108864             67108864             bytes',
    ].join('\n');
  });
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
}

describe('the sockets a process can afford', () => {
  it('are its open files less a reserve of 1 %', (t) => {
    limits(t, '20000');
    assert.equal(socketBudget(0), 19_800);
  });

  it('leave at least 64 descriptors', (t) => {
    limits(t, '1024');
    assert.equal(socketBudget(0), 1024 - 64);
  });

  it('leave room for the sockets to upstream', (t) => {
    limits(t, '20000');
    assert.equal(socketBudget(256), 19_800 - 256);
  });

  it('give no more than a quarter of all to the sockets to upstream', (t) => {
    limits(t, '1024');
    assert.equal(socketBudget(100_000), 1024 - 64 - 256);
  });

  it('are 16 where there is hardly anything to share', (t) => {
    limits(t, '70');
    assert.equal(socketBudget(256), 16);
  });

  it('are bounded by the soft limit, not by the hard one', (t) => {
    limits(t, '4096');
    assert.ok(socketBudget(0) < 4096, 'more sockets than descriptors');
  });

  it('have no bound where the system does not tell', (t) => {
    limits(t, undefined);
    assert.deepEqual([socketBudget(0), socketBudget(256)], [Infinity, Infinity]);
  });

  it('have no bound where there is no limit', (t) => {
    limits(t, 'unlimited');
    assert.deepEqual([socketBudget(0), socketBudget(256)], [Infinity, Infinity]);
  });

  it('are counted from the limit of this very process', (t) => {
    // Node raises its own soft limit, and a child inherits it.
    const limit = Number(execFileSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }));
    if (process.platform !== 'linux' || !(limit > 6400)) return t.skip('no such limit here');
    assert.equal(socketBudget(0), limit - Math.ceil(limit * 0.01));
  });
});
