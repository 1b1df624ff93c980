/**
 * What the processes of the load client counted, as one account, and whether the client itself
 * was what the figures are about.
 */

import { Histogram, mergeCounts, total } from './histogram.ts';
import type { HistogramData, Percentiles } from './histogram.ts';
import type { Report } from './load-process.ts';

/** What was counted over some time. Latencies are microseconds, shares are of one core. */
export interface Counted {
  readonly seconds: number;
  /** Streams that had their first event in that time, also those that came back. */
  readonly opened: number;
  /** At the end of that time. */
  readonly openNow: number;
  /** Connections without an event, by status, error code, refusal, or `end` and `cut`. */
  readonly failed: Readonly<Record<string, number>>;
  /** Streams that ended without a terminal event, and how: `end`, `cut`, an error code. */
  readonly lost: Readonly<Record<string, number>>;
  readonly lostEarly: number;
  /** After a terminal event; of these without HTTP's own end. */
  readonly ended: number;
  readonly uncleanEnds: number;
  readonly events: Readonly<Record<string, number>>;
  /** As read from the sockets, heads included. */
  readonly bytes: number;
  /** From the moment that the rate had for its connection to its first event read. */
  readonly firstEventUs: Percentiles;
  /**
   * From the time in a payload to its bytes read, so whatever delayed it counts. Without the
   * state that a connection begins with; what has not come by the end of the time is not in it,
   * but missing in `perStreamStates`. None (count 0) where payloads have no `at`.
   */
  readonly deliveryUs: Percentiles;
  /** Of streams that came back: from their loss to their first event. */
  readonly awayUs: Percentiles;
  /** States seen, all streams together: each stream counts each once. */
  readonly statesSeen: number;
  /** Jumped over between two states of one stream; undefined without `changeEveryMs`. */
  readonly statesSkipped: number | undefined;
  /** Of the streams that were open all the time and not stalled; undefined when none was. */
  readonly perStreamStates: { readonly min: number; readonly max: number } | undefined;
  /** States older than the one before, on the same connection. */
  readonly backwards: number;
  /** Times in payloads that are not this machine's monotonic clock in microseconds. */
  readonly strangeTimes: number;
  readonly clientCpuShare: readonly number[];
  readonly clientLoopDelayP99Us: number;
  readonly clientLoopDelayMaxUs: number;
  /** See {@link isBound}. */
  readonly isClientBound: boolean;
}

/** How the opening went: until each stream had its first event or failed. */
export interface Opened extends Counted {
  /** First events a second, from the first one due to the last one read. */
  readonly perSecond: number;
}

/** A time of measuring. */
export interface Measured extends Counted {
  /** Streams lost between the account before this one and its begin. */
  readonly lostBefore: number;
  /** Read between the account before and this one's beginning. */
  readonly bytesBefore: number;
}

const BOUND_CPU_SHARE = 0.85;
const BOUND_LOOP_DELAY_US = 20_000;
const BOUND_STALL_US = 50_000;
const BOUND_STALL_SHARE = 0.01;

/**
 * A process of the client above 0.85 of a core, its loop's delay p99 above 20 ms, or one delay of
 * more than 1 % of the time (and of 50 ms): a stall is one sample however long it was, so p99 does
 * not see it, but it is in the p99 of what arrived meanwhile.
 */
export function isBound({
  seconds, clientCpuShare, clientLoopDelayP99Us, clientLoopDelayMaxUs,
}: Pick<Counted, 'seconds' | 'clientCpuShare' | 'clientLoopDelayP99Us' | 'clientLoopDelayMaxUs'>) {
  const stallUs = Math.max(BOUND_STALL_US, seconds * 1e6 * BOUND_STALL_SHARE);
  return clientLoopDelayP99Us > BOUND_LOOP_DELAY_US || clientLoopDelayMaxUs > stallUs
    || clientCpuShare.some((share) => share > BOUND_CPU_SHARE);
}

/** Where the client was bound: what a reader of the figures must know. */
export function clientNotes(when: string, counted: Counted): string[] {
  if (!counted.isClientBound) return [];
  const [p99, max] = [counted.clientLoopDelayP99Us, counted.clientLoopDelayMaxUs]
    .map((us) => Math.round(us / 1000));
  const cpu = Math.max(...counted.clientCpuShare).toFixed(2);
  return [`${when} the load client was at its limits: ${cpu} of a core, its loop late by `
    + `${p99} ms (p99), ${max} ms (most)`];
}

/** One account of what all processes reported. */
export function merge(
  reports: readonly Report[], changeEveryMs: number | undefined, seconds: number,
): Counted {
  const sum = (pick: (report: Report) => number): number =>
    reports.reduce((total, report) => total + pick(report), 0);
  const seen = reports.flatMap(({ minStates, maxStates }) =>
    minStates === undefined || maxStates === undefined ? [] : [minStates, maxStates]);
  const lost = mergeCounts(reports.map((report) => report.lost));
  const client = {
    clientCpuShare: reports.map(({ cpuShare }) => cpuShare),
    clientLoopDelayP99Us: Math.max(...reports.map((report) => report.loopDelayP99Us)),
    clientLoopDelayMaxUs: Math.max(...reports.map((report) => report.loopDelayMaxUs)),
  };
  return {
    seconds,
    opened: sum((report) => report.opened),
    openNow: sum((report) => report.openNow),
    failed: mergeCounts(reports.map((report) => report.failed)),
    lost,
    lostEarly: total(lost),
    ended: sum((report) => report.ended),
    uncleanEnds: sum((report) => report.uncleanEnds),
    events: mergeCounts(reports.map((report) => report.events)),
    bytes: sum((report) => report.bytes),
    firstEventUs: mergeLatencies(reports.map((report) => report.first)),
    deliveryUs: mergeLatencies(reports.map((report) => report.delivery)),
    awayUs: mergeLatencies(reports.map((report) => report.away)),
    statesSeen: sum((report) => report.states),
    statesSkipped: changeEveryMs === undefined
      ? undefined : sum((report) => report.skipped),
    perStreamStates: seen.length === 0
      ? undefined : { min: Math.min(...seen), max: Math.max(...seen) },
    backwards: sum((report) => report.backwards),
    strangeTimes: sum((report) => report.strangeTimes),
    ...client,
    isClientBound: isBound({ seconds, ...client }),
  };
}

function mergeLatencies(parts: readonly HistogramData[]): Percentiles {
  const whole = new Histogram();
  for (const part of parts) whole.merge(part);
  return whole.percentiles();
}
