/** Where a run's status is looked for, and what it means. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { mappingOf, parseExecution } from '../../src/core/execution.ts';
import type { Snapshot } from '../../src/core/execution.ts';
import { MAPPING } from '../support/fake-source.ts';

function snapshotOf(body: string, mapping = MAPPING): Snapshot {
  const parsed = parseExecution('run_1', Buffer.from(body), mapping);
  if (parsed.kind === 'invalid') assert.fail(`${parsed.why}: ${body}`);
  return parsed.snapshot;
}

function whyInvalid(body: string, mapping = MAPPING): string {
  const parsed = parseExecution('run_1', Buffer.from(body), mapping);
  return parsed.kind === 'invalid' ? parsed.why : assert.fail(`taken for a run: ${body}`);
}

describe('the status of a run', () => {
  it('ends it only where it is listed, spelled exactly so', () => {
    for (const [status, terminal] of [
      ['queued', undefined], ['running', undefined], ['completed', 'complete'],
      ['failed', 'error'], ['cancelled', 'error'], ['', undefined], ['Completed', undefined],
      ['completed ', undefined], ['canceled', undefined], ['error', undefined],
      ['toString', undefined], ['c\\u006fmpleted', 'complete'],
    ] as const) {
      assert.equal(snapshotOf(`{"data":{"status":"${status}"}}`).terminal, terminal, status);
    }
  });

  it('is read as the run API at hand spells it', () => {
    const mapping = { statusFields: ['sta te'], completeOn: ['OK', 'DONE'], errorOn: ['KO'] };
    const of = (state: string): Snapshot =>
      snapshotOf(`{"data":{"status":"completed","sta te":"${state}"}}`, mapping);
    assert.deepEqual(['OK', 'DONE', 'KO', 'completed'].map((state) => of(state).terminal),
      ['complete', 'complete', 'error', undefined]);
    assert.equal(of('DONE').status, 'DONE');
    assert.equal(whyInvalid('{"status":"completed"}', mapping), 'no string "sta te"');
  });

  it('is the last one that is there and not null, where it is in several members', () => {
    const statusFields = ['status', 'conclusion', 'verdict'];
    const mapping = { statusFields, completeOn: ['success'], errorOn: ['failure'] };
    for (const [members, status, terminal] of [
      ['"status":"queued"', 'queued', undefined],
      ['"status":"completed","conclusion":null', 'completed', undefined],
      ['"conclusion":"success","status":"completed"', 'success', 'complete'],
      ['"status":"completed","conclusion":"failure","verdict":null', 'failure', 'error'],
      ['"status":"success","conclusion":"failure"', 'failure', 'error'],
      ['"status":"failure","conclusion":""', '', undefined],
      ['"conclusion":"odd"', 'odd', undefined], ['"status":7,"verdict":"x"', 'x', undefined],
    ] as const) {
      for (const body of [`{${members}}`, `{"data":{${members}}}`]) {
        const snapshot = snapshotOf(body, mapping);
        assert.deepEqual([snapshot.status, snapshot.terminal], [status, terminal], body);
      }
    }
    const none = 'no string "status" or "conclusion" or "verdict"';
    for (const body of [
      '{}', '{"status":null}', '{"status":"a","verdict":7}', '{"status":"a","conclusion":{}}',
    ]) assert.equal(whyInvalid(body, mapping), none, body);
  });

  it('is looked for in members as the options spell them', () => {
    const lists = { completeOn: ['a'], errorOn: ['b'] };
    const fieldsOf = (statusField: string): readonly string[] =>
      mappingOf({ statusField, ...lists }).statusFields;
    assert.deepEqual(fieldsOf('status'), ['status']);
    assert.deepEqual(fieldsOf(' status, the conclusion '), ['status', 'the conclusion']);
    assert.deepEqual(mappingOf({ statusField: 's', ...lists }), { statusFields: ['s'], ...lists });
  });

  it('comes with the id that was asked for, whatever the run says of itself', () => {
    assert.equal(snapshotOf('{"runId":"another","status":"running"}').runId, 'run_1');
  });
});
