/**
 * What all contenders send: the same states, of the same size, at the same times. A state names
 * the moment at which it was due, so whatever delays it afterwards counts as its latency: a late
 * timer, a late poll, a queue. Times are microseconds of CLOCK_MONOTONIC, one for all processes.
 */

import { randomFrom } from '../../test/support/random.ts';
import type { Workload } from '../support/contender.ts';

/** The parts of a workload that make its states. */
export type Plan = Pick<Workload, 'stateBytes' | 'changeEveryMs'>;

/** Of a run's state, in front of and behind the name of the run. */
export const BEFORE_RUN = '{"runId":"';
export const BEFORE_AT =
  '","workflowId":"bench","status":"running","createdAt":"2026-01-01T00:00:00Z","at":';
/** Ends each state, right behind as much of the tail as there is room for. */
export const CLOSING = '"}';
/** Room for names up to `bench-999999` and times of up to 16 digits. */
const HEAD_ROOM = BEFORE_RUN.length + BEFORE_AT.length + 28;
const MIN_STATE_BYTES = 200;
const OUTPUTS_END = '],"pad":"';
const WORDS = (
  'a harbour at dawn seen from the tall pier with gulls and slow light over water in the style of '
  + 'an old postcard soft grain warm tones wide angle no people second take final upscale'
).split(' ');

/** All states of a plan. They are the same in every process. */
export class States {
  readonly changeEveryUs: number;
  /** Longer than needed: each state takes what fits. */
  readonly tail: string;
  readonly #stateBytes: number;
  #shownAt = 0;

  constructor({ stateBytes, changeEveryMs }: Plan) {
    if (stateBytes < MIN_STATE_BYTES) throw new RangeError(`a state of ${stateBytes} bytes`);
    this.#stateBytes = stateBytes;
    this.changeEveryUs = changeEveryMs * 1000;
    this.tail = tailFor(stateBytes);
    this.#shownAt = this.currentAt();
  }

  /** What a joining client is shown: the state that {@link follow} told of last, none twice. */
  get shownAt(): number {
    return this.#shownAt;
  }

  /** When the state was due that is current now. */
  currentAt(): number {
    return Math.floor(nowUs() / this.changeEveryUs) * this.changeEveryUs;
  }

  /** The JSON of one state: `stateBytes` long, plain ASCII. */
  json(run: string, at: number): string {
    const head = `${BEFORE_RUN}${run}${BEFORE_AT}${at}`;
    return head + this.tail.slice(0, this.#stateBytes - head.length - CLOSING.length) + CLOSING;
  }

  /** The event as it is on every wire, but for the framing of chunks. */
  event(run: string, at: number): string {
    return `event: progress\nid: ${idOf(at)}\ndata: ${this.json(run, at)}\n\n`;
  }

  /**
   * Calls `onChange` soon after each change, never before it; timers know whole milliseconds.
   * Whoever is not done by the next change misses it: the newest state wins, as everywhere.
   */
  follow(onChange: (at: number) => void): void {
    const look = (): void => {
      const at = this.currentAt();
      const isNew = at > this.#shownAt;
      this.#shownAt = at;
      if (isNew) onChange(at);
      setTimeout(look, Math.max(1, Math.ceil((at + this.changeEveryUs - nowUs()) / 1000)));
    };
    look();
  }
}

/** 16 characters that name a state, as a gateway's digest would. */
export function idOf(at: number): string {
  return String(at).padStart(16, '0');
}

/** CLOCK_MONOTONIC. */
export function nowUs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e6 + Math.floor(nanoseconds / 1000);
}

/** Outputs such as a run has them: much alike, with a name and a digest that are not. */
function tailFor(stateBytes: number): string {
  const random = randomFrom(stateBytes);
  const word = (): string => WORDS[Math.floor(random() * WORDS.length)] ?? '';
  const hex = (): string => Math.floor(random() * 2 ** 32).toString(16).padStart(8, '0');
  const output = (index: number): string => {
    const label = Array.from({ length: 6 }, word).join(' ');
    const url = `https://cdn.example.com/outputs/${hex()}${hex()}${hex()}${hex()}.webp`;
    return JSON.stringify({ id: `out-${index}`, status: 'completed', label, url, width: 1024 });
  };
  let outputs = ',"outputs":[';
  for (let index = 0; ; index++) {
    const more = `${index > 0 ? ',' : ''}${output(index)}`;
    const room = stateBytes - HEAD_ROOM - OUTPUTS_END.length - CLOSING.length;
    if (outputs.length + more.length > room) break;
    outputs += more;
  }
  let filler = '';
  while (filler.length < 512) filler += `${word()} `;
  return outputs + OUTPUTS_END + filler;
}
