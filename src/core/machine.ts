/** What any process can say of the whole machine: its own counts, or the primary's of all. */

/** Open streams, and runs that they follow. */
export interface Stats {
  readonly streams: number;
  readonly runs: number;
}

/** For the probes; asked of the primary where there is one. */
export interface Machine {
  /** For `/healthz`. */
  stats(): Stats | Promise<Stats>;
  /** Prometheus text. */
  metrics(): string | Promise<string>;
}
