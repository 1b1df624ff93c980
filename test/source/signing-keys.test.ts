/** Whose signature counts: keys that are kept, that rotate, and that cannot be had. */

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';

import { silentLogger } from '../../src/core/log.ts';
import { Metrics } from '../../src/core/metrics.ts';
import type { ApiKey } from '../../src/core/run-source.ts';
import { RunApi } from '../../src/source/run-api.ts';
import { SigningKeys } from '../../src/source/signing-keys.ts';
import { Upstream } from '../../src/source/upstream.ts';
import type { Exchange } from '../../src/source/upstream.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { MAPPING } from '../support/fake-source.ts';
import { Signer, jwksFile, jwksOf } from '../support/signing.ts';
import { A } from './harness.ts';

const MESSAGE = Buffer.from('1.{}');

/** Says what it is told to. */
class KeyRoute extends Upstream {
  answer: Exchange = { kind: 'late' };
  readonly asked: (ApiKey | undefined)[] = [];

  override get(_runId: string, key: ApiKey | undefined): Promise<Exchange> {
    this.asked.push(key);
    return Promise.resolve(this.answer);
  }

  has(...signers: readonly Signer[]): void {
    const body = Buffer.from(jwksOf(...signers));
    this.answer = { kind: 'answer', status: 200, headers: {}, body };
  }
}

class Lab {
  readonly clock = new FakeClock();
  readonly route = new KeyRoute({
    url: new URL('http://keys.test'), path: '/', timeoutMs: 1, maxBodyBytes: 1,
  }, this.clock);
  readonly api = new RunApi({
    upstream: this.route, mapping: MAPPING, rate: { requests: 2, perMs: 60_000 },
    clock: this.clock, random: () => 0, log: silentLogger, metrics: new Metrics(),
  });
  readonly keys: SigningKeys;

  constructor(path?: string) {
    const place = path === undefined
      ? { kind: 'http', upstream: this.route, key: A, isBudgeted: true } as const
      : { kind: 'file', path } as const;
    this.keys = new SigningKeys({ place, api: this.api, clock: this.clock, log: silentLogger });
  }

  by(signer: Signer): Promise<boolean | undefined> {
    return this.keys.verify(MESSAGE, signer.sign(MESSAGE));
  }
}

const [old, next, evil] = [new Signer('old'), new Signer('next'), new Signer('evil')];

describe('the keys that sign', () => {
  it('are asked for once, with our key and inside the budget', async () => {
    const lab = new Lab();
    lab.route.has(old, next);
    const left = lab.api.quota.left(lab.clock.now());
    const signed = await Promise.all([lab.by(old), lab.by(next), lab.by(old)]);
    assert.deepEqual(signed, [true, true, true]);
    assert.deepEqual(lab.route.asked, [A]);
    assert.equal(lab.api.quota.left(lab.clock.now()), left - 1);
  });

  it('are asked for anew when a signature fits none, but once in 30 s at most', async () => {
    const lab = new Lab();
    lab.route.has(old);
    assert.equal(await lab.by(old), true);
    lab.route.has(next);
    assert.equal(await lab.by(next), false, 'too soon');
    lab.clock.advance(29_999);
    assert.deepEqual([await lab.by(evil), lab.route.asked.length], [false, 1]);
    lab.clock.advance(1);
    const together = await Promise.all([lab.by(next), lab.by(evil), lab.by(old)]);
    assert.deepEqual(together, [true, false, true], 'the old one was tried before');
    assert.deepEqual([lab.route.asked.length, await lab.by(old)], [2, false]);
  });

  it('are not known until they were had, which is tried every five seconds', async () => {
    const lab = new Lab();
    assert.equal(await lab.by(old), undefined);
    lab.route.has(old);
    assert.equal(await lab.by(old), undefined);
    lab.clock.advance(5_000);
    assert.equal(await lab.by(old), true);
  });

  it('stay when they cannot be had again, and are read anew after an hour', async () => {
    const lab = new Lab();
    lab.route.has(old);
    await lab.by(old);
    lab.route.answer = { kind: 'broken', why: 'scripted' };
    lab.clock.advance(3_600_000);
    assert.deepEqual([await lab.by(old), lab.route.asked.length], [true, 2]);
    lab.route.has(next);
    lab.clock.advance(5_000);
    assert.deepEqual([await lab.by(old), lab.route.asked.length], [false, 3], 'it was withdrawn');
  });

  it('are read from a file, which may change too', async () => {
    const path = jwksFile(old);
    const lab = new Lab(path);
    assert.equal(await lab.by(old), true);
    writeFileSync(path, jwksOf(next));
    lab.clock.advance(30_000);
    assert.equal(await lab.by(next), true);
    assert.equal(lab.route.asked.length, 0);
  });

  it('are asked for no more after the end', async () => {
    const lab = new Lab();
    lab.route.has(old);
    lab.keys.close();
    assert.equal(await lab.by(old), undefined);
    assert.equal(lab.route.asked.length, 0);
  });
});
