/**
 * What several processes counted, and how it adds up: counts by name, and latencies as counts in
 * log-linear buckets. The histogram is one of its own and not `perf_hooks`' histogram, for that
 * one cannot cross the channel to a child process; counts can, and add up exactly. A bucket is
 * narrower than 0.8 % of its values, which are whole microseconds here but may be anything.
 */

/** How many buckets lie between a power of two and the next one. */
const SUB_BUCKETS = 128;
const SUB_BITS = 7;
const MAX_VALUE = 2 ** 32 - 1;
const BUCKETS = (32 - SUB_BITS) * SUB_BUCKETS + SUB_BUCKETS;

/** What crosses to another process: filled buckets as [index, count], and the exact maximum. */
export interface HistogramData {
  readonly buckets: readonly (readonly [index: number, count: number])[];
  readonly max: number;
}

/** What people read; in the unit that was recorded. All 0 where nothing was. */
export interface Percentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  readonly count: number;
}

/** Takes 0 to 2^32-1 (71 minutes in microseconds); what is outside counts as the nearer end. */
export class Histogram {
  count = 0;
  max = 0;
  readonly #counts = new Uint32Array(BUCKETS);

  record(value: number): void {
    const whole = Math.min(Math.max(Math.round(value), 0), MAX_VALUE);
    this.#counts[bucketOf(whole)]! += 1;
    this.count += 1;
    if (whole > this.max) this.max = whole;
  }

  /** The top of the bucket in which the value of rank `share` (0 to 1) lies; 0 when empty. */
  percentile(share: number): number {
    let rest = Math.max(1, Math.ceil(this.count * share));
    for (let i = 0; i < BUCKETS && this.count > 0; i++) {
      rest -= this.#counts[i]!;
      if (rest <= 0) return Math.min(topOf(i), this.max);
    }
    return this.max;
  }

  percentiles(): Percentiles {
    const [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map((share) => this.percentile(share));
    return { p50: p50!, p90: p90!, p99: p99!, p999: p999!, max: this.max, count: this.count };
  }

  reset(): void {
    this.#counts.fill(0);
    this.count = 0;
    this.max = 0;
  }

  /** Adds what another process counted. */
  merge(data: HistogramData): void {
    for (const [index, count] of data.buckets) {
      this.#counts[index]! += count;
      this.count += count;
    }
    this.max = Math.max(this.max, data.max);
  }

  toData(): HistogramData {
    const buckets: [number, number][] = [];
    this.#counts.forEach((count, index) => {
      if (count > 0) buckets.push([index, count]);
    });
    return { buckets, max: this.max };
  }
}

function bucketOf(value: number): number {
  if (value < 2 * SUB_BUCKETS) return value;
  const shift = 31 - Math.clz32(value) - SUB_BITS;
  return shift * SUB_BUCKETS + (value >>> shift);
}

function topOf(index: number): number {
  if (index < 2 * SUB_BUCKETS) return index;
  const shift = (index >> SUB_BITS) - 1;
  return (index - shift * SUB_BUCKETS + 1) * 2 ** shift - 1;
}

/** Plain counts of a load process since its last report. */
export class Tally {
  opened = 0;
  failed: Record<string, number> = {};
  lost: Record<string, number> = {};
  ended = 0;
  uncleanEnds = 0;
  events: Record<string, number> = {};
  bytes = 0;
  /** Payload times that cannot be this machine's monotonic clock, and such that went backwards. */
  strangeTimes = 0;
  backwards = 0;
  states = 0;
  skipped = 0;
  /** Monotonic; of the last first event, if there was one. */
  lastOpenedUs = 0;
}

/** One more of that name. */
export function count(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1;
}

/** All counts together. */
export function total(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

/** By name. */
export function mergeCounts(
  parts: readonly Readonly<Record<string, number>>[],
): Record<string, number> {
  const whole: Record<string, number> = {};
  for (const [name, count] of parts.flatMap((part) => Object.entries(part))) {
    whole[name] = (whole[name] ?? 0) + count;
  }
  return whole;
}
