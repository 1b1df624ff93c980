/**
 * One client of four runs, in thousands of random turns: it is slow, its connection breaks, keys
 * come and go, runs cannot be had. It always comes back with the last id that it has, and in the
 * end it has had the newest state of each run, and each end exactly once.
 */

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { randomFrom, seeds } from '../support/random.ts';
import { Lab, over, step } from './bundle-lab.ts';
import { assertSound } from './harness.ts';

const RUNS = ['a', 'b', 'c', 'd'];
const TURNS = 300;

class Chaos {
  readonly lab = Lab.with({ streamTimeoutMs: 60_000 }, ...RUNS);
  /** What upstream has of each run. */
  readonly #n = new Map(RUNS.map((runId) => [runId, 0]));
  readonly #over = new Set<string>();
  /** All that the client had, over all its connections. */
  readonly states: string[] = [];
  reconnects = 0;
  #lastId: string | undefined;
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
    this.#open();
  }

  turn(): void {
    const runId = RUNS[Math.floor(this.#random() * RUNS.length)] ?? 'a';
    const dice = this.#random();
    if (dice < 0.4) this.#change(runId);
    else if (dice < 0.5) this.lab.sink.block();
    else if (dice < 0.65) this.lab.sink.drain();
    else if (dice < 0.7) this.lab.source.lose(runId, 'lma_a', { kind: 'moved' });
    else if (dice < 0.73) this.lab.no(runId, 'UPSTREAM_UNAVAILABLE');
    else if (dice < 0.76) this.#show(runId);
    else if (dice < 0.78) this.#hangUp();
    else this.lab.clock.advance(this.#random() * 3_000);
    if (this.lab.sink.isEnded || this.lab.sink.isDestroyed) this.#hangUp();
  }

  /** Every run ends, in disorder, and everything works again. */
  async finish(): Promise<void> {
    for (const runId of [...RUNS].sort(() => this.#random() - 0.5)) {
      this.#over.add(runId);
      this.#show(runId);
      this.lab.source.emit(over(runId));
    }
    for (let i = 0; i < 100 && !this.#hasAll(); i++) {
      this.lab.sink.drain();
      this.lab.clock.advance(1_000);
      await turn();
      if (this.lab.sink.isEnded || this.lab.sink.isDestroyed) this.#hangUp();
    }
  }

  endsOf(runId: string): number {
    return this.states.filter((each) => each === `complete ${runId}`).length;
  }

  #hasAll(): boolean {
    this.#read();
    return RUNS.every((runId) => this.endsOf(runId) > 0);
  }

  #change(runId: string): void {
    this.#n.set(runId, (this.#n.get(runId) ?? 0) + 1);
    const answer = this.lab.answers.get(runId);
    if (answer?.kind === 'admitted') this.#show(runId);
    this.lab.source.emit(step(runId, this.#n.get(runId)));
  }

  #show(runId: string): void {
    this.lab.yes(this.#over.has(runId) ? over(runId) : step(runId, this.#n.get(runId)));
  }

  #hangUp(): void {
    this.#read();
    assertSound(this.lab.sink);
    this.lab.sink.close();
    assert.deepEqual(this.lab.hub.size, { streams: 0, runs: 0 }, 'nothing stays behind');
    this.reconnects++;
    this.#open();
  }

  #read(): void {
    for (const { event, data, id } of this.lab.sink.events.splice(0)) {
      this.#lastId = id;
      assert.equal(id.split('.').length, RUNS.length, id);
      const { runId = '', step: n } = JSON.parse(data) as { runId?: string; step?: number };
      if (event === 'complete') this.states.push(`complete ${runId}`);
      if (event === 'progress') this.states.push(`progress ${runId} ${n}`);
      assert.notEqual(event, 'error', data);
    }
  }

  #open(): void {
    this.lab.open(this.#lastId);
  }
}

it('a client of several runs gets the newest of each, and each end once', async () => {
  let reconnects = 0;
  let states = 0;
  for (const seed of seeds(20)) {
    const chaos = new Chaos(randomFrom(seed));
    for (let i = 0; i < TURNS; i++) {
      chaos.turn();
      await turn();
    }
    await chaos.finish();
    reconnects += chaos.reconnects;
    states += chaos.states.length;
    for (const runId of RUNS) {
      assert.equal(chaos.endsOf(runId), 1, `${seed}: the end of ${runId}`);
      const steps = chaos.states.filter((each) => each.startsWith(`progress ${runId} `))
        .map((each) => Number(each.split(' ')[2]));
      assert.deepEqual(steps, [...new Set(steps)].sort((a, b) => a - b), `${seed}: in order`);
    }
  }
  assert.ok(reconnects > 3 && states > 50, `${reconnects} reconnects, ${states} states`);
});
