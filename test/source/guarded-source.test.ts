/** An embedder's own source: what it says that would break a stream, and what it throws. */

import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';

import { digest } from '../../src/core/execution.ts';
import type { Snapshot } from '../../src/core/execution.ts';
import type { Logger } from '../../src/core/log.ts';
import { silentLogger } from '../../src/core/log.ts';
import { GuardedSource } from '../../src/source/guarded-source.ts';
import { FakeSource, FakeWatch, admittedAs, apiKey, snapshotOf } from '../support/fake-source.ts';

const RUN = 'run_1';
const nobody = { onSnapshot: () => undefined, onLost: () => undefined };

let inner: FakeSource;
let lines: string[];
let source: GuardedSource;

beforeEach(() => {
  inner = new FakeSource();
  lines = [];
  const log: Logger = {
    ...silentLogger, error: (msg, facts) => void lines.push(`${msg} ${String(facts?.['error'])}`),
  };
  source = new GuardedSource(inner, log);
});

/** What comes out of a watch for what is said in it. */
function heard(snapshot: Snapshot): Snapshot {
  const snapshots: Snapshot[] = [];
  source.watch(admittedAs('lma_a', snapshotOf(RUN, 'running')), {
    onSnapshot: (each) => void snapshots.push(each), onLost: () => assert.fail('lost'),
  });
  inner.emit(snapshot);
  return snapshots[0] ?? assert.fail('nothing');
}

describe('a source of one\'s own', () => {
  it('is taken at its word where an event can say it', () => {
    const snapshot = { ...snapshotOf(RUN, 'running'), id: 'v-1_A' };
    assert.equal(heard(snapshot), snapshot);
  });

  it('says a state in one line, whatever lines its JSON was printed in', () => {
    const data = JSON.stringify({ runId: RUN, status: 'running' }, null, 2).replace('\n', '\r\n');
    const { data: line, id } = heard({ ...snapshotOf(RUN, 'running'), data, id: 'v1' });
    assert.doesNotMatch(line, /[\r\n]/);
    assert.deepEqual([JSON.parse(line), id], [JSON.parse(data), 'v1']);
  });

  for (const id of ['', 'a\nevent: x', 'ab+/=', '2026-01-01T00:00:00Z', 'a.b', 'none', 'refused',
    'x'.repeat(65)]) {
    it(`has the digest for a name where that is none: ${JSON.stringify(id)}`, async () => {
      const snapshot = { ...snapshotOf(RUN, 'running'), id };
      assert.equal(heard(snapshot).id, digest(snapshot.data));
      inner.admit = () => Promise.resolve(admittedAs('lma_a', snapshot));
      const admission = await source.admit(RUN, apiKey('lma_a'));
      assert.ok(admission.kind === 'admitted' && admission.snapshot.id === digest(snapshot.data));
    });
  }

  it('ends nothing by what it throws when it is let go of, and the log has it', () => {
    const fail = (): never => {
      throw new Error('scripted');
    };
    inner.watch = () => Object.assign(new FakeWatch(RUN, nobody), {
      hold: fail, release: fail, stop: fail,
    });
    inner.close = fail;
    const admitted = admittedAs('lma_a', snapshotOf(RUN, 'running'));
    const watch = source.watch(admitted, nobody);
    watch.hold(admitted);
    watch.release('lma_a');
    watch.stop();
    source.close();
    assert.deepEqual(lines, Array.from({ length: 4 }, () => 'the source threw Error: scripted'));
  });
});
