/** A gateway that passes on, in front of an upstream that writes down every byte. */

import assert from 'node:assert/strict';
import { after, before, beforeEach } from 'node:test';
import type { Overrides, StartGateway, TestGateway } from './gateway.ts';
import { OK, startRecording } from './recording-upstream.ts';
import type { RecordingUpstream } from './recording-upstream.ts';

export interface Pair {
  readonly gateway: TestGateway;
  readonly upstream: RecordingUpstream;
}

/** Anew for each suite; what was received is forgotten before each test. */
export function usePair(start: StartGateway, overrides: Overrides = {}): () => Pair {
  let pair: Pair | undefined;
  before(async () => {
    const upstream = await startRecording();
    const gateway = await start({ forward: true, through: upstream, ...overrides });
    pair = { gateway, upstream };
  });
  beforeEach(() => {
    assert.ok(pair);
    pair.upstream.received.length = 0;
    pair.upstream.answer = OK;
  });
  after(async () => {
    await pair?.gateway.stop();
    await pair?.upstream.close();
  });
  return () => {
    assert.ok(pair);
    return pair;
  };
}
