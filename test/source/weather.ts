/**
 * The weather of a day at upstream: outages that chance has spread over it, each of its own kind,
 * and a fault now and then between them. Pure, but for the chance that it is given.
 */

import type { Exchange } from '../../src/source/exchange.ts';

export const SKIES = ['late', 'down', 'errors', 'limited', 'nonsense', 'cut'] as const;
/** What goes wrong. */
export type Sky = (typeof SKIES)[number];

interface Outage {
  readonly from: number;
  readonly to: number;
  readonly sky: Sky;
  /** Of the requests, those that meet it. */
  readonly share: number;
}

export interface WeatherOptions {
  readonly dayMs: number;
  readonly outages: number;
  /** Of requests in fair weather, those that meet a fault all the same. */
  readonly mishaps: number;
}

const SHORTEST_MS = 2_000;
const MEAN_MS = 120_000;
const LONGEST_MS = 1_200_000;

export class Weather {
  /** What was met, how often. */
  readonly met: Record<Sky, number> = {
    late: 0, down: 0, errors: 0, limited: 0, nonsense: 0, cut: 0,
  };
  readonly #outages: readonly Outage[];
  readonly #mishaps: number;
  readonly #random: () => number;

  constructor({ dayMs, outages, mishaps }: WeatherOptions, random: () => number) {
    this.#random = random;
    this.#mishaps = mishaps;
    this.#outages = Array.from({ length: outages }, () => {
      const from = random() * dayMs;
      const ms = Math.min(LONGEST_MS, SHORTEST_MS - Math.log(1 - random()) * MEAN_MS);
      return { from, to: from + ms, sky: this.#sky(), share: 0.5 + random() / 2 };
    }).sort((a, b) => a.from - b.from);
  }

  /** What a request meets now. */
  at(now: number): Sky | undefined {
    const outage = this.#outages.find(({ from, to }) => from <= now && now < to);
    const share = outage?.share ?? this.#mishaps;
    if (this.#random() >= share) return undefined;
    const sky = outage?.sky ?? this.#sky();
    this.met[sky]++;
    return sky;
  }

  /** Milliseconds of fair weather between the two. */
  fairMs(from: number, to: number): number {
    let fair = 0;
    let at = from;
    for (const outage of this.#outages) {
      if (outage.from > at) fair += Math.max(0, Math.min(outage.from, to) - at);
      at = Math.max(at, outage.to);
    }
    return fair + Math.max(0, to - at);
  }

  /** What comes of a request, with `over` as what the run would say at its end. */
  fault(sky: Sky, over: string): Exchange {
    switch (sky) {
      case 'late':
        return { kind: 'late' };
      case 'down':
        return { kind: 'broken', why: this.#pick(['ECONNREFUSED', 'ECONNRESET', 'EHOSTUNREACH']) };
      case 'cut':
        return { kind: 'broken', why: 'cut short' };
      case 'errors': {
        const again = this.#pick<Record<string, string>>([{}, {}, { 'retry-after': '20' }]);
        const body = this.#pick(['', '{"error":"x","code":"INTERNAL_ERROR"}', over]);
        return answer(this.#pick([500, 502, 503, 504]), body, again);
      }
      case 'limited':
        return answer(429, 'Too many requests', this.#pick<Record<string, string>>([
          {}, { 'retry-after': '3' }, { 'retry-after': '30' },
          { 'ratelimit-limit': '100', 'ratelimit-remaining': '0', 'ratelimit-reset': '15' },
        ]));
      case 'nonsense':
        return this.#pick<() => Exchange>([
          () => answer(200, '<!doctype html>'), () => answer(200, over.slice(0, -1)),
          () => answer(200, `[${over}]`), () => answer(200, over.replace('"status":"', '"x":"')),
          () => answer(200, ''), () => answer(204, ''), () => answer(206, over),
          () => answer(302, '', { location: '/' }), () => answer(418, over),
          () => answer(200, over, { 'content-encoding': 'gzip' }),
          () => answer(200, Buffer.from(`${over}\xff`, 'latin1')),
          () => ({ kind: 'too-large' }),
        ])();
    }
  }

  #sky(): Sky {
    return this.#pick(SKIES);
  }

  #pick<T>(from: readonly T[]): T {
    const picked = from[Math.floor(this.#random() * from.length)];
    if (picked === undefined) throw new Error('nothing to pick from');
    return picked;
  }
}

export const answer = (
  status: number, body: string | Buffer, headers: Readonly<Record<string, string>> = {},
): Exchange => ({ kind: 'answer', status, headers, body: Buffer.from(body) });
