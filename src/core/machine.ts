/** What any process can say of the whole machine: its own counts, or the primary's of all. */

/** Open streams, and runs that they follow. */
export interface Stats {
  readonly streams: number;
  readonly runs: number;
}

/** Who has all the counts: the one process, or the primary. */
export interface Counts {
  /** For `/healthz`. */
  stats(): Stats;
  /** Prometheus text. */
  metrics(): string;
}

/** For the probes; asked of the primary where there is one. Undefined: it does not answer. */
export interface Machine {
  stats(): Stats | Promise<Stats | undefined>;
  metrics(): string | Promise<string | undefined>;
}
